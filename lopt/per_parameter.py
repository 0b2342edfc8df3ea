"""The small network that computes one step per parameter, for every rule that has one.

The network sees, for each parameter, F features normalised by their root mean square over the
tensor, and C constants that are the same for the whole tensor. Written out,

    h = relu(W_F (x / rms) + W_C c + b),

so the constants are only a bias and the normalisation only scales the columns of ``W_F``. Neither
the normalised features nor the repeated constants are ever stored.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lopt import kernels
from lopt.blocks import CPU_BLOCK, as_rows, map_parameters
from lopt.kernels import Fields
from lopt.products import transposed
from lopt.sharding import max_shards

Net = dict[str, jax.Array]
"""Weights ``w{i}`` of shape [inputs, outputs] and biases ``b{i}`` of shape [outputs]."""
NetInKernel = dict[str, Any]
"""The same as ``jax.Ref``, of which every number is read by itself; biases are [1, outputs]."""
Combine = Callable[..., Any]
"""Elementwise function from the network's outputs, one array each, to an array or a pytree."""

NORMALISER_EPSILON = 1e-5
UNROLLED_WIDTH = 8
"""Up to this width the layers are written out as elementwise arithmetic, which XLA fuses with the
computation of the features; wider layers are faster as matrix products."""

TIMESCALES = np.array([1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5], np.float32)


def init_net(key: jax.Array, sizes: Sequence[int]) -> Net:
    """Draw weights from a normal of standard deviation 1/sqrt(inputs), cut at two of them.

    Args:
        key: typed PRNG key.
        sizes: width of the input, of every hidden layer and of the output.

    Returns:
        ``w0, b0, w1, b1, ...``; biases are zero.
    """
    return init_nets(key, {"net": sizes})["net"]


def init_nets(key: jax.Array, sizes: Mapping[str, Sequence[int]]) -> dict[str, Net]:
    """Several networks as ``init_net`` draws one, by name."""
    layers = [
        (name, i, *widths)
        for name, of_net in sizes.items()
        for i, widths in enumerate(itertools.pairwise(of_net))
    ]
    ends = np.cumsum([inputs * outputs for _, _, inputs, outputs in layers])
    # One draw for all layers: every further one would compile for tenths of a second.
    draw = jax.random.truncated_normal(key, -2.0, 2.0, (int(ends[-1]),), jnp.float32)
    nets: dict[str, Net] = {name: {} for name in sizes}
    for (name, i, inputs, outputs), part in zip(layers, jnp.split(draw, ends[:-1]), strict=True):
        nets[name][f"w{i}"] = part.reshape(inputs, outputs) / math.sqrt(inputs)
        nets[name][f"b{i}"] = jnp.zeros((outputs,), jnp.float32)
    return nets


def point_down(net: Net, feature: int, rest: float = 0.1) -> Net:
    """Let the first output be one of the inputs, besides ``rest`` times what was drawn.

    A rule that steps against its network's first output then starts as descent along that input.
    The first two units of every hidden layer carry the input's positive and negative part.

    Args:
        net: weights with at least two units in every hidden layer.
        feature: index of the input.
        rest: factor on the last layer's weights.
    """
    last = _num_layers(net) - 1
    for i in range(last + 1):
        weights = net[f"w{i}"]
        # Vectors: where only shapes are asked for, nothing as large as a layer may be made.
        read, write = (np.zeros(size, np.float32) for size in weights.shape)
        read[[feature] if i == 0 else [0, 1]] = (1.0,) if i == 0 else (1.0, -1.0)
        write[[0] if i == last else [0, 1]] = (1.0,) if i == last else (1.0, -1.0)
        keep = rest if i == last else (write == 0.0).astype(np.float32)[None]
        net = {**net, f"w{i}": weights * keep + jnp.asarray(read)[:, None] * write[None]}
    return net


def time_features(count: jax.Array) -> Float[Array, " 11"]:
    """Inner step t at eleven scales: tanh(t / x - 1) for x in 1, 3, 10, ..., 1e5."""
    return jnp.tanh(count.astype(jnp.float32) / TIMESCALES - 1.0)


def fold_constants(net: Net, constants: Float[Array, " C"]) -> Net:
    """Turn the last C inputs of the network, equal for all parameters, into a bias."""
    split = net["w0"].shape[0] - constants.shape[0]
    return {**net, "w0": net["w0"][:split], "b0": net["b0"] + constants @ net["w0"][split:]}


def direction_and_magnitude(step_mult: float, exp_mult: float) -> Combine:
    """The step from two outputs (d, a): ``-d * exp(exp_mult * a) * step_mult``."""

    def combine(direction: jax.Array, magnitude: jax.Array) -> jax.Array:
        return direction * jnp.exp(magnitude * exp_mult) * -step_mult

    return combine


