"""An LSTM per tensor that mixes the weights of a tiny network per parameter (``velo``).

Per tensor, from statistics of its accumulators, the progress t / T and the training loss:

    x = A f + max over tensors of relu(B f)          (with biases; f: 22 features of one tensor)
    h, state = LSTM(x, state)
    c_1..n, r = C h + b                              (r: the learned learning-rate multiplier)
    W = 6.25 / sqrt(n) * (c_1 W_1 + ... + c_n W_n)   (a bank of n networks 30-4-4-2)

and per parameter p of the tensor

    (d, a) = MLP_W(30 features, each divided by its RMS over the tensor)
    p <- p - r * RMS(p) * d * exp(exp_mult * a) * step_mult

with the accumulators of lopt/accumulators.py. The published rule has an LSTM of width 512 and a
bank of 256 networks; its meta-training took some 4,000 TPU-months.

Of the published rule this one keeps the architecture. The features of the training loss are those
of lopt/loss_features.py; the statistics are others (``per_tensor.statistics`` says why), of
accumulators that hold the present gradient already; the LSTM starts at zero; and the initial theta
makes small steps down: every network of the bank follows m_1 / sqrt(v)
(``per_parameter.point_down``), C is zero, and b makes W their mean and r one.

References:
    [1] Metz et al. 2022, "VeLO: training versatile learned optimizers by scaling up",
        https://arxiv.org/abs/2211.09760
"""

import dataclasses
import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lopt import accumulators, loss_features, per_parameter, per_tensor, transform
from lopt.accumulators import Accumulators
from lopt.base import LearnedOptimizer, StepInputs, Theta
from lopt.loss_features import LossAverages

PROGRESS = np.array([0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1], np.float32)
"""Places of t / T at which one of the features goes from -1 to 1."""
MAX_RANK = 4
TENSOR_FEATURES = 5 + MAX_RANK + 1
NUM_FEATURES = TENSOR_FEATURES + len(PROGRESS) + loss_features.NUM_FEATURES
MLP_SIZES = (accumulators.NUM_FEATURES + 2, 4, 4, 2)
CLIPPED = 0.1
"""Gradients clipped to this size are one of the 30 features."""
DESCENT_FEATURE = 6
"""m_1 / sqrt(v), which the first theta follows."""
MIX_SCALE = 6.25
"""Keeps W of the size of W_1..n, whatever n; with n = 256 it is the published scale."""


class VeLOState(NamedTuple):
    """State of ``velo``: that of ``adafac_mlp``, and some numbers per tensor."""

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    accumulators: Accumulators
    """Trees like the parameters."""
    lstm: Any
    """Per tensor ``[2, width]``: output and cell of the LSTM, in a tree like the parameters."""
    loss: LossAverages


