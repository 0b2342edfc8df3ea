"""A character-level recurrent network.

    h_t = tanh(W x_t + K h_{t-1} + b)

[1] Elman 1990, "Finding Structure in Time", doi:10.1207/s15516709cog1402_1.
"""

import os
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tasks.checks import check_int, check_number
from tasks.datasets.text import load_text
from tasks.language_model import Embedding, LanguageModel


class RNN(nn.Module):
    """One recurrent layer of tanh units between an embedding and a linear layer.

    Attributes:
        size: number of characters.
        width: of the embedding and the hidden state.
    """

    size: int
    width: int

    @nn.compact
    def __call__(self, text: Int[Array, "batch length"]) -> Float[Array, "batch length size"]:
        """Logits of the next character at every position."""
        inputs = nn.Dense(self.width)(Embedding(self.size, self.width)(text))
        return nn.Dense(self.size)(TanhRecurrence()(inputs))


class TanhRecurrence(nn.Module):
    """The part of an RNN that runs through time, from zeros."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch length w"]) -> Float[Array, "batch length w"]:
        """Hidden states."""
        width = inputs.shape[-1]
        kernel: Any = self.param("kernel", nn.initializers.zeros, (width, width))

        def step(hidden: Array, x: Array) -> tuple[Array, Array]:
            hidden = jnp.tanh(x + hidden @ kernel)
            return hidden, hidden

        start = jnp.zeros((inputs.shape[0], width), jnp.float32)
        return jax.lax.scan(step, start, inputs.swapaxes(0, 1))[1].swapaxes(0, 1)


def text_rnn(
    width: int = 32,
    length: int = 16,
    batch_size: int = 16,
    init_scale: float = 1.0,
    num_chars: int = 1_000_000,
    path: str | os.PathLike | None = None,
) -> LanguageModel:
    """Recurrent network that predicts the next character of a text.

    Args:
        width: of the embedding and the hidden state.
        length: characters that are predicted in each passage.
        batch_size: passages per batch.
        init_scale: initial kernels have std init_scale / sqrt(fan_in).
        num_chars: characters of the text to keep, at most.
        path: a text file, read as bytes; None takes the source of Python's standard library,
            which differs between Python versions.

    Raises:
        ValueError: a value is out of range, or the file cannot be read or is too short.
    """
    check_int("width", width, 1)
    check_int("length", length, 1)
    check_int("batch_size", batch_size, 1)
    check_int("num_chars", num_chars, 1)
    init_scale = check_number("init_scale", init_scale, 0.0)
    text = load_text(path, num_chars, length + 1)
    return LanguageModel(text, RNN(len(text.vocabulary), width), length, batch_size, init_scale)
