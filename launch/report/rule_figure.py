"""The update rule drawn: its step against the gradient, for several momenta and inner steps."""

import numpy as np
import optax

from launch.report.rule_probe import LOSS, NUM_OTHERS, probe
from meta_train.figures import panels
from meta_train.figures.panels import Panel
from meta_train.figures.styles import BLUE, GREY, VERMILLION, Line

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
    axes.xaxis.set_minor_locator(panels.NullLocator())
    axes.xaxis.set_major_formatter(panels.FuncFormatter(panels.plain))
    label = f"Step of {title} against the gradient at inner step {t}, for momenta "
    return Panel(figure, name, label + _LISTED)
