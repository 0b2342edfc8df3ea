"""A two-layer LSTM applied to every parameter by itself (``lstm``).

    z = (max(log|g| / p, -1), sign(g))   where |g| >= e^-p,   else   (-1, e^p g)
    h, state = LSTM(z, state)
    parameter <- parameter + scale * (W h + b)

The two numbers z make gradients of very different sizes comparable. All parameters share the
weights; each has its own state.

The first theta makes steps like Adam's. In the first layer unit 0 averages gradients, those above
0.1 nearly by their sign, and unit 1 their logarithms; in the second, unit 0 passes the former on,
the less the larger the latter. Unit 0 of any further layer passes it on unchanged. The output is
minus the last of them, besides a tenth of what was drawn.

References:
    [1] Andrychowicz et al. 2016, "Learning to learn by gradient descent by gradient descent",
        https://arxiv.org/abs/1606.04474 (section 2.1 and appendix A)
"""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt import per_parameter, transform
from lopt.base import LearnedOptimizer, StepInputs, Theta
from lopt.blocks import map_parameters

FORGET_BIAS = 1.0
STEP = 5.0
"""Of the first theta, in units of ``scale``, where unit 0 of the last layer is one."""
OPEN, SHUT = 2.0, -3.0
"""Biases of gates."""
Gate = tuple[float, dict[int, float]]
"""Bias, and weights of the inputs that are not zero."""
Unit = tuple[Gate, Gate, Gate, Gate]
"""Of write, candidate, forget and read, in the order of the columns of a layer."""


class LSTMState(NamedTuple):
    """State of ``lstm``: per layer a hidden and a cell vector for every parameter."""

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    hidden: tuple[Any, ...]
    """Per layer a tree like the parameters with leaves ``[width, *shape]``."""
    cell: tuple[Any, ...]
    """Likewise."""


