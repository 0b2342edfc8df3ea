"""The update rule of an optimizer drawn: its step against the gradient, momentum and inner step.

The optimizer is only called, as in a training, so any ``optax.GradientTransformation`` can be
asked. It holds one tensor: some probes, whose value is 0, among many parameters whose gradients are
drawn from a normal distribution of standard deviation s, as a layer's gradients might be. A probe
with momentum m in [-1, 1] sees, for t steps, the gradients

    (m + sqrt(1 - m^2)) s,  (m - sqrt(1 - m^2)) s,  (m + sqrt(1 - m^2)) s,  ...

whose mean is m s and whose root mean square is s, for every m: probes differ by the mean of their
gradients and not by its size. Two probes see them in opposite order, so that it does not count
which came last. Then one probe at a time gets another gradient, and its step is recorded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from matplotlib.ticker import FuncFormatter, NullLocator

from meta_train.figures import panels
from meta_train.figures.panels import Panel
from meta_train.figures.styles import BLUE, GREY, VERMILLION, Line

NUM_OTHERS = 1000
"""Parameters beside the probes: enough that the tensor's statistics do not hang on one of them."""
LOSS = 1.0
"""The training loss that optimizers which ask for it are told, at every step."""
MOMENTA = {
    -1.0: Line(VERMILLION, (6, 2), 1.8),
    0.0: Line(GREY, (2, 1.5), 1.8),
    1.0: Line(BLUE, (), 2.0),
}
LEGEND = dict(zip(("momentum −s", "momentum 0", "momentum s"), MOMENTA.values(), strict=True))
LONGEST_HISTORY = 2000
"""Inner steps; later ones are not drawn, since all before them have to be taken."""
SCALE = 0.01
_RANGE = 10.0
DEFAULT_HORIZON = 1000

_LISTED = ", ".join(panels.plain(m) for m in MOMENTA)
CAPTION = (
    "What the rule adds to one parameter of value 0, against that parameter's gradient at this "
    "step; the horizontal axis is linear within one s of zero and logarithmic beyond. The "
    f"parameter stands in a tensor with {NUM_OTHERS:,} others, whose gradients are random, normal "
    f"and of standard deviation s = {SCALE:g}. Before this step it had t gradients of root mean "
    "square s and of mean "
    + _LISTED
    + f" times s (its momentum), and the training loss was {LOSS:g} throughout. At t = 0 there is "
    "no momentum yet. A rule that descends falls from left to right."
)


def draw(
    name: str, title: str, rule: optax.GradientTransformation, horizon: int = DEFAULT_HORIZON
) -> list[Panel]:
    """A panel for each of several inner steps up to the horizon.

    Args:
        name: of the figures on the page.
        title: what the rule is called.
        rule: any Optax optimizer.
        horizon: T, inner steps that it is made for.
    """
    last = min(horizon, LONGEST_HISTORY)
    times = sorted({0, last // 10, last})
    gradients = _gradients()
    steps = probe(rule, times, tuple(MOMENTA), gradients, SCALE)
    return [_panel(f"{name}-{i}", title, t, gradients, steps[i]) for i, t in enumerate(times)]


def _gradients() -> np.ndarray:
    tail = np.geomspace(1, _RANGE, 21)[1:]
    return np.concatenate([-tail[::-1], np.linspace(-1, 1, 41), tail])


def _panel(name: str, title: str, t: int, gradients: np.ndarray, steps: np.ndarray) -> Panel:
    figure, axes = panels.new(f"{title}, t = {t:,}", "gradient / s", "step")
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.axvline(0, color="#999999", linewidth=0.8)
    for (momentum, line), values in zip(MOMENTA.items(), steps, strict=True):
        if t == 0 and momentum:
            continue  # before the first step all are alike
        axes.plot(gradients, values, **line.kwargs())
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xticks([-_RANGE, -3, -1, 0, 1, 3, _RANGE])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(panels.plain))
    label = f"Step of {title} against the gradient at inner step {t}, for momenta "
    return Panel(figure, name, label + _LISTED)


def probe(
    optimizer: optax.GradientTransformation,
    times: Sequence[int],
    momenta: Sequence[float],
    gradients: Float[np.ndarray, " gradients"],
    scale: float,
) -> Float[np.ndarray, "times momenta gradients"]:
    """The step as a function of the gradient, for several momenta and inner steps.

    Args:
        optimizer: what is asked; it is given ``value`` with every gradient.
        times: inner steps t taken before the one that is recorded.
        momenta: m, the mean gradient before it in units of ``scale``, in [-1, 1].
        gradients: of the recorded step, in units of ``scale``.
        scale: s, root mean square of all gradients before it.

    Returns:
        What the optimizer adds to the parameter.
    """
    # In NumPy: outside of jit every JAX operation would be compiled by itself.
    means = np.repeat(np.asarray(momenta, np.float32), 2)
    swings = np.sqrt(1.0 - means**2) * np.tile(np.asarray([1.0, -1.0], np.float32), len(momenta))

    def history(t: Array) -> Array:
        return jnp.where(t % 2 == 0, means + swings, means - swings) * scale

    ask = _asker(optimizer, len(means), history, scale)
    last = jnp.asarray(scale * gradients, jnp.float32)
    steps = np.stack([np.asarray(ask(jnp.asarray(t), last)) for t in times])
    return steps.reshape(len(times), len(momenta), 2, len(gradients)).mean(axis=2)


def _asker(
    optimizer: optax.GradientTransformation,
    num_probes: int,
    history: Callable[[Array], Array],
    scale: float,
) -> Callable[[Array, Array], Array]:
    """(t, last gradients) -> step of each probe for each of them, ``[probes, gradients]``."""
    optimizer = optax.with_extra_args_support(optimizer)

    @jax.jit
    def ask(t: Array, last: Array) -> Array:
        key_params, key_grads = jax.random.split(jax.random.key(0))
        others = 0.1 * jax.random.normal(key_params, (NUM_OTHERS,))
        params = jnp.concatenate([jnp.zeros(num_probes), others])

        def gradient(t: Array) -> Array:
            noise = jax.random.normal(jax.random.fold_in(key_grads, t), (NUM_OTHERS,))
            return jnp.concatenate([history(t), scale * noise])

        def update(grads: Array, state: Any) -> tuple[Any, Any]:
            return optimizer.update(grads, state, params, value=jnp.asarray(LOSS, jnp.float32))

        def advance(t: Array, state: Any) -> Any:
            return update(gradient(t), state)[1]

        state = jax.lax.fori_loop(0, t, advance, optimizer.init(params))
        grads = gradient(t)

        def step_of(i: Array, last: Array) -> Array:
            return update(grads.at[i].set(last), state)[0][i]

        probes = jnp.arange(num_probes)
        return jax.lax.map(lambda i: jax.lax.map(lambda g: step_of(i, g), last), probes)

    return ask
