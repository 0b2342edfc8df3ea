"""Random numbers of a wanted range, from uniform ones on [0, 1); traced."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def log_uniform(uniform: Float[Array, "..."], bounds: tuple[float, float]) -> Float[Array, "..."]:
    """Between the bounds, every factor as likely."""
    low, high = (np.float32(np.log(bound)) for bound in bounds)
    return jnp.exp(low + uniform * (high - low))


def log_integer(uniform: Float[Array, ""], bounds: tuple[int, int]) -> Int[Array, ""]:
    """The same for integers, both bounds included."""
    low, high = bounds
    draw = log_uniform(uniform, (float(low), float(high + 1)))
    return jnp.clip(draw.astype(jnp.int32), low, high)


def integer(uniform: Float[Array, ""], low: int, high: int) -> Int[Array, ""]:
    """Uniform on low..high, both included; rounding may not step past ``high``."""
    draw = low + (uniform * np.float32(high - low + 1)).astype(jnp.int32)
    return jnp.minimum(draw, high)