@dataclasses.dataclass(frozen=True)
class LSTMLopt(LearnedOptimizer):
    """The coordinatewise LSTM of Andrychowicz et al.

    Attributes:
        hidden: width of every LSTM layer.
        scale: factor on the output.
        log_threshold: p of the gradient preprocessing; gradients below e^-p enter linearly.
    """

    needs_params: ClassVar[bool] = False

    hidden: tuple[int, ...] = (20, 20)
    scale: float = 0.01
    log_threshold: float = 10.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", transform.check_widths("hidden", self.hidden))
        if not self.log_threshold > 0:
            raise ValueError(f"log_threshold = {self.log_threshold} must be positive.")

    def init(self, key: jax.Array) -> Theta:
        """Draw theta: per layer one matrix for all four gates, and the output layer."""
        theta = {}
        inputs = 2
        for layer, width in enumerate(self.hidden):
            sizes = (inputs + width, 4 * width)
            net = per_parameter.init_net(jax.random.fold_in(key, layer), sizes)
            net = {"w": net["w0"], "b": net["b0"]}
            for unit, gates in enumerate(self._first_units(layer)[:width]):
                net = _with_unit(net, unit, gates)
            theta[f"lstm{layer}"] = net
            inputs = width
        net = per_parameter.init_net(jax.random.fold_in(key, len(self.hidden)), (inputs, 1))
        weights = (0.1 * net["w0"]).at[0].set(-STEP)
        return {**theta, "output": {"w": weights, "b": net["b0"]}}

    def _first_units(self, layer: int) -> list[Unit]:
        """The units of a layer that are not drawn."""
        p = self.log_threshold
        if layer == 0:
            # sigmoid(log|g| + log 10) is |g| / (|g| + 0.1).
            momentum = (math.log(10.0), {0: p}), (0.0, {1: 2.0}), (1.2, {}), (OPEN, {})
            sizes = (-4.0, {}), (0.5, {0: 1.0}), (3.0, {}), (OPEN, {})
            return [momentum, sizes]
        by_size = (-1.0, {1: -p} if layer == 1 and self.hidden[0] > 1 else {})
        return [(by_size, (0.0, {0: 1.0}), (SHUT, {}), (OPEN, {}))]

    def init_state(self, theta: Theta, params: Any) -> LSTMState:
        hidden = tuple(transform.zeros_like(params, width) for width in self.hidden)
        cell = tuple(transform.zeros_like(params, width) for width in self.hidden)
        return LSTMState(transform.zero_count(), hidden, cell)

    def step(self, theta: Theta, state: LSTMState, inputs: StepInputs) -> tuple[Any, LSTMState]:
        layers, grads = range(len(self.hidden)), inputs.grads
        new = jax.tree.map(
            lambda g, *old: self._update_leaf(theta, g, old), grads, *state.hidden, *state.cell
        )
        steps = jax.tree.map(lambda _, out: out[0], grads, new)
        hidden = (jax.tree.map(lambda _, out, i=i: out[1][i], grads, new) for i in layers)
        cell = (jax.tree.map(lambda _, out, i=i: out[2][i], grads, new) for i in layers)
        return steps, LSTMState(transform.increment(state.count), tuple(hidden), tuple(cell))

    def _update_leaf(
        self, theta: Theta, grad: jax.Array, state: tuple[jax.Array, ...]
    ) -> tuple[jax.Array, tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        layers = len(self.hidden)
        # Transposed once, not once per block.
        cells = [(theta[f"lstm{i}"]["w"].T, theta[f"lstm{i}"]["b"]) for i in range(layers)]
        output = theta["output"]["w"].T, theta["output"]["b"]

        def evaluate(rows: list[jax.Array]) -> tuple[jax.Array, list[jax.Array], list[jax.Array]]:
            x = preprocess(rows[0][0], self.log_threshold)
            hidden, cell = [], []
            for layer, weights in enumerate(cells):
                gates = per_parameter.dense(*weights, jnp.concatenate([x, rows[1 + layer]]))
                x, memory = lstm_cell(gates, rows[1 + layers + layer])
                hidden.append(x)
                cell.append(memory)
            return self.scale * per_parameter.dense(*output, x)[0], hidden, cell

        step, hidden, cell = map_parameters(evaluate, [grad[None], *state], grad.shape)
        return step, tuple(hidden), tuple(cell)


def _with_unit(net: Theta, unit: int, gates: Unit) -> Theta:
    """The layer with the weights and biases of one of its units replaced."""
    weights, biases = net["w"], net["b"]
    for i, (bias, inputs) in enumerate(gates):
        column = i * (len(biases) // 4) + unit
        row = [inputs.get(k, 0.0) for k in range(len(weights))]
        weights = weights.at[:, column].set(jnp.array(row, jnp.float32))
        biases = biases.at[column].set(bias)
    return {"w": weights, "b": biases}


def preprocess(grad: Float[Array, "*n"], log_threshold: float) -> Float[Array, "2 *n"]:
    """Logarithm and sign of a gradient, as two numbers of order one.

    Args:
        grad: gradients of n parameters.
        log_threshold: p; below e^-p the gradient enters linearly, as (-1, e^p g).

    Returns:
        Two rows. Zero gradients give (-1, 0).
    """
    size = jnp.abs(grad)
    smallest = math.exp(-log_threshold)
    # The maximum keeps the logarithm, and its derivative, finite where the gradient is zero.
    log = jnp.log(jnp.maximum(size, smallest)) / log_threshold
    sign = jnp.clip(grad * math.exp(log_threshold), -1.0, 1.0)
    return jnp.stack([log, sign])


def lstm_cell(
    gates: Float[Array, "gates *n"], cell: Float[Array, "width *n"]
) -> tuple[Float[Array, "width *n"], Float[Array, "width *n"]]:
    """Next output and cell of n independent LSTMs."""
    write, candidate, forget, read = jnp.split(gates, 4)
    cell = jax.nn.sigmoid(forget + FORGET_BIAS) * cell + jax.nn.sigmoid(write) * jnp.tanh(candidate)
    return jax.nn.sigmoid(read) * jnp.tanh(cell), cell
