"""The surface of the meta-loss over two meta-parameters, with the paths of theta on it."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.ticker import FuncFormatter

from meta_train.experiments import curves
from meta_train.experiments.experiment import Table
from meta_train.figures import panels
from meta_train.figures.panels import Panel
from meta_train.types import Theta

_GREYS = LinearSegmentedColormap.from_list("greys", ["#707070", "#FFFFFF"])
"""On whose darkest grey a black line is still seen."""


class Axis(NamedTuple):
    """One of the two meta-parameters."""

    label: str
    place: int
    """In flattened theta."""
    low: float
    high: float
    num_points: int
    """Points of the grid."""
    unit: float = 1.0
    """Of theta, in which the axis is: log(10) shows natural logarithms as decimal ones."""

    @property
    def grid(self) -> np.ndarray:
        """The points, in the axis's unit."""
        return np.linspace(self.low, self.high, self.num_points)


@dataclasses.dataclass(frozen=True)
class Surface:
    """Where the meta-loss is measured, and how it is drawn.

    Attributes:
        horizontal: one of theta's two numbers.
        vertical: the other.
        lowest: meta-loss at the dark end of the colours; their scale is logarithmic.
        highest: at the bright end.
        at_once: points that are computed together.
    """

    horizontal: Axis
    vertical: Axis
    lowest: float
    highest: float
    at_once: int = 64

    def measure(
        self, judge: Callable[[Theta], Float[Array, ""]], theta: Theta
    ) -> Float[np.ndarray, "vertical horizontal"]:
        """The meta-loss on the grid.

        Args:
            judge: the meta-loss at a theta.
            theta: arrays, or their shapes, of theta's structure.
        """
        blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), theta)
        unravel = ravel_pytree(blank)[1]
        x, y = np.meshgrid(self.horizontal.grid, self.vertical.grid)
        flat = np.empty((x.size, 2), np.float32)
        flat[:, self.horizontal.place] = x.ravel() * self.horizontal.unit
        flat[:, self.vertical.place] = y.ravel() * self.vertical.unit

        @jax.jit
        def all_losses(flat: Array) -> Array:
            return jax.lax.map(lambda one: judge(unravel(one)), flat, batch_size=self.at_once)

        return np.asarray(all_losses(flat)).reshape(x.shape)

    def table(self, grid: np.ndarray) -> Table:
        """The grid as rows."""
        rows = [
            (f"{x:.6g}", f"{y:.6g}", f"{grid[j, i]:.6g}")
            for j, y in enumerate(self.vertical.grid)
            for i, x in enumerate(self.horizontal.grid)
        ]
        return Table((self.horizontal.label, self.vertical.label, "loss"), rows)

    def path_table(
        self, paths: Mapping[str, Sequence[np.ndarray]], meta_steps: Sequence[int]
    ) -> Table:
        """The thetas of all runs as rows."""
        rows = [
            (label, seed, step, *(f"{value:.6g}" for value in self._places(theta)))
            for label, runs in paths.items()
            for seed, run in enumerate(runs)
            for step, theta in zip(meta_steps, run, strict=True)
        ]
        names = (self.horizontal.label, self.vertical.label)
        return Table(("method", "seed", "meta_step", *names), rows)

    def draw(
        self,
        name: str,
        grid: np.ndarray,
        paths: Mapping[str, Sequence[np.ndarray]],
        measure: str,
        solid: Collection[str],
    ) -> Panel:
        """Colours for the meta-loss, and every method's path with every seed.

        Args:
            name: of the experiment.
            grid: meta-losses [vertical, horizontal].
            paths: thetas [points, 2] of each seed, by method; the first is where all start.
            measure: what the meta-loss is.
            solid: methods whose lines are drawn solid.
        """
        title, x, y = name.replace("_", " "), self.horizontal, self.vertical
        figure, axes = panels.new(title, x.label, y.label, 6.0, 4.6)
        axes.grid(visible=False)
        shown = np.clip(np.where(np.isfinite(grid), grid, self.highest), self.lowest, self.highest)
        norm = LogNorm(self.lowest, self.highest)
        mesh = axes.pcolormesh(x.grid, y.grid, shown, norm=norm, cmap=_GREYS, rasterized=True)
        bar = figure.colorbar(mesh, ax=axes, label=measure, format=FuncFormatter(panels.plain))
        bar.minorticks_off()
        lines = curves.lines(list(paths), solid, 1.2)
        for label, runs in paths.items():
            for seed, run in enumerate(runs):
                places = self._places(run.T)
                axes.plot(*places, **lines[label].kwargs(), label=None if seed else label)
                ends = [values[-1] for values in places]
                axes.plot(*ends, marker="o", markersize=4, color=lines[label].color)
        first = self._places(next(iter(paths.values()))[0][0])
        axes.plot(*first, marker="*", markersize=11, color="white", markeredgecolor="black")
        axes.set_xlim(x.low, x.high)
        axes.set_ylim(y.low, y.high)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4)
        label = f"{measure} over {x.label} and {y.label}, with the paths of {', '.join(paths)}"
        return Panel(figure, f"{name}_surface", label)

    def _places(self, theta: Any) -> tuple[Any, Any]:
        """Theta, or thetas with a trailing axis, on the two axes."""
        x, y = self.horizontal, self.vertical
        return theta[x.place] / x.unit, theta[y.place] / y.unit
