"""A pre-norm transformer block, for images and text.

[1] Vaswani et al. 2017, arXiv:1706.03762; [2] Xiong et al. 2020, "On Layer Normalization in the
Transformer Architecture", arXiv:2002.04745.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tasks.checks import check_int


class TransformerBlock(nn.Module):
    """Attention and an MLP of four times the width, each added to what it reads.

    Attributes:
        heads: attention heads; they share the width.
        causal: a position sees only itself and those before it.
    """

    heads: int
    causal: bool

    @nn.compact
    def __call__(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch length width"]:
        """One block; length and width stay."""
        width = x.shape[-1]
        attended = attention(nn.Dense(3 * width)(nn.LayerNorm()(x)), self.heads, self.causal)
        x = x + nn.Dense(width)(attended)
        hidden = jax.nn.gelu(nn.Dense(4 * width)(nn.LayerNorm()(x)))
        return x + nn.Dense(width)(hidden)


def attention(
    projected: Float[Array, "batch length three_widths"], heads: int, causal: bool
) -> Float[Array, "batch length width"]:
    """Scaled dot-product attention.

    Args:
        projected: queries, keys and values side by side, each split into heads.
        heads: number of heads, a divisor of the width.
        causal: a position sees only itself and those before it.
    """
    batch, length, widths = projected.shape
    split = projected.reshape(batch, length, 3, heads, widths // (3 * heads))
    query, key, value = split[:, :, 0], split[:, :, 1], split[:, :, 2]
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.float32(np.sqrt(query.shape[-1]))
    if causal:
        seen = np.tril(np.ones((length, length), bool))
        scores = jnp.where(seen[None, None], scores, -jnp.inf)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)
    return mixed.reshape(batch, length, -1)


def check_heads(width: Any, heads: Any) -> None:
    """Check that heads share the width evenly.

    Raises:
        ValueError: they do not, or one is no positive integer.
    """
    if check_int("width", width, 1) % check_int("heads", heads, 1):
        raise ValueError(f"heads = {heads} must divide width = {width}; give another of the two.")
