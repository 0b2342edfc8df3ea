"""Counting what a program must compute: the least work, by the kind of unit that does it."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax

KINDS = ("matrix", "arithmetic", "division", "transcendental", "random")
"""Products of matrices and convolutions, two operations for each product; other elementwise work
and reductions; division and roots; exp, tanh and the like; draws of random bits, 32 each."""

_DIVISION = {"div", "rem", "sqrt", "rsqrt", "cbrt"}
_TRANSCENDENTAL = {
    "exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "pow", "sin", "cos", "tan", "sinh",
    "cosh", "atan2", "erf", "erfc", "erf_inv", "lgamma", "digamma",
}  # fmt: skip
_FREE = {
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "dynamic_slice",
    "dynamic_update_slice", "concatenate", "pad", "gather", "scatter", "copy", "copy_p", "iota",
    "rev", "stop_gradient", "split", "bitcast_convert_type", "convert_element_type", "device_put",
    "random_wrap", "random_unwrap", "random_fold_in", "random_split", "random_seed",
    "optimization_barrier", "empty", "sharding_constraint", "reduce_precision", "full",
}  # fmt: skip
"""What moves or renames numbers; bytes are counted elsewhere."""

Counts = Counter[str]


def count(function: Callable[..., Any], *args: Any) -> Counts:
    """Operations of one call, by kind.

    A loop whose number of passes is data counts as one pass, and of branches the cheapest counts:
    what happens in every call.

    Args:
        function: is traced.
        *args: arrays or shapes.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any) -> Counts:
    counts: Counts = Counter()
    for equation in jaxpr.eqns:
        counts.update(_of_equation(equation))
    return counts


def _of_equation(equation: Any) -> Counts:
    name, params = equation.primitive.name, equation.params
    if name == "cond":
        return min(map(_count, _inner(params["branches"])), key=lambda counts: counts.total())
    if inner := list(_inner(params.values())):
        counts: Counts = sum(map(_count, inner), Counter())
        times = params["length"] if name == "scan" else 1
        return Counter({kind: times * number for kind, number in counts.items()})
    return Counter() if name in _FREE else Counter({_kind(name): _number(equation)})


def _inner(params: Any) -> Iterator[Any]:
    """The programs among the parameters of an equation."""
    for value in params:
        if isinstance(value, tuple | list):
            yield from _inner(value)
        elif hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr


def _kind(name: str) -> str:
    if name in ("dot_general", "conv_general_dilated"):
        return "matrix"
    if name in ("random_bits", "threefry2x32"):
        return "random"
    if name in _DIVISION:
        return "division"
    return "transcendental" if name in _TRANSCENDENTAL else "arithmetic"


def _number(equation: Any) -> int:
    """Operations of one equation without programs of its own."""
    name, params = equation.primitive.name, equation.params
    inputs, outputs = equation.invars, equation.outvars
    results = sum(math.prod(x.aval.shape) for x in outputs)
    if name == "dot_general":
        contracted = params["dimension_numbers"][0][0]
        return 2 * results * math.prod(inputs[0].aval.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = inputs[1].aval.shape
        return 2 * results * math.prod(kernel) // kernel[params["dimension_numbers"].rhs_spec[0]]
    if name.startswith(("reduce_", "arg", "cum", "sort", "top_k")):
        return sum(math.prod(x.aval.shape) for x in inputs)
    return results
