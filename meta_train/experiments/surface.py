"""The surface of the meta-loss over one or two meta-parameters, with the paths of theta on it."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

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
    """One of the meta-parameters."""

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
        horizontal: one of theta's two numbers; None where it has one, whose paths are then drawn
            over meta-steps.
        vertical: the other, or the only one.
        lowest: meta-loss at the dark end of the colours; their scale is logarithmic.
        highest: at the bright end.
        at_once: points that are computed together.
    """

    horizontal: Axis | None
    vertical: Axis
    lowest: float
    highest: float
    at_once: int = 64

    @property
    def axes(self) -> list[Axis]:
        """Those of theta."""
        return [axis for axis in (self.horizontal, self.vertical) if axis is not None]

    @property
    def size(self) -> str:
        """Number of points, in words."""
        return " x ".join(str(axis.num_points) for axis in self.axes) + " points"

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
        points = self._points()
        flat = np.empty((points[0].size, len(points)), np.float32)
        for axis, values in zip(self.axes, points, strict=True):
            flat[:, axis.place] = values.ravel() * axis.unit

        @jax.jit
        def all_losses(flat: Array) -> Array:
            return jax.lax.map(lambda one: judge(unravel(one)), flat, batch_size=self.at_once)

        return np.asarray(all_losses(flat)).reshape(self.vertical.num_points, -1)

    def table(self, grid: np.ndarray) -> Table:
        """The grid as rows."""
        columns = [*self._points(), grid]
        rows = [[f"{x:.6g}" for x in row] for row in zip(*map(np.ravel, columns), strict=True)]
        return Table((*(axis.label for axis in self.axes), "loss"), rows)

    def path_table(
        self, paths: Mapping[str, Sequence[np.ndarray]], meta_steps: Sequence[int]
    ) -> Table:
        """The thetas of all runs as rows."""
        rows = [
            (label, seed, step, *(f"{theta[axis.place] / axis.unit:.6g}" for axis in self.axes))
            for label, runs in paths.items()
            for seed, run in enumerate(runs)
            for step, theta in zip(meta_steps, run, strict=True)
        ]
        return Table(("method", "seed", "meta_step", *(axis.label for axis in self.axes)), rows)

    def _points(self) -> list[np.ndarray]:
        """The grid's points along every axis, each [vertical, horizontal] or [vertical]."""
        return list(np.meshgrid(*(axis.grid for axis in self.axes)))

    def draw(
        self,
        name: str,
        grid: np.ndarray,
        paths: Mapping[str, Sequence[np.ndarray]],
        meta_steps: Sequence[int],
        measure: str,
        solid: Collection[str],
    ) -> Panel:
        """Colours for the meta-loss, and every method's path with every seed.

        Args:
            name: of the experiment.
            grid: meta-losses [vertical, horizontal].
            paths: thetas [points, numbers] of each seed, by method; the first is where they start.
            meta_steps: at which thetas are.
            measure: what the meta-loss is.
            solid: methods whose lines are drawn solid.
        """
        y = self.vertical
        across = "meta-steps" if self.horizontal is None else self.horizontal.label
        edges = (0, meta_steps[-1]) if self.horizontal is None else self.horizontal[2:4]
        figure, axes = panels.new(name.replace("_", " "), across, y.label, 6.0, 4.6)
        axes.grid(visible=False)
        shown = np.clip(np.where(np.isfinite(grid), grid, self.highest), self.lowest, self.highest)
        norm = LogNorm(self.lowest, self.highest)
        shown = np.broadcast_to(shown, (len(shown), max(2, shown.shape[1])))
        columns = np.linspace(*edges, shown.shape[1])
        mesh = axes.pcolormesh(columns, y.grid, shown, norm=norm, cmap=_GREYS, rasterized=True)
        bar = figure.colorbar(mesh, ax=axes, label=measure, format=FuncFormatter(panels.plain))
        bar.minorticks_off()
        if self.highest < 10 * self.lowest:
            bar.set_ticks(list(np.round(np.geomspace(self.lowest, self.highest, 4), 2)))
        lines = curves.lines(list(paths), solid, 1.2)
        star = {"marker": "*", "markersize": 11, "color": "white", "markeredgecolor": "black"}
        for label, runs in paths.items():
            for seed, run in enumerate(runs):
                places = self._places(run, meta_steps)
                axes.plot(*places, **lines[label].kwargs(), label=None if seed else label)
                axes.plot(*places[:, -1], marker="o", markersize=4, color=lines[label].color)
                axes.plot(*places[:, 0], **star, zorder=3)
        axes.set_xlim(*edges)
        axes.set_ylim(y.low, y.high)
        label = f"{measure} over {across} and {y.label}"
        if paths:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4)
            label += f", with the paths of {', '.join(paths)}"
        return Panel(figure, f"{name}_surface", label)

    def _places(self, run: np.ndarray, meta_steps: Sequence[int]) -> np.ndarray:
        """Where thetas [points, numbers] are drawn [2, points]."""
        places = [run[:, axis.place] / axis.unit for axis in self.axes]
        return np.stack([np.asarray(meta_steps), *places][-2:])
