"""Random search over first thetas, on the budget of inner steps that meta-trainings have."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meta_train.experiments.unrolled import unrolled
from meta_train.types import Theta, UnrolledSystem

_AT_ONCE = 20
"""Episodes that are unrolled together."""


def best_so_far(
    system: UnrolledSystem,
    judge: Callable[[Theta], Float[Array, ""]],
    horizon: int,
    inner_steps: np.ndarray,
    seed: int,
) -> Float[np.ndarray, " points"]:
    """Values of the theta that is best after each number of inner steps.

    Thetas are drawn as ``system.init_theta`` draws them. Each has one episode, by whose mean loss
    the best is chosen; what ``judge`` says of it is another matter, as it is for a trained theta.

    Args:
        system: what is unrolled.
        judge: value of a theta.
        horizon: T.
        inner_steps: of all candidates together, at which the best is judged; increasing, and at
            least T.
        seed: of thetas and episodes.
    """
    num_candidates = inner_steps // horizon
    keys = jax.random.split(jax.random.key(seed), num_candidates[-1])

    def cost(key: jax.Array) -> Float[Array, ""]:
        key_theta, key_episode = jax.random.split(key)
        return jnp.mean(unrolled(system, system.init_theta(key_theta), horizon, key_episode))

    def value(key: jax.Array) -> Float[Array, ""]:
        return judge(system.init_theta(jax.random.split(key)[0]))

    costs = jax.jit(lambda keys: jax.lax.map(cost, keys, batch_size=_AT_ONCE))(keys)
    costs = np.nan_to_num(np.asarray(costs), nan=np.inf)
    best = np.asarray([np.argmin(costs[:number]) for number in num_candidates])
    chosen, places = np.unique(best, return_inverse=True)
    return np.asarray([float(jax.jit(value)(keys[i])) for i in chosen])[places]