def advance_by(
    function: Callable[[Fields, Fields], tuple[list[Fields], Fields]],
    combine: Combine,
    *,
    square_scale: float = 1.0,
) -> Callable[[Net, Fields, Fields], tuple[jax.Array, Fields]]:
    """How a network and a function that makes its inputs advance one tensor.

    Args:
        function: elementwise, from the state and further fields to the features and the next
            state; see ``lopt.kernels``.
        combine: from the network's outputs to the step.
        square_scale: see ``apply_net``.

    Returns:
        A function of the network's weights, the state (fields of the tensor's full shape) and the
        further fields. It returns the step and the next state, by a kernel where one was chosen.
    """

    def squares(fields: Fields) -> Fields:
        features, _ = function(*fields)
        return jax.tree.map(lambda x: jnp.square(x * square_scale), features)

    def step(net: Net | NetInKernel, state: Fields, inputs: Fields) -> tuple[jax.Array, Fields]:
        features, new = function(state, inputs)
        return evaluate_net(net, jax.tree.leaves(features), _shape(state), combine), new

    def advance(net: Net, state: Fields, inputs: Fields) -> tuple[jax.Array, Fields]:
        shape = _shape(state)
        if kernels.takes((state, inputs), shape):
            mean_squares = kernels.means(squares, (state, inputs), shape)
            net = _normalise_inputs(net, mean_squares, square_scale)
            return kernels.update(step, net, state, inputs, shape)
        features, state = function(state, inputs)
        return apply_net(net, features, shape, combine, square_scale=square_scale), state

    return advance


def _shape(state: Fields) -> tuple[int, ...]:
    return jax.tree.leaves(state)[0].shape[1:]


