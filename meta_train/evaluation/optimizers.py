"""The optimizers of an evaluation: learned ones, and baselines."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath

import lopt
from lopt import bundle_config
from meta_train.evaluation.baselines import Baseline, Range, known

_MULTIPLIER = {"learning_rate_multiplier": Range(0.1, 10.0, 1.0)}
"""What is tuned of a learned optimizer."""


@dataclasses.dataclass(frozen=True, eq=False)
class Optimizer:
    """One optimizer that is judged; made by ``learned``, ``with_tuned_multiplier``, ``baseline``.

    Attributes:
        name: what tables call it.
        kind: "learned", "learned, tuned", which no verdict is about, or "baseline".
        description: what it is, in a line.
        space: what is tuned.
        make: a function of theta, hyperparameters and the number of inner steps.
        identity: what decides its training runs, besides hyperparameters, as JSON.
        theta: meta-parameters; () of a baseline.
        horizon: inner steps that a learned optimizer was meta-trained for; None where unknown.
        card: the card of its bundle; {} of a baseline.
        folder: the folder of its bundle; None where it came from no folder.
    """

    name: str
    kind: str
    description: str
    space: Mapping[str, Range]
    make: Callable[[Any, Any, int], optax.GradientTransformation]
    identity: Mapping[str, Any]
    theta: Any = ()
    horizon: int | None = None
    card: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    folder: epath.PathLike | None = None

    def check(self) -> None:
        """Trace one update of two small parameters.

        Raises:
            TypeError, ValueError: it cannot be traced, mostly for want of an argument.
        """

        def update(params: Any) -> Any:
            optimizer = optax.with_extra_args_support(self.make(self.theta, {}, 1))
            return optimizer.update(params, optimizer.init(params), params, value=jnp.zeros(()))

        small = {name: np.zeros(shape, np.float32) for name, shape in (("w", (2, 2)), ("b", 2))}
        jax.eval_shape(update, small)


def learned(
    bundle: lopt.Bundle | str | os.PathLike[str],
    name: str | None = None,
    folder: epath.PathLike | None = None,
) -> Optimizer:
    """A learned optimizer, which has nothing to tune.

    Args:
        bundle: what ``lopt.load_bundle`` returns or takes: a folder, or the name of a shipped one.
        name: in tables; by default the last part of the folder's.
        folder: where the bundle is from, for the record.

    Raises:
        ValueError: there is no such bundle, or it is damaged.
    """
    if not isinstance(bundle, lopt.Bundle):
        folder = epath.Path(bundle)
        name, bundle = name or folder.name, lopt.load_bundle(bundle)
    rule, theta = bundle.optimizer, bundle.theta
    title = str(bundle.card.get("title") or repr(rule))
    digest = bundle_config.theta_sha256(jax.tree.leaves(theta))
    return Optimizer(
        name or title,
        kind="learned",
        description=title,
        space={},
        make=lambda theta, _, num_steps: rule.bind(theta, num_steps),
        identity={"rule": repr(rule), "theta_sha256": digest},
        theta=theta,
        horizon=bundle.card.get("horizon"),
        card=bundle.card,
        folder=folder,
    )


def with_tuned_multiplier(optimizer: Optimizer) -> Optimizer:
    """The same with a factor on its steps that is tuned as a baseline's learning rate is.

    Of a schedule-free rule the average that is validated is only near, see ``evaluation_params``.
    """

    def make(theta: Any, hyperparameters: Any, num_steps: int) -> optax.GradientTransformation:
        return lopt.with_options(optimizer.make(theta, {}, num_steps), **hyperparameters)

    return dataclasses.replace(
        optimizer,
        name=f"{optimizer.name}, multiplier tuned",
        kind="learned, tuned",
        description=f"{optimizer.description}; tuned: {', '.join(_MULTIPLIER)}",
        space=_MULTIPLIER,
        make=make,
        identity={**optimizer.identity, "space": _as_json(_MULTIPLIER)},
    )


def baseline(of: Baseline | str, name: str | None = None, **fixed: Any) -> Optimizer:
    """A hand-designed optimizer, tuned on every workload.

    Args:
        of: the baseline, or the name of one that is ``known``.
        name: in tables; by default that one.
        **fixed: hyperparameters that are given, not tuned; with a learning rate nothing is tuned.

    Raises:
        KeyError: no baseline has that name.
    """
    of, name = (known()[of], name or of) if isinstance(of, str) else (of, name)
    chosen = of.fix(fixed)
    return Optimizer(
        name or chosen.factory.__name__,
        kind="baseline",
        description=chosen.description,
        space=chosen.space,
        make=lambda _, hyperparameters, num_steps: chosen.bind(hyperparameters, num_steps),
        identity={
            "optax": chosen.factory.__name__,
            "cosine": chosen.cosine,
            "fixed": dict(chosen.fixed),
            "space": _as_json(chosen.space),
        },
    )


def _as_json(space: Mapping[str, Range]) -> dict[str, list]:
    return {name: list(span) for name, span in space.items()}
