"""Next-character prediction by any network of one fixed shape."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tasks.base import Task
from tasks.datasets.sequences import Sequences
from tasks.datasets.text import Text
from tasks.networks import cross_entropy, draw_kernels, parameter_shapes, scale_kernels


@flax.struct.dataclass
class LanguageModel(Task):
    """Predict each next character; loss is cross-entropy in nats per character.

    The metric "accuracy" is the share of characters that were the likeliest.

    Attributes:
        data: the text or sequences; they enter a jitted program as an argument.
        module: the network, from characters [B, L] to logits [B, L, vocabulary] of each next one.
        length: characters that are predicted in each passage, L.
        batch_size: passages per batch, B, drawn with replacement.
        init_scale: initial kernels are normal with std init_scale / sqrt(fan_in), embeddings with
            init_scale / sqrt(width); biases zero.
        first: predictions before this one do not count, as nothing tells what comes.
    """

    data: Text | Sequences
    module: nn.Module = flax.struct.field(pytree_node=False)
    length: int = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)
    init_scale: float = flax.struct.field(pytree_node=False)
    first: int = flax.struct.field(pytree_node=False, default=0)

    def init(self, key: jax.Array, cfg: tuple[()]) -> dict[str, Any]:
        del cfg
        passage = jax.ShapeDtypeStruct((1, self.length), jnp.int32)
        params = draw_kernels(key, parameter_shapes(self.module, passage))
        return scale_kernels(params, self.init_scale)

    def loss(
        self, key: jax.Array, cfg: tuple[()], params: dict[str, Any], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key, cfg
        text = batch["text"]
        logits: Any = self.module.apply({"params": params}, text[:, :-1])
        logits, wanted = logits[:, self.first :], text[:, self.first + 1 :]
        return cross_entropy(logits.reshape(-1, logits.shape[-1]), wanted.reshape(-1))

    def batch(self, key: jax.Array, cfg: tuple[()], split: str) -> dict[str, Array]:
        """Passages {"text": [B, L + 1]}: the first L characters predict the last L."""
        del cfg
        return {"text": self.data.draw(key, split, self.batch_size, self.length + 1)}


class Embedding(nn.Module):
    """Vectors of characters, as a product with one-hot rows.

    A lookup's gradient is a scatter, which is slow on CPU.

    Attributes:
        size: number of characters.
        width: of each vector.
    """

    size: int
    width: int

    @nn.compact
    def __call__(self, index: Int[Array, "batch length"]) -> Float[Array, "batch length width"]:
        """The vector of each character."""
        shape = (self.size, self.width)
        table: Any = self.param("embedding", nn.initializers.zeros, shape)
        return jax.nn.one_hot(index, self.size) @ table
