"""The variance of PES by formula, where losses are linear in the perturbations.

With theta_1, ..., theta_W the thetas of the truncations of an episode, L_t the sum of the losses of
truncation t, and g[t, tau] = dL_t/dtheta_tau, zero for tau > t, one antithetic pair's estimate of
the gradient of the episode's sum has a covariance matrix whose trace is

    P sum_{rho, tau} |h[rho, tau]|^2 + sum_{rho, tau} h[rho, tau] . h[tau, rho],
    h[rho, tau] = sum_{t >= max(rho, tau)} g[t, tau],

whatever sigma is: the accumulator multiplies L_t by every earlier eps_rho, while L_t is moved by
every earlier eps_tau. With one truncation it is (P + 1) |g|^2, the variance of ES and NRES. n pairs
have an n-th of it. For g that are all equal it falls to two thirds of that, for independent ones it
grows in proportion to W.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from meta_train.horizons import ConstantHorizon
from meta_train.types import Theta, UnrolledSystem
from meta_train.unroll import at, start, unroll


def influences(
    system: UnrolledSystem, key: jax.Array, theta: Theta, horizon: int, truncation_length: int
) -> Float[np.ndarray, "W W P"]:
    """g[t, tau] of an episode at theta, by automatic differentiation.

    Args:
        system: what is unrolled.
        key: typed PRNG key of the episode.
        theta: meta-parameters.
        horizon: T in inner steps.
        truncation_length: K in inner steps, a divisor of T.
    """
    flat, unravel = ravel_pytree(theta)
    key_init, key_steps = jax.random.split(key)
    count = horizon // truncation_length

    def losses(thetas: Float[Array, "W P"], system: UnrolledSystem) -> Float[Array, " W"]:
        clock = start(jnp.int32(horizon), ConstantHorizon(horizon), truncation_length)
        state = system.init(key_init, unravel(thetas[0]), clock.horizon)

        def truncation(carry, flat):
            clock, state = carry
            state, total = unroll(at(system, unravel(flat)), key_steps, state, clock)
            return (clock.advanced(), state), total

        return jax.lax.scan(truncation, (clock, state), thetas)[1]

    return np.asarray(jax.jit(jax.jacrev(losses))(jnp.tile(flat[None], (count, 1)), system))


def reach(influences: Float[np.ndarray, "W W P"]) -> Float[np.ndarray, "W W P"]:
    """h[rho, tau] of g[t, tau]."""
    later = np.cumsum(influences[::-1], axis=0, dtype=np.float64)[::-1]
    windows = np.arange(len(influences))
    return later[np.maximum.outer(windows, windows), windows]


def pair_variance(reach: Float[np.ndarray, "W W P"]) -> float:
    """The trace above, of h."""
    own, crossed = np.sum(reach**2), np.einsum("rtp,trp->", reach, reach)
    return float(reach.shape[-1] * own + crossed)
