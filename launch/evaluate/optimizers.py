"""The optimizers of an evaluation, from bundles and from the config."""

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from launch import bundles, errors
from launch.construct import check_fields
from launch.evaluate import calibrated
from meta_train.evaluation import BASELINES, Baseline, Optimizer, Range
from meta_train.evaluation import baseline as make_baseline
from meta_train.evaluation.baselines import LEARNING_RATE
from meta_train.evaluation.optimizers import learned, with_tuned_multiplier

_RATE = {LEARNING_RATE: Range(1e-4, 1.0, 1e-3)}
"""What is tuned of an optimizer that is not in the registry."""


def load_bundles(
    paths: Sequence[str], taken: Iterable[str] = (), multiplier: bool = False
) -> list[Optimizer]:
    """Load bundles, or the bundles in work folders; each gets the name of its folder.

    Args:
        paths: folders, or names of shipped bundles.
        taken: names that are not free any more.
        multiplier: whether each is followed by itself with a tuned learning-rate multiplier.

    Raises:
        UserError: one that is not there, or is damaged.
    """
    found: list[Optimizer] = []
    names = set(taken)
    for given in paths:
        folder, bundle = bundles.load(given)
        path = folder.resolve()
        name = path.parent.name if path.name == bundles.BUNDLE else path.name
        name = _unused(name, names)
        names.add(name)
        one = learned(bundle, name, path)
        found += [one, with_tuned_multiplier(one)] if multiplier else [one]
    return found


def make_baselines(entries: Mapping[str, Mapping[str, Any]]) -> list[Optimizer]:
    """The baselines of ``config.baselines``.

    Raises:
        UserError: an optimizer or an argument that does not exist.
    """
    return [_baseline(label, dict(entry)) for label, entry in entries.items()]


def _baseline(label: str, fields: dict[str, Any]) -> Optimizer:
    where, name = f"baselines.{label}", fields.pop("name")
    source = fields.pop("calibrated", False)
    known = {**{name: Baseline(f, _RATE) for name, f in _of_optax().items()}, **BASELINES}
    if name not in known:
        raise errors.unknown(f"config.{where}.name", name, known)
    if source is not False:
        if fields:
            raise errors.UserError(
                f"config.{where}: {', '.join(fields)} is given besides calibrated, which is a "
                "whole setting; leave out one or the other"
            )
        fields = calibrated.setting(name, source, where)
    check_fields(known[name].factory, {LEARNING_RATE: 0.1, **fields}, where, name)
    found = make_baseline(known[name], label, **fields)
    _check_update(found, where, name)
    if source:
        found = dataclasses.replace(found, description=f"{found.description}; calibrated")
    return found


def _of_optax() -> dict[str, Callable[..., optax.GradientTransformation]]:
    """All optimizers of optax with a learning rate, by name."""
    return {
        name: function
        for module in (optax.contrib, optax)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if LEARNING_RATE in inspect.signature(function).parameters
        and not name.startswith(("_", "scale_by_"))
    }


def _check_update(baseline: Optimizer, where: str, name: str) -> None:
    """Raise ``UserError`` unless one update can be traced."""

    def update(params: Any) -> Any:
        optimizer = optax.with_extra_args_support(baseline.make((), {}, 1))
        return optimizer.update(params, optimizer.init(params), params, value=jnp.zeros(()))

    try:
        jax.eval_shape(update, {"w": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32)})
    except (TypeError, ValueError) as error:
        raise errors.UserError(f"config.{where} ({name}): {error}") from error


def _unused(name: str, taken: Collection[str]) -> str:
    """The name, with a number where it is taken."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in taken)
