"""What the tests of bundles share."""

import hashlib
import json

import lopt
from lopt import bundle_config
from tests.lopt.cases import draw_theta

CARD = {
    "title": "Small rule",
    "description": "For tests.",
    "horizon": 25,
    "license": "CC-BY-4.0",
    "meta_training": {"tasks": [{"label": "bowl", "dim": 3}], "meta_steps": 10},
    "evaluation": [{"task": "digits", "loss": 0.5}, {"task": "mnist | raw", "accuracy": 0.9}],
}


def make(name="mlp"):
    rule = lopt.LOPTS[name]()
    return rule, draw_theta(rule)


def edit(path, change, *, right_checksum=True):
    config = json.loads((path / "config.json").read_text())
    change(config)
    if right_checksum:
        config["config_sha256"] = bundle_config.checksum(config)
    (path / "config.json").write_text(json.dumps(config))


def put_weights(path, content):
    """Other weights, with their right checksum."""
    (path / "theta.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(path, lambda c: c.update(weights_sha256=digest))