@dataclasses.dataclass(frozen=True)
class VeLOLopt(LearnedOptimizer):
    """The hypernetwork of Metz et al. 2022, small enough to meta-train on a laptop.

    Attributes:
        width: width of the LSTM; published: 512.
        bank_size: number of networks that are mixed; published: 256.
        step_mult: scale of the step.
        exp_mult: scale of the magnitude output within the exponential.
    """

    width: int = 64
    bank_size: int = 32
    step_mult: float = 0.001
    exp_mult: float = 0.001

    def __post_init__(self) -> None:
        transform.check_positive("width", self.width)
        transform.check_positive("bank_size", self.bank_size)

    @property
    def needs_num_steps(self) -> bool:
        return True

    def init(self, key: jax.Array) -> Theta:
        """Draw theta: the layers around the LSTM, and the bank with leaves ``[bank_size, ...]``."""
        sizes = {
            "own": (NUM_FEATURES, self.width),
            "shared": (NUM_FEATURES, self.width),
            "lstm": (2 * self.width, 4 * self.width),
        }
        # The bank side by side, as wide layers of the same number of inputs.
        wide = {
            f"layer{i}": (inputs, self.bank_size * outputs)
            for i, (inputs, outputs) in enumerate(itertools.pairwise(MLP_SIZES))
        }
        nets = per_parameter.init_nets(key, sizes | wide)
        bank = _cut([nets.pop(name)["w0"] for name in wide], self.bank_size)
        point_down = functools.partial(per_parameter.point_down, feature=DESCENT_FEATURE)
        mean = 1.0 / (MIX_SCALE * math.sqrt(self.bank_size))
        biases = [jnp.full((self.bank_size,), mean, jnp.float32), jnp.ones((1,), jnp.float32)]
        return nets | {
            "controls": {
                "w0": jnp.zeros((self.width, self.bank_size + 1), jnp.float32),
                "b0": jnp.concatenate(biases),
            },
            "bank": jax.vmap(point_down)(bank),
        }

    def init_state(self, theta: Theta, params: Any) -> VeLOState:
        return VeLOState(
            transform.zero_count(),
            accumulators.init(params),
            per_tensor.zeros(params, 2, self.width),
            loss_features.init(),
        )

    def step(self, theta: Theta, state: VeLOState, inputs: StepInputs) -> tuple[Any, VeLOState]:
        """Take one inner step; without ``value`` the features of the training loss are zero."""
        grads, params = per_tensor.clip(inputs.grads), inputs.params
        new = accumulators.update(grads, state.accumulators, accumulators.RATES)
        loss = loss_features.update(state.loss, inputs.value)
        progress = transform.progress(state.count, inputs.num_steps)
        places = jnp.tanh(10.0 * (progress - PROGRESS))
        shared = jnp.concatenate([places, loss_features.features(loss)])
        features = jax.tree.map(_tensor_features, params, new)
        lstm = self._apply_lstm(theta, state, features, shared)

        controls = per_tensor.apply_layer(theta["controls"], lstm[:, 0])
        mix = MIX_SCALE / math.sqrt(self.bank_size) * controls[:, :-1]
        nets = jax.tree.map(lambda bank: jnp.tensordot(mix, bank, axes=1), theta["bank"])
        told = per_tensor.unstack((nets, controls[:, -1]), params)
        return jax.tree.map(self._step_leaf, params, grads, new, told), VeLOState(
            transform.increment(state.count),
            accumulators.by_field(new, grads),
            per_tensor.unstack(lstm, params),
            loss,
        )

    def _apply_lstm(
        self, theta: Theta, state: VeLOState, features: Any, shared: Float[Array, " 12"]
    ) -> Float[Array, "tensors 2 width"]:
        own = per_tensor.stack(features, TENSOR_FEATURES)
        rows = jnp.concatenate(
            [own, jnp.broadcast_to(shared[None], (len(own), len(shared)))], axis=1
        )
        heard = jax.nn.relu(per_tensor.apply_layer(theta["shared"], rows))
        # What relu returns is not negative, so the initial value matters for no tensors only.
        inputs = per_tensor.apply_layer(theta["own"], rows)
        inputs = inputs + jnp.max(heard, axis=0, keepdims=True, initial=0.0)
        old = per_tensor.stack(state.lstm, 2, self.width)
        return per_tensor.apply_lstm(theta["lstm"], inputs, old)

    def _step_leaf(
        self,
        param: jax.Array,
        grad: jax.Array,
        acc: Accumulators,
        told: tuple[per_parameter.Net, Float[Array, ""]],
    ) -> jax.Array:
        combine = per_parameter.direction_and_magnitude(self.step_mult, self.exp_mult)
        net, rate = told
        inputs = _mlp_features(param, grad, acc)
        step = per_parameter.apply_net(net, inputs, param.shape, combine)
        return rate * _rms(param) * step


def _cut(layers: list[jax.Array], copies: int) -> per_parameter.Net:
    """Networks that lie side by side in wide layers, one above the other: ``[copies, ...]``."""
    bank = {}
    for i, wide in enumerate(layers):
        weights = wide.reshape(len(wide), copies, -1)
        bank[f"w{i}"] = jnp.moveaxis(weights, 1, 0)
        bank[f"b{i}"] = jnp.zeros(weights.shape[1:], jnp.float32)
    return bank


def _rms(param: jax.Array) -> Float[Array, ""]:
    return jnp.sqrt(per_tensor.mean(jnp.square(param)) + 1e-9)


def _tensor_features(param: jax.Array, acc: Accumulators) -> Float[Array, " 10"]:
    """Sizes of the accumulators relative to the parameters' size, and the number of axes."""
    size = _rms(param)
    momenta, second = acc.momenta / size, acc.second_moment[0] / jnp.square(size)
    rank = min(sum(length > 1 for length in param.shape), MAX_RANK)
    squares = jax.vmap(per_tensor.mean)(jnp.square(momenta))
    one_hot = jnp.asarray(np.eye(MAX_RANK + 1, dtype=np.float32)[rank])
    return jnp.concatenate([per_tensor.log_size(squares), per_tensor.statistics(second), one_hot])


def _mlp_features(param: jax.Array, grad: jax.Array, acc: Accumulators) -> list[jax.Array]:
    """The 30 features of every parameter, as arrays [k, ...]."""
    scale = accumulators.row_scale(acc.row, grad.shape)
    return [
        *accumulators.features(grad[None], param[None], acc, scale),
        jnp.clip(grad, -CLIPPED, CLIPPED)[None],
        grad[None] * accumulators.second_moment_rsqrt(acc),
    ]
