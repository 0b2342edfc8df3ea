"""Groups of meta-parameters: the entries at the top of theta, with settings of their own.

A rule with few scalars and a network wants larger perturbations and steps for the former, and may
keep one of them as it is while the other is trained.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from meta_train.types import Theta

Std = float | Mapping[str, float] | tuple[tuple[str, float], ...]
"""Standard deviation sigma of perturbations: one number, or one for every group by name (which an
estimator turns into pairs, to be hashable). A group of 0 is not perturbed, its gradient is 0."""


def by_group(theta: Theta, values: Mapping[str, float]) -> Theta:
    """A tree like theta with the value of its group in every element.

    Raises:
        ValueError: theta has other groups than those that have a value.
    """
    groups = sorted(theta) if isinstance(theta, Mapping) else []
    if groups != sorted(values):
        raise ValueError(
            f"values for the groups {', '.join(sorted(values))}, but theta's top-level groups are "
            f"{', '.join(groups) or 'none'}; give one for each."
        )
    return {
        name: jax.tree.map(lambda leaf, name=name: jnp.full_like(leaf, values[name]), theta[name])
        for name in groups
    }


def sigma(theta: Theta, std: Std) -> float | Float[Array, " P"]:
    """Standard deviation of every element of flattened theta."""
    return std if isinstance(std, float | int) else ravel_pytree(by_group(theta, dict(std)))[0]


def scale_groups(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiply the updates of every group by its factor: its share of the learning rate.

    Args:
        factors: for every group; 0 keeps it as it is.
    """
    return optax.stateless(
        lambda updates, _: jax.tree.map(jnp.multiply, updates, by_group(updates, factors))
    )


class AverageState(NamedTuple):
    """State of ``average_theta``."""

    meta_step: Int[Array, ""]
    theta: Theta


def average_theta(rate: float) -> optax.GradientTransformation:
    """Keep an average of theta over meta-steps; the last member of a chain.

    average <- average + r (theta - average), r = max(rate, 1 / (meta_step + 1)): the plain mean at
    first, later an exponential one over about 1 / rate meta-steps. Updates pass unchanged.
    """

    def init(params: Any) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, AverageState]:
        meta_step = state.meta_step + 1
        weight = jnp.maximum(rate, 1.0 / (meta_step + 1.0))
        theta = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda old, new: old + weight * (new - old), state.theta, theta)
        return updates, AverageState(meta_step, average)

    return optax.GradientTransformation(init, update)


def averaged(meta_opt_state: Any, theta: Theta) -> Theta:
    """The average that ``average_theta`` keeps in the meta-optimizer's state; without it theta."""

    def is_average(node: Any) -> bool:
        return isinstance(node, AverageState)

    nodes = jax.tree.leaves(meta_opt_state, is_leaf=is_average)
    return next((node.theta for node in nodes if is_average(node)), theta)


def same_shapes(one: Any, other: Any) -> bool:
    """Whether two thetas, or parts of them, have the same arrays by name and shape."""
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (one, other)]
    return shapes[0] == shapes[1]


def fitting(theta: Mapping[str, Theta], given: Mapping[str, Theta]) -> list[str]:
    """The groups that a theta can take over from another one: those of the same shapes."""
    return [name for name in theta if name in given and same_shapes(theta[name], given[name])]
