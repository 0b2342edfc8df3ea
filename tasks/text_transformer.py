"""A small causal transformer over characters: a pre-norm decoder with learned positions."""

import os

import flax.linen as nn
from jaxtyping import Array, Float, Int

from tasks.checks import check_int, check_number
from tasks.datasets.text import load_text
from tasks.language_model import Embedding, LanguageModel
from tasks.transformer import TransformerBlock, check_heads


class Transformer(nn.Module):
    """Embedding and positions, causal blocks, normalisation and a linear layer.

    Attributes:
        size: number of characters.
        width: of each character's vector.
        depth: number of blocks.
        heads: attention heads per block.
    """

    size: int
    width: int
    depth: int
    heads: int

    @nn.compact
    def __call__(self, text: Int[Array, "batch length"]) -> Float[Array, "batch length size"]:
        """Logits of the next character at every position."""
        x = Embedding(self.size, self.width)(text)
        x = x + nn.Embed(text.shape[1], self.width).embedding[None]
        for _ in range(self.depth):
            x = TransformerBlock(self.heads, causal=True)(x)
        return nn.Dense(self.size)(nn.LayerNorm()(x))


def text_transformer(
    width: int = 32,
    depth: int = 2,
    heads: int = 2,
    length: int = 32,
    batch_size: int = 8,
    init_scale: float = 1.0,
    num_chars: int = 1_000_000,
    path: str | os.PathLike | None = None,
) -> LanguageModel:
    """Causal transformer that predicts the next character of a text.

    Args:
        width: of each character's vector.
        depth: number of blocks.
        heads: attention heads per block; divides ``width``.
        length: characters that are predicted in each passage.
        batch_size: passages per batch.
        init_scale: initial kernels have std init_scale / sqrt(fan_in).
        num_chars: characters of the text to keep, at most.
        path: a text file, read as bytes; None takes the source of Python's standard library,
            which differs between Python versions.

    Raises:
        ValueError: a value is out of range, or the file cannot be read or is too short.
    """
    check_heads(width, heads)
    check_int("depth", depth, 1)
    check_int("length", length, 1)
    check_int("batch_size", batch_size, 1)
    check_int("num_chars", num_chars, 1)
    init_scale = check_number("init_scale", init_scale, 0.0)
    text = load_text(path, num_chars, length + 1)
    module = Transformer(len(text.vocabulary), width, depth, heads)
    return LanguageModel(text, module, length, batch_size, init_scale)
