"""Linear regression by gradient descent, with the strength of its L2 regularisation as theta.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835 (there on UCI Yacht).
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from meta_train.types import Theta, UnrolledSystem
from tasks.datasets.tabular import load_table

Weights = Float[Array, " features"]


@flax.struct.dataclass
class L2Regularisation(UnrolledSystem):
    """w <- w - lr d(mean squared error on train + exp(theta) |w|^2) / dw, from w = 0.

    The loss is the mean squared error of the new w on validation data. Where examples are few,
    some regularisation helps in the long run; what one step of it does is another matter, so that
    truncations want more of it, or less, than is good.

    Args:
        train: features [n, d] and targets [n].
        valid: likewise.
        learning_rate: of the descent.
        first_theta: that meta-training starts at.
        first_spread: it starts anywhere up to this far from there.
    """

    train: tuple[Any, Any]
    valid: tuple[Any, Any]
    learning_rate: float = flax.struct.field(pytree_node=False)
    first_theta: float = flax.struct.field(pytree_node=False)
    first_spread: float = flax.struct.field(pytree_node=False)

    def init_theta(self, key: jax.Array) -> Theta:
        offset = jax.random.uniform(key, (), minval=-1.0, maxval=1.0)
        return {"log_l2": self.first_theta + self.first_spread * offset}

    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> Weights:
        del key, theta, horizon
        return jnp.zeros(self.train[0].shape[1])

    def step(
        self, key: jax.Array, theta: Theta, state: Weights
    ) -> tuple[Weights, Float[Array, ""]]:
        del key
        features, targets = self.train
        gradient = 2 * features.T @ (features @ state - targets) / len(targets)
        gradient += 2 * jnp.exp(theta["log_l2"]) * state
        state = state - self.learning_rate * gradient
        return state, mean_squared_error(state, *self.valid)


def mean_squared_error(
    weights: Weights, features: Float[Array, "n features"], targets: Float[Array, " n"]
) -> Float[Array, ""]:
    """Of the predictions ``features @ weights``."""
    return jnp.mean(jnp.square(features @ weights - targets))


def l2_regularisation(
    num_examples: int = 60,
    learning_rate: float = 0.01,
    first_theta: float = -5.0,
    first_spread: float = 0.0,
) -> L2Regularisation:
    """Regression on few examples of scikit-learn's diabetes table, with all products of features.

    Args:
        num_examples: of training.
        learning_rate: of the inner descent.
        first_theta: logarithm of the regularisation's strength that meta-training starts at.
        first_spread: it starts anywhere up to this far from there.

    Raises:
        ValueError: more examples than there are.
    """
    table = load_table("diabetes", data_seed=0)
    rows, columns = np.triu_indices(table.features.shape[1])
    products = table.features[:, rows] * table.features[:, columns]
    features = jnp.concatenate([table.features, products], axis=1)

    def part(split: str, most: int | None = None) -> tuple[Array, Array]:
        first, end = table.bounds(split)
        end = end if most is None else min(end, first + most)
        return features[first:end], table.targets[first:end]

    available = table.bounds("train")[1]
    if not 1 <= num_examples <= available:
        raise ValueError(f"num_examples = {num_examples} must be between 1 and {available}.")
    train, valid = part("train", num_examples), part("valid")
    return L2Regularisation(train, valid, learning_rate, first_theta, first_spread)
