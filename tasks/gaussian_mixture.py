"""Density estimation by a mixture of normal distributions with diagonal covariances.

No network: the parameters are means, log-scales and logits of the weights,

    p(x) = sum_k softmax(logits)_k prod_j N(x_j; mean_kj, exp(2 log_scale_kj)).

The likelihood is unbounded where a component shrinks onto one row, so scales are kept above a
tenth of a standard deviation of the data.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tasks.base import Task
from tasks.checks import check_batch, check_int, check_number
from tasks.datasets.tabular import Table, load_table

_SMALLEST = np.float32(0.1)


@flax.struct.dataclass
class GaussianMixture(Task):
    """Fit a density to standardised rows; loss is the negative log-likelihood per value, in nats.

    Attributes:
        data: the table; its targets are not looked at.
        components: of the mixture.
        batch_size: rows per batch, B, drawn with replacement.
        init_scale: standard deviation of the initial means; scales start at one.
    """

    data: Table
    components: int = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)
    init_scale: float = flax.struct.field(pytree_node=False)

    def init(self, key: jax.Array, cfg: tuple[()]) -> dict[str, Array]:
        """{"mean", "log_scale": [components, d], "logit": [components]}."""
        del cfg
        shape = (self.components, self.data.features.shape[-1])
        return {
            "mean": np.float32(self.init_scale) * jax.random.normal(key, shape, jnp.float32),
            "log_scale": jnp.zeros(shape, jnp.float32),
            "logit": jnp.zeros((self.components,), jnp.float32),
        }

    def loss(
        self, key: jax.Array, cfg: tuple[()], params: dict[str, Array], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key, cfg
        rows = batch["features"]
        scale = (_SMALLEST + jnp.exp(params["log_scale"]))[None]
        standard = (rows[:, None] - params["mean"][None]) / scale
        terms = -0.5 * jnp.square(standard) - jnp.log(scale) - np.float32(0.5 * np.log(2 * np.pi))
        weights = jax.nn.log_softmax(params["logit"])[None]
        likelihood = jax.nn.logsumexp(weights + jnp.sum(terms, axis=-1), axis=-1)
        return -jnp.mean(likelihood) / rows.shape[-1], {}

    def batch(self, key: jax.Array, cfg: tuple[()], split: str) -> dict[str, Array]:
        """Rows {"features": [B, d]}."""
        del cfg
        return {"features": self.data.draw(key, split, self.batch_size)[0]}


def gaussian_mixture(
    dataset: str,
    components: int = 8,
    batch_size: int = 32,
    init_scale: float = 0.5,
    data_seed: int = 0,
) -> GaussianMixture:
    """Mixture of normal distributions on the features of a table.

    Args:
        dataset: "breast_cancer", "wine", "iris" or "diabetes".
        components: of the mixture.
        batch_size: rows per batch.
        init_scale: standard deviation of the initial means.
        data_seed: another seed deals the splits anew.

    Raises:
        ValueError: a value is out of range or a name unknown.
        MissingData: scikit-learn is not installed.
    """
    check_int("components", components, 1)
    check_int("batch_size", batch_size, 1)
    init_scale = check_number("init_scale", init_scale, 0.0)
    data = load_table(dataset, data_seed)
    check_batch(dataset, batch_size, data.bounds("train")[1])
    return GaussianMixture(data, components, batch_size, init_scale)
