"""Classification of, or regression on, small tables by an MLP."""

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tasks.base import Task
from tasks.checks import check_batch, check_choice, check_int, check_ints, check_number
from tasks.datasets.tabular import Table, load_table
from tasks.networks import (
    ACTIVATIONS,
    MLP,
    cross_entropy,
    draw_kernels,
    parameter_shapes,
    scale_kernels,
)


@flax.struct.dataclass
class TabularMLP(Task):
    """Predict a class or a number from standardised features.

    For classes the loss is cross-entropy in nats, the metric "accuracy"; for numbers it is the
    squared error, of which 1 is that of the mean.

    Attributes:
        data: the table; its leaves enter a jitted program as arguments.
        module: the network, from features [B, d] to logits [B, classes] or numbers [B, 1].
        batch_size: rows per batch, B, drawn with replacement.
        init_scale: initial kernels are normal with std init_scale / sqrt(fan_in); biases zero.
    """

    data: Table
    module: MLP = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)
    init_scale: float = flax.struct.field(pytree_node=False)

    def init(self, key: jax.Array, cfg: tuple[()]) -> dict[str, Any]:
        del cfg
        row = jax.ShapeDtypeStruct((1, self.data.features.shape[-1]), jnp.float32)
        return scale_kernels(draw_kernels(key, parameter_shapes(self.module, row)), self.init_scale)

    def loss(
        self, key: jax.Array, cfg: tuple[()], params: dict[str, Any], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key, cfg
        outputs: Any = self.module.apply({"params": params}, batch["features"])
        if self.data.num_classes is None:
            return jnp.mean(jnp.square(outputs[:, 0] - batch["target"])), {}
        return cross_entropy(outputs, batch["target"])

    def batch(self, key: jax.Array, cfg: tuple[()], split: str) -> dict[str, Array]:
        """Features {"features": [B, d]} and classes or numbers {"target": [B]}."""
        del cfg
        features, targets = self.data.draw(key, split, self.batch_size)
        return {"features": features, "target": targets}


def tabular_mlp(
    dataset: str,
    hidden: Sequence[int] = (32, 32),
    activation: str = "tanh",
    batch_size: int = 32,
    init_scale: float = 1.0,
    data_seed: int = 0,
) -> TabularMLP:
    """MLP that predicts a class or a number from a row of a table.

    Args:
        dataset: "breast_cancer", "wine" and "iris" have classes, "diabetes" numbers.
        hidden: widths of the hidden layers; () is a linear model.
        activation: a name in ``tasks.ACTIVATIONS``.
        batch_size: rows per batch.
        init_scale: initial kernels have std init_scale / sqrt(fan_in).
        data_seed: another seed deals the splits anew.

    Raises:
        ValueError: a value is out of range or a name unknown.
        MissingData: scikit-learn is not installed.
    """
    widths = check_ints("hidden", hidden, 1)
    check_choice("activation", activation, ACTIVATIONS)
    check_int("batch_size", batch_size, 1)
    init_scale = check_number("init_scale", init_scale, 0.0)
    data = load_table(dataset, data_seed)
    check_batch(dataset, batch_size, data.bounds("train")[1])
    module = MLP(widths, data.num_classes or 1, activation)
    return TabularMLP(data, module, batch_size, init_scale)
