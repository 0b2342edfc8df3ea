import json

import jax
import pytest

import lopt
from launch import cli

TRAINED_ON = [{"label": "mine", "name": "quadratic", "dim": 3, "weight": 1.0}]
"""What the card of the bundle says; the other fields have their defaults."""
CHOSEN_BY = [{"label": "yours", "name": "quadratic", "dim": 4}]

SMALL = (
    "--config=held_out",
    "--config.num_steps=20",
    "--config.num_points=4",
    "--config.num_seeds=2",
    "--config.valid_batches=1",
    "--config.tuning.num_grid=2",
    "--config.tuning.num_random=1",
    "--config.tasks={'quadratic': {'dim': 2}}",
    "--config.axes={}",
    "--config.baselines=adam,sgd_momentum",
    "--config.workers=1",
)
"""An evaluation in seconds."""


def save_bundle(folder, tasks=TRAINED_ON, learning_rate=0.1):
    """A bundle whose learning rate falls with t / T."""
    rule = lopt.LOPTS["sgd_schedule"](schedule="linear", learning_rate=learning_rate)
    training = {"tasks": tasks, "validation_tasks": CHOSEN_BY}
    card = {"title": "a small one", "horizon": 20, "meta_training": training}
    theta = rule.init(jax.random.key(0))
    lopt.save(folder, rule, theta | {"log_final_learning_rate": jax.numpy.float32(-7)}, card=card)
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """A bundle that was meta-trained on ``TRAINED_ON``."""
    return save_bundle(tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture(scope="session")
def evaluate(tmp_path_factory):
    """Call ``lopt evaluate`` in this process; returns its summary."""

    def call(folder, *arguments):
        assert cli.main(["evaluate", *map(str, arguments), f"--workdir={folder}"]) == 0
        return json.loads((folder / "summary.json").read_text())

    return call
