"""A character LSTM along a text, with its weights as theta: recurrent training step by step.

    i, f, g, o = W_x e(character) + W_h h + b
    c <- sigmoid(f + 1) c + sigmoid(i) tanh(g)
    h <- sigmoid(o) tanh(c)

[1] Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735.
[2] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835 (variance on such a network).
"""

import math
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from meta_train.types import Theta, UnrolledSystem
from tasks.datasets.text import Text, load_text


class Reading(NamedTuple):
    """A network within a text."""

    place: Int[Array, ""]
    """Of the character that is read next."""
    hidden: Float[Array, " width"]
    cell: Float[Array, " width"]


@flax.struct.dataclass
class CharacterLSTM(UnrolledSystem):
    """One inner step reads one character; the loss is the next one's cross-entropy, in nats.

    An episode starts anywhere in the training part of the text.

    Args:
        text: its characters are a leaf of this pytree.
        width: of the embedding, the hidden state and the cell.
    """

    text: Text
    width: int = flax.struct.field(pytree_node=False)

    def init_theta(self, key: jax.Array) -> Theta:
        """Embeddings of std 1, other weights of std 1 / sqrt(width), biases of 0."""
        size, width = len(self.text.vocabulary), self.width
        shapes = {
            "input": (width, 4 * width),
            "recurrent": (width, 4 * width),
            "output": (width, size),
        }
        key_embedding, *keys = jax.random.split(key, 1 + len(shapes))
        kernels = {
            name: jax.random.normal(key, shape) / math.sqrt(width)
            for key, (name, shape) in zip(keys, shapes.items(), strict=True)
        }
        embedding = jax.random.normal(key_embedding, (size, width))
        biases = {"bias": jnp.zeros(4 * width), "output_bias": jnp.zeros(size)}
        return {"embedding": embedding, **kernels, **biases}

    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> Reading:
        del theta, horizon
        first, end = self.text.bounds("train")
        place = jax.random.randint(key, (), first, end)
        return Reading(place, jnp.zeros(self.width), jnp.zeros(self.width))

    def step(
        self, key: jax.Array, theta: Theta, state: Reading
    ) -> tuple[Reading, Float[Array, ""]]:
        del key
        characters: Any = self.text.characters
        first, end = self.text.bounds("train")
        following = jnp.where(state.place + 1 < end, state.place + 1, first)
        embedded = theta["embedding"][characters[state.place]]
        gates = embedded @ theta["input"] + state.hidden @ theta["recurrent"] + theta["bias"]
        i, f, g, o = jnp.split(gates, 4)
        cell = jax.nn.sigmoid(f + 1) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        logits = hidden @ theta["output"] + theta["output_bias"]
        loss = -jax.nn.log_softmax(logits)[characters[following]]
        return Reading(following, hidden, cell), loss


def character_lstm(width: int = 5, num_chars: int = 100_000) -> CharacterLSTM:
    """An LSTM on the source of Python's standard library.

    Args:
        width: of the embedding, the hidden state and the cell.
        num_chars: characters of the text to keep, at most.

    Raises:
        ValueError: a value below 1.
    """
    if width < 1:
        raise ValueError(f"width = {width} must be at least 1.")
    return CharacterLSTM(load_text(None, num_chars, 2), width)
