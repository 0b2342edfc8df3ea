"""Learned optimizers from their bundles, and their rules drawn."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import optax
from etils import epath

import lopt
from meta_train.figures import update_rule
from meta_train.figures.panels import Panel
from meta_train.report import page_tables

_REFERENCE_RATE = 1e-3
_REFERENCE = f"adam({_REFERENCE_RATE:g})"
_NOT_A_RULE = "card.json"
"""In place of config.json where what was meta-trained is no learned optimizer."""


class Rule(NamedTuple):
    """One update rule on the page."""

    title: str
    summary: str
    panels: list[Panel]


def load(path: epath.Path, remarks: list[str]) -> lopt.Bundle | None:
    """Load a bundle; None, with a remark, where there is one that cannot be used."""
    try:
        if not path.is_dir() or (path / _NOT_A_RULE).exists():
            return None
        return lopt.load_bundle(path)
    except (ValueError, OSError, ImportError) as error:  # it may be in a bucket
        remarks.append(f"the update rule is not drawn: {error}")
        return None


def draw(bundles: Mapping[str, lopt.Bundle]) -> list[Rule]:
    """The rule of each bundle, then Adam's for comparison; nothing where there is no bundle."""
    made = []
    for i, (name, bundle) in enumerate(bundles.items()):
        horizon = bundle.card.get("horizon") or update_rule.DEFAULT_HORIZON
        rule = bundle.optimizer.bind(bundle.theta, horizon)
        made.append(Rule(name, summary(bundle), update_rule.draw(f"rule-{i}", name, rule, horizon)))
    if made:
        drawn = update_rule.draw("rule-adam", _REFERENCE, optax.adam(_REFERENCE_RATE))
        made.append(Rule(_REFERENCE, "Adam from Optax, asked in the same way.", drawn))
    return made


def summary(bundle: lopt.Bundle) -> str:
    """What a bundle is, in a line."""
    name = next(name for name, kind in lopt.LOPTS.items() if type(bundle.optimizer) is kind)
    size = sum(leaf.size for leaf in jax.tree.leaves(bundle.theta))
    horizon = bundle.card.get("horizon")
    parts = [name, page_tables.fields(vars(bundle.optimizer)), f"{size:,} meta-parameters"]
    parts += [f"meta-trained for {horizon:,} inner steps"] if horizon else []
    return "; ".join(part for part in parts if part) + "."
