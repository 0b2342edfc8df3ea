"""An LSTM per tensor that tells a multilayer perceptron per parameter what to do (``rnn_mlp``).

Per tensor, from statistics of its momenta m_k, second moments v_k, parameters p and gradients g:

    h, state = LSTM(13 statistics | 3 of the loss | 16 from the MLP | 18 from all tensors, state)

and per parameter of the tensor, with f_k = m_k / sqrt(v_k) and r_k = 1 / sqrt(v_k),

    (d, a, s) = MLP(g, p, log|p|, m_1..5, f_1..5, v_1..5, r_1..5 | 14 constants | B h + b)
    p <- p - d * exp(exp_mult * a) * step_mult

The first 23 inputs of the MLP are each divided by their root mean square over the tensor; the
constants are eleven functions of t, the number of tensors, the tensor's norm and its size. One step
later every LSTM hears the mean of s over the tensor's parameters and the mean of C h + c over all
tensors: so the tensors know of each other, whatever their order.

Of the published rule this one keeps the architecture. It clips gradients to a fixed size instead of
a running one, sees time through tanh instead of sine, looks at the training loss but at no
validation loss, describes a tensor by other statistics (``per_tensor.statistics`` says why), starts
its recurrent parts at zero, and its initial theta makes small steps down
(``per_parameter.point_down``).

References:
    [1] Metz et al. 2020, "Tasks, stability, architecture, and compute: training more effective
        learned optimizers, and using them to train themselves", https://arxiv.org/abs/2009.11243
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lopt import loss_features, per_parameter, per_tensor, transform
from lopt.base import LearnedOptimizer, StepInputs, Theta
from lopt.loss_features import LossAverages

DECAYS = (0.5, 0.9, 0.99, 0.999, 0.9999)
RATES = (1.0 - np.array(DECAYS)).astype(np.float32)
TO_MLP, TO_TENSORS, TO_LSTM = 17, 18, 16
"""Numbers that the LSTM sends to the MLP and to all tensors, and that it gets from the MLP."""
TENSOR_FEATURES = 13
LSTM_INPUTS = TENSOR_FEATURES + loss_features.NUM_FEATURES + TO_LSTM + TO_TENSORS
MLP_FEATURES = 3 + 4 * len(DECAYS)
MLP_INPUTS = MLP_FEATURES + len(per_parameter.TIMESCALES) + 3 + TO_MLP
DESCENT_FEATURE = 3 + len(DECAYS) + 1
"""m / sqrt(v) at the decay 0.9, which the first theta follows."""
MAX_AXES = 4


class RNNMLPState(NamedTuple):
    """State of ``rnn_mlp``: ten float32 numbers per parameter, and some per tensor."""

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    momenta: Any
    """Tree like the parameters with leaves ``[5, *shape]``."""
    second_moments: Any
    """Likewise."""
    lstm: Any
    """Per tensor ``[2, width]``: output and cell of the LSTM, in a tree like the parameters."""
    from_mlp: Any
    """Per tensor ``[16]``: what the MLP said at the step before, likewise."""
    from_tensors: Float[Array, " 18"]
    """What all tensors said at the step before."""
    loss: LossAverages


@dataclasses.dataclass(frozen=True)
class RNNMLPLopt(LearnedOptimizer):
    """The per-tensor LSTM over a per-parameter MLP of Metz et al. 2020.

    Attributes:
        width: width of the LSTM.
        hidden: widths of the MLP's hidden layers, at least 2.
        step_mult: scale of the step.
        exp_mult: scale of the magnitude output within the exponential.
    """

    width: int = 64
    hidden: tuple[int, ...] = (32, 32)
    step_mult: float = 0.001
    exp_mult: float = 0.001

    def __post_init__(self) -> None:
        transform.check_positive("width", self.width)
        hidden = transform.check_widths("hidden", self.hidden, smallest=2)
        object.__setattr__(self, "hidden", hidden)

    def init(self, key: jax.Array) -> Theta:
        """Draw theta: the LSTM, two layers that read it, and the MLP."""
        sizes = {
            "lstm": (LSTM_INPUTS + self.width, 4 * self.width),
            "to_mlp": (self.width, TO_MLP),
            "to_tensors": (self.width, TO_TENSORS),
            "mlp": (MLP_INPUTS, *self.hidden, 2 + TO_LSTM),
        }
        nets = per_parameter.init_nets(key, sizes)
        return nets | {"mlp": per_parameter.point_down(nets["mlp"], DESCENT_FEATURE)}

    def init_state(self, theta: Theta, params: Any) -> RNNMLPState:
        return RNNMLPState(
            count=transform.zero_count(),
            momenta=transform.zeros_like(params, len(DECAYS)),
            second_moments=transform.zeros_like(params, len(DECAYS)),
            lstm=per_tensor.zeros(params, 2, self.width),
            from_mlp=per_tensor.zeros(params, TO_LSTM),
            from_tensors=jnp.zeros((TO_TENSORS,), jnp.float32),
            loss=loss_features.init(),
        )

    def step(self, theta: Theta, state: RNNMLPState, inputs: StepInputs) -> tuple[Any, RNNMLPState]:
        """Take one inner step; without ``value`` the features of the training loss are zero."""
        grads, params = per_tensor.clip(inputs.grads), inputs.params
        momenta = _average(state.momenta, grads)
        squares = _average(state.second_moments, jax.tree.map(jnp.square, grads))
        loss = loss_features.update(state.loss, inputs.value)
        features = jax.tree.map(_tensor_features, params, grads, momenta, squares)
        lstm = self._apply_lstm(theta, state, features, loss)

        to_mlp = per_tensor.apply_layer(theta["to_mlp"], lstm[:, 0])
        number = per_tensor.log_size(jnp.float32(len(lstm)))[None]
        constants = jnp.concatenate([per_parameter.time_features(state.count), number])
        step_leaf = functools.partial(self._step_leaf, theta["mlp"], constants)
        out = jax.tree.map(
            step_leaf, params, grads, momenta, squares, per_tensor.unstack(to_mlp, params)
        )
        steps, from_mlp = (jax.tree.map(lambda _, x, i=i: x[i], params, out) for i in range(2))
        to_tensors = per_tensor.apply_layer(theta["to_tensors"], lstm[:, 0])
        return steps, RNNMLPState(
            count=transform.increment(state.count),
            momenta=momenta,
            second_moments=squares,
            lstm=per_tensor.unstack(lstm, params),
            from_mlp=from_mlp,
            from_tensors=jnp.sum(to_tensors, axis=0) / max(len(lstm), 1),
            loss=loss,
        )

    def _apply_lstm(
        self, theta: Theta, state: RNNMLPState, features: Any, loss: LossAverages
    ) -> Float[Array, "tensors 2 width"]:
        own = per_tensor.stack(features, TENSOR_FEATURES)
        shared = jnp.concatenate([state.from_tensors, loss_features.features(loss)])
        rows = [
            own,
            per_tensor.stack(state.from_mlp, TO_LSTM),
            jnp.broadcast_to(shared[None], (len(own), len(shared))),
        ]
        old = per_tensor.stack(state.lstm, 2, self.width)
        return per_tensor.apply_lstm(theta["lstm"], jnp.concatenate(rows, axis=1), old)

    def _step_leaf(
        self,
        net: per_parameter.Net,
        constants: Float[Array, " 12"],
        param: jax.Array,
        grad: jax.Array,
        momenta: jax.Array,
        squares: jax.Array,
        told: Float[Array, " 17"],
    ) -> tuple[jax.Array, Float[Array, " 16"]]:
        """Step of one tensor, and what the MLP says to its LSTM."""
        to_step = per_parameter.direction_and_magnitude(self.step_mult, self.exp_mult)
        constants = jnp.concatenate([constants, _sizes(param), told])
        step, said = per_parameter.apply_net(
            per_parameter.fold_constants(net, constants),
            _mlp_features(param, grad, momenta, squares),
            param.shape,
            lambda *outputs: (to_step(*outputs[:2]), jnp.stack(outputs[2:])),
        )
        return step, jax.vmap(per_tensor.mean)(said)


def _average(old: Any, new: Any) -> Any:
    def average(old: jax.Array, new: jax.Array) -> jax.Array:
        return transform.moving_averages(old, new[None], transform.constants(RATES, new.ndim))

    return jax.tree.map(average, old, new)


def _sizes(param: jax.Array) -> Float[Array, " 2"]:
    """Norm and number of parameters."""
    squares = jnp.sum(jnp.square(param))
    return per_tensor.log_size(jnp.stack([squares, jnp.float32(param.size)]))


def _tensor_features(
    param: jax.Array, grad: jax.Array, momenta: jax.Array, squares: jax.Array
) -> Float[Array, " 13"]:
    """What the LSTM is told about one tensor."""
    axes = sorted(param.shape, reverse=True)[:MAX_AXES]
    axes += [1] * (MAX_AXES - len(axes))
    return jnp.concatenate(
        [
            *(per_tensor.statistics(x) for x in (momenta, squares, param, grad)),
            jnp.full((1,), 1.0 if param.ndim == 0 else -1.0, jnp.float32),
            per_tensor.log_size(jnp.array(axes, jnp.float32)),
        ]
    )


def _mlp_features(
    param: jax.Array, grad: jax.Array, momenta: jax.Array, squares: jax.Array
) -> list[jax.Array]:
    """The 23 features of every parameter, as arrays [k, ...]."""
    rsqrt = jax.lax.rsqrt(squares + 1e-6)
    logs = jnp.log(jnp.abs(param) + 1e-8)
    return [grad[None], param[None], logs[None], momenta, momenta * rsqrt, squares, rsqrt]
