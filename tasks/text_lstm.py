"""A character-level LSTM.

    i, f, g, o = W_x x_t + W_h h_{t-1} + b
    c_t = sigmoid(f + 1) c_{t-1} + sigmoid(i) tanh(g)
    h_t = sigmoid(o) tanh(c_t)

[1] Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; [2] Jozefowicz et al. 2015, "An
Empirical Exploration of Recurrent Network Architectures": the 1 added to the forget gate.
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


class LSTM(nn.Module):
    """One LSTM layer between an embedding and a linear layer; it starts from zeros.

    Attributes:
        size: number of characters.
        width: of the embedding, the hidden state and the cell.
    """

    size: int
    width: int

    @nn.compact
    def __call__(self, text: Int[Array, "batch length"]) -> Float[Array, "batch length size"]:
        """Logits of the next character at every position."""
        gates = nn.Dense(4 * self.width)(Embedding(self.size, self.width)(text))
        return nn.Dense(self.size)(Recurrence(self.width)(gates))


class Recurrence(nn.Module):
    """The part of an LSTM that runs through time.

    Attributes:
        width: of the hidden state and the cell.
    """

    width: int

    @nn.compact
    def __call__(self, gates: Float[Array, "batch length gates"]) -> Float[Array, "batch length w"]:
        """Hidden states.

        Args:
            gates: W_x x_t + b of every step, in the order i, f, g, o.
        """
        shape = (self.width, 4 * self.width)
        kernel: Any = self.param("kernel", nn.initializers.zeros, shape)

        def step(state: tuple[Array, Array], gate: Array) -> tuple[tuple[Array, Array], Array]:
            hidden, cell = state
            i, f, g, o = jnp.split(gate + hidden @ kernel, 4, axis=-1)
            cell = jax.nn.sigmoid(f + 1) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
            return (hidden, cell), hidden

        start = jnp.zeros((gates.shape[0], self.width), jnp.float32)
        _, hidden = jax.lax.scan(step, (start, start), gates.swapaxes(0, 1))
        return hidden.swapaxes(0, 1)


def text_lstm(
    width: int = 32,
    length: int = 32,
    batch_size: int = 16,
    init_scale: float = 1.0,
    num_chars: int = 1_000_000,
    path: str | os.PathLike | None = None,
) -> LanguageModel:
    """LSTM that predicts the next character of a text.

    Args:
        width: of the embedding, the hidden state and the cell.
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
    module = LSTM(len(text.vocabulary), width)
    return LanguageModel(text, module, length, batch_size, init_scale)
