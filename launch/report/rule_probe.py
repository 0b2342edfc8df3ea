"""Asking an optimizer what step it takes for which gradient.

The optimizer is only called, as in a training, so any ``optax.GradientTransformation`` can be
asked. It holds one tensor: some probes, whose value is 0, among many parameters whose gradients are
drawn from a normal distribution of standard deviation s, as a layer's gradients might be. A probe
with momentum m in [-1, 1] sees, for t steps, the gradients

    (m + sqrt(1 - m^2)) s,  (m - sqrt(1 - m^2)) s,  (m + sqrt(1 - m^2)) s,  ...

whose mean is m s and whose root mean square is s, for every m: probes differ by the mean of their
gradients and not by its size. Two probes see them in opposite order, so that it does not count
which came last. Then one probe at a time gets another gradient, and its step is recorded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

NUM_OTHERS = 1000
"""Parameters beside the probes: enough that the tensor's statistics do not hang on one of them."""
LOSS = 1.0
"""The training loss that optimizers which ask for it are told, at every step."""


def probe(
    optimizer: optax.GradientTransformation,
    times: Sequence[int],
    momenta: Sequence[float],
    gradients: Float[np.ndarray, " gradients"],
    scale: float,
) -> Float[np.ndarray, "times momenta gradients"]:
    """The step as a function of the gradient, for several momenta and inner steps.

    Args:
        optimizer: what is asked; it is given ``value`` with every gradient.
        times: inner steps t taken before the one that is recorded.
        momenta: m, the mean gradient before it in units of ``scale``, in [-1, 1].
        gradients: of the recorded step, in units of ``scale``.
        scale: s, root mean square of all gradients before it.

    Returns:
        What the optimizer adds to the parameter.
    """
    # In NumPy: outside of jit every JAX operation would be compiled by itself.
    means = np.repeat(np.asarray(momenta, np.float32), 2)
    swings = np.sqrt(1.0 - means**2) * np.tile(np.asarray([1.0, -1.0], np.float32), len(momenta))

    def history(t: Array) -> Array:
        return jnp.where(t % 2 == 0, means + swings, means - swings) * scale

    ask = _asker(optimizer, len(means), history, scale)
    last = jnp.asarray(scale * gradients, jnp.float32)
    steps = np.stack([np.asarray(ask(jnp.asarray(t), last)) for t in times])
    return steps.reshape(len(times), len(momenta), 2, len(gradients)).mean(axis=2)


def _asker(
    optimizer: optax.GradientTransformation,
    num_probes: int,
    history: Callable[[Array], Array],
    scale: float,
) -> Callable[[Array, Array], Array]:
    """(t, last gradients) -> step of each probe for each of them, ``[probes, gradients]``."""
    optimizer = optax.with_extra_args_support(optimizer)

    @jax.jit
    def ask(t: Array, last: Array) -> Array:
        key_params, key_grads = jax.random.split(jax.random.key(0))
        others = 0.1 * jax.random.normal(key_params, (NUM_OTHERS,))
        params = jnp.concatenate([jnp.zeros(num_probes), others])

        def gradient(t: Array) -> Array:
            noise = jax.random.normal(jax.random.fold_in(key_grads, t), (NUM_OTHERS,))
            return jnp.concatenate([history(t), scale * noise])

        def update(grads: Array, state: Any) -> tuple[Any, Any]:
            return optimizer.update(grads, state, params, value=jnp.asarray(LOSS, jnp.float32))

        def advance(t: Array, state: Any) -> Any:
            return update(gradient(t), state)[1]

        state = jax.lax.fori_loop(0, t, advance, optimizer.init(params))
        grads = gradient(t)

        def step_of(i: Array, last: Array) -> Array:
            return update(grads.at[i].set(last), state)[0][i]

        probes = jnp.arange(num_probes)
        return jax.lax.map(lambda i: jax.lax.map(lambda g: step_of(i, g), last), probes)

    return ask
