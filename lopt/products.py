"""Matrix products as XLA computes them fastest."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def transposed(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch n m"]:
    """The transpose, as the left factor of a product.

    XLA merges a transpose into the product that follows. Where the product then sums over its left
    factor's first axis, its CPU compiler has no fast kernel, and the product of two small matrices
    takes two to three times as long as one with the transpose made beforehand.
    """
    swapped = jnp.matrix_transpose(x)
    return jax.lax.optimization_barrier(swapped) if jax.default_backend() == "cpu" else swapped
