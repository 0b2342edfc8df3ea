"""The optimizers of an evaluation: bundles, and baselines from the config."""

import inspect
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lopt
from launch import bundles, errors
from launch.construct import check_fields
from launch.evaluate import calibrated
from lopt import bundle_config
from meta_train.evaluation import BASELINES, Baseline, Range
from meta_train.evaluation.baselines import LEARNING_RATE

_RATE = {LEARNING_RATE: Range(1e-4, 1.0, 1e-3)}
"""What is tuned of an optimizer that is not in the registry."""
_MULTIPLIER = {"learning_rate_multiplier": Range(0.1, 10.0, 1.0)}
"""What is tuned of a learned optimizer."""


class Optimizer(NamedTuple):
    """One optimizer that is judged."""

    name: str
    kind: str
    """"learned", "learned, tuned", which no verdict is about, or "baseline"."""
    description: str
    horizon: int | None
    """Inner steps that a learned optimizer was meta-trained for."""
    theta: Any
    """Meta-parameters; () of a baseline."""
    space: Mapping[str, Range]
    """What is tuned."""
    make: Callable[[Any, Any, int], optax.GradientTransformation]
    """From theta, hyperparameters and the number of inner steps to the optimizer."""
    identity: Mapping[str, Any]
    """What decides its training runs, besides hyperparameters, as JSON."""
    card: Mapping[str, Any]
    """Of the bundle."""
    folder: Path | None
    """Of the bundle; None of a baseline."""


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
        learned = _learned(name, bundle, path)
        found += [learned, _with_multiplier(learned)] if multiplier else [learned]
    return found


def make_baselines(entries: Mapping[str, Mapping[str, Any]]) -> list[Optimizer]:
    """The baselines of ``config.baselines``.

    Raises:
        UserError: an optimizer or an argument that does not exist.
    """
    return [_baseline(label, dict(entry)) for label, entry in entries.items()]


def _learned(name: str, bundle: lopt.Bundle, folder: Path) -> Optimizer:
    rule, theta = bundle.optimizer, bundle.theta
    return Optimizer(
        name,
        kind="learned",
        description=str(bundle.card.get("title") or repr(rule)),
        horizon=bundle.card.get("horizon"),
        theta=theta,
        space={},
        make=lambda theta, _, num_steps: rule.bind(theta, num_steps),
        identity={
            "rule": repr(rule),
            "theta_sha256": bundle_config.theta_sha256(jax.tree.leaves(theta)),
        },
        card=bundle.card,
        folder=folder,
    )


def _with_multiplier(learned: Optimizer) -> Optimizer:
    """The same with a factor on its steps that is tuned as a baseline's learning rate is.

    Of a schedule-free rule the average that is validated is only near, see ``evaluation_params``.
    """

    def make(theta: Any, hyperparameters: Any, num_steps: int) -> optax.GradientTransformation:
        return lopt.with_options(learned.make(theta, {}, num_steps), **hyperparameters)

    return learned._replace(
        name=f"{learned.name}, multiplier tuned",
        kind="learned, tuned",
        description=f"{learned.description}; tuned: {', '.join(_MULTIPLIER)}",
        space=_MULTIPLIER,
        make=make,
        identity={**learned.identity, "space": _as_json(_MULTIPLIER)},
    )


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
    baseline = known[name].fix(fields)
    _check_update(baseline, where, name)
    return Optimizer(
        label,
        kind="baseline",
        description=baseline.description + ("; calibrated" if source else ""),
        horizon=None,
        theta=(),
        space=baseline.space,
        make=lambda _, hyperparameters, num_steps: baseline.bind(hyperparameters, num_steps),
        identity={
            "optax": baseline.factory.__name__,
            "cosine": baseline.cosine,
            "fixed": dict(baseline.fixed),
            "space": _as_json(baseline.space),
        },
        card={},
        folder=None,
    )


def _as_json(space: Mapping[str, Range]) -> dict[str, list]:
    return {name: list(span) for name, span in space.items()}


def _of_optax() -> dict[str, Callable[..., optax.GradientTransformation]]:
    """All optimizers of optax with a learning rate, by name."""
    return {
        name: function
        for module in (optax.contrib, optax)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if LEARNING_RATE in inspect.signature(function).parameters
        and not name.startswith(("_", "scale_by_"))
    }


def _check_update(baseline: Baseline, where: str, name: str) -> None:
    """Raise ``UserError`` unless one update can be traced."""

    def update(params: Any) -> Any:
        optimizer = optax.with_extra_args_support(baseline.bind({}, 1))
        return optimizer.update(params, optimizer.init(params), params, value=jnp.zeros(()))

    try:
        jax.eval_shape(update, {"w": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32)})
    except (TypeError, ValueError) as error:
        raise errors.UserError(f"config.{where} ({name}): {error}") from error


def _unused(name: str, taken: Collection[str]) -> str:
    """The name, with a number where it is taken."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in taken)