def apply_net(
    net: Net,
    features: Sequence[jax.Array],
    shape: tuple[int, ...],
    combine: Combine,
    *,
    square_scale: float = 1.0,
) -> Any:
    """Evaluate the network once per parameter of one tensor.

    Args:
        net: weights; as many inputs as there are features.
        features: float32 arrays ``[k, ...]`` of k features each, whose other axes broadcast to
            ``shape``. A feature that is constant along an axis should have length 1 there: it is
            then handled once, not once per parameter. At least one has the tensor's full shape.
        shape: shape of the tensor.
        combine: elementwise function from the network's outputs, one array each, to the result:
            an array, or a pytree of arrays that may have leading axes.
        square_scale: power of two by which features are multiplied before they are squared. The
            squares of features above 1e19 overflow float32, which turns the feature into zero;
            a scale below one moves that limit up.

    Returns:
        What ``combine`` returns, with the tensor's shape in the place of the parameters' axis.
    """
    flat = shape
    if _is_small(features, shape):
        features, flat = [_stack(features, shape)], (math.prod(shape),)
    if math.prod(shape) > 0:
        sums = jnp.concatenate([_sum_squares(x * square_scale) for x in features])
        counts = np.concatenate([np.full(len(x), x.size // len(x), np.float32) for x in features])
        net = _normalise_inputs(net, sums / counts, square_scale)
    out = evaluate_net(net, features, flat, combine)
    return jax.tree.map(lambda x: x.reshape(*x.shape[: x.ndim - len(flat)], *shape), out)


def evaluate_net(
    net: Net | NetInKernel, features: Sequence[jax.Array], shape: tuple[int, ...], combine: Combine
) -> Any:
    """What ``apply_net`` does after the normalisation, for features that need none.

    In a kernel it takes features ``[1, rows, columns]`` one by one, and the results are a block's.
    """
    if isinstance(net["w0"], jax.Ref):
        return combine(*_in_kernel(net, [jnp.squeeze(x, 0) for x in features]))
    if math.prod(shape) == 0:
        empty = jnp.zeros(shape, jnp.float32)
        return combine(*[empty] * net[f"b{_num_layers(net) - 1}"].shape[0])
    if _is_small(features, shape):
        out = _evaluate(_layers(net), [_stack(features, shape)], combine)
        return jax.tree.map(lambda x: x.reshape(*x.shape[:-1], *shape), out)
    if max(net[f"b{i}"].shape[0] for i in range(_num_layers(net))) <= UNROLLED_WIDTH:
        return combine(*_unrolled(net, features))
    layers = _layers(net)
    return map_parameters(lambda block: _evaluate(layers, block, combine), features, shape)


def _is_small(features: Sequence[jax.Array], shape: tuple[int, ...]) -> bool:
    """Whether a tensor costs what its number of operations costs, so features are one array."""
    return 0 < math.prod(shape) <= CPU_BLOCK and max_shards(features[0]) == 1


def _stack(features: Sequence[jax.Array], shape: tuple[int, ...]) -> Float[Array, "F n"]:
    return jnp.concatenate([as_rows(x, shape) for x in features])


def dense(
    weights: Float[Array, "outputs inputs"],
    bias: Float[Array, " outputs"],
    x: Float[Array, "inputs *n"],
) -> Float[Array, "outputs *n"]:
    """One layer, applied to every parameter; the tensor's axes stay as they are."""
    return jnp.tensordot(weights, x, axes=1) + bias.reshape(-1, *[1] * (x.ndim - 1))


def _sum_squares(feature: jax.Array) -> Float[Array, " k"]:
    # Two sums instead of one: sequential float32 sums lose digits with their length.
    squares = jnp.square(feature)
    if squares.ndim > 2:
        squares = jnp.sum(squares, axis=-1)
    return jnp.sum(squares, axis=tuple(range(1, squares.ndim)))


def _normalise_inputs(net: Net, mean_squares: Float[Array, " F"], square_scale: float) -> Net:
    epsilon = NORMALISER_EPSILON * square_scale**2
    scales = jax.lax.rsqrt(epsilon + mean_squares) * square_scale
    return {**net, "w0": net["w0"] * scales[:, None]}


def _num_layers(net: Net | NetInKernel) -> int:
    return len(net) // 2


def _layers(net: Net) -> list[tuple[jax.Array, jax.Array]]:
    """Weights [outputs, inputs] and biases, transposed once, not once per block."""
    return [(transposed(net[f"w{i}"]), net[f"b{i}"]) for i in range(_num_layers(net))]


def _evaluate(
    layers: list[tuple[jax.Array, jax.Array]], features: Sequence[jax.Array], combine: Combine
) -> Any:
    """The network as matrix products."""
    (weights, bias), *rest = layers
    units = bias.reshape(-1, *[1] * (features[0].ndim - 1))
    for indices, arrays in _by_shape(features).values():
        columns = weights if len(indices) == weights.shape[1] else weights[:, indices]
        units = jnp.tensordot(columns, jnp.concatenate(arrays), axes=1) + units
    for weights, bias in rest:
        units = dense(weights, bias, jax.nn.relu(units))
    return combine(*(units[i] for i in range(len(units))))


def _unrolled(net: Net, features: Sequence[jax.Array]) -> list[jax.Array]:
    """The network as elementwise arithmetic on arrays of the tensor's shape."""
    units = _first_layer(net["w0"], net["b0"], features)
    for layer in range(1, _num_layers(net)):
        weights, bias = net[f"w{layer}"], net[f"b{layer}"]
        inputs = [jax.nn.relu(unit) for unit in units]
        units = [_unit(weights, j, bias[j], inputs) for j in range(bias.shape[0])]
    return units


def _in_kernel(net: NetInKernel, units: list[jax.Array]) -> list[jax.Array]:
    """The same in a kernel."""
    last = _num_layers(net) - 1
    for layer in range(0, last, 2):
        units = _two_layers(net, layer, units)
        if layer + 1 < last:
            units = [jax.nn.relu(unit) for unit in units]
    if last % 2 == 0:
        weights, bias = net[f"w{last}"], net[f"b{last}"]
        units = [_unit(weights, j, bias[0, j], units) for j in range(bias.shape[1])]
    return units


def _two_layers(net: NetInKernel, layer: int, inputs: list[jax.Array]) -> list[jax.Array]:
    """Units of a layer's next one. The layer's own units are made and used one after the other, so
    that they are never held all at once, and the program does not grow with their number."""
    weights, bias, to_next, next_bias = (net[f"{x}{i}"] for i in (layer, layer + 1) for x in "wb")

    def add_unit(i: jax.Array, sums: list[jax.Array]) -> list[jax.Array]:
        unit = jax.nn.relu(_unit(weights, i, bias[0, i], inputs))
        return [x + to_next[i, j] * unit for j, x in enumerate(sums)]

    shape = jnp.broadcast_shapes(*(x.shape for x in inputs))
    start = [jnp.broadcast_to(next_bias[0, j], shape) for j in range(next_bias.shape[1])]
    return jax.lax.fori_loop(0, bias.shape[1], add_unit, start)


def _unit(weights: Any, j: Any, start: jax.Array, inputs: Sequence[jax.Array]) -> jax.Array:
    return sum((weights[i, j] * x for i, x in enumerate(inputs)), start=start)


def _first_layer(
    weights: jax.Array, bias: jax.Array, features: Sequence[jax.Array]
) -> list[jax.Array]:
    """Pre-activations of the first layer, summing features of equal shape among themselves."""
    groups = _by_shape(features)
    inputs, arrays = groups.pop(max(groups, key=math.prod))
    # Indexed, because iterating over an array would gather it on one device outside jit.
    rows = [array[i] for array in arrays for i in range(len(array))]
    full = list(zip(inputs, rows, strict=True))
    units = [sum((weights[i, j] * x for i, x in full), start=bias[j]) for j in range(bias.shape[0])]
    for indices, arrays in groups.values():
        # A matrix product, because XLA would otherwise repeat these sums for every parameter.
        part = jnp.tensordot(transposed(weights[indices]), jnp.concatenate(arrays), axes=1)
        units = [unit + part[j] for j, unit in enumerate(units)]
    return units


def _by_shape(
    features: Sequence[jax.Array],
) -> dict[tuple[int, ...], tuple[np.ndarray, list[jax.Array]]]:
    """Features of equal shape together, after their indices among all features."""
    first = np.cumsum([0, *(len(feature) for feature in features)])
    groups: dict[tuple[int, ...], tuple[list[int], list[jax.Array]]] = {}
    for start, feature in zip(first, features, strict=False):
        indices, arrays = groups.setdefault(feature.shape[1:], ([], []))
        indices.extend(start + np.arange(len(feature)))
        arrays.append(feature)
    return {shape: (np.array(indices), arrays) for shape, (indices, arrays) in groups.items()}
