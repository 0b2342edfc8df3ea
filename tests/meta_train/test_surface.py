"""The surface of a meta-loss, over two meta-parameters and over one."""

import jax.numpy as jnp
import numpy as np
import pytest

from meta_train.experiments.surface import Axis, Surface
from meta_train.figures import styles

ACROSS, UP = Axis("first", 1, -1.0, 1.0, 3, unit=2.0), Axis("second", 0, 0.0, 4.0, 5)
THETA = {"a": jnp.zeros(()), "b": jnp.zeros(())}
RUN = np.array([[1.0, 2.0], [3.0, -2.0]])
"""Thetas after 0 and 10 meta-steps."""


@pytest.mark.parametrize("across", [ACROSS, None])
def test_grid_paths_and_figure(across):
    surface = Surface(across, UP, 0.5, 20.0)
    theta = THETA if across else {"a": THETA["a"]}
    grid = surface.measure(lambda x: 10 * x["a"] + x.get("b", 0.0), theta)
    assert grid.shape == (5, 3 if across else 1)
    assert grid[3].tolist() == ([28.0, 30.0, 32.0] if across else [30.0])
    last = surface.table(grid).rows[-1]
    assert last == (["1", "4", "42"] if across else ["4", "40"])

    paths = {"pes": [RUN if across else RUN[:, :1]]}
    table = surface.path_table(paths, [0, 10])
    assert table.columns[3:] == (("first", "second") if across else ("second",))
    assert table.rows[1] == ("pes", 0, 10, *(("-1", "3") if across else ("3",)))

    with styles.drawing():
        panel = surface.draw("name", grid, paths, [0, 10], "loss", ["pes"])
    line = panel.figure.axes[0].get_lines()[0].get_xydata()
    assert np.asarray(line).tolist() == ([[1, 1], [-1, 3]] if across else [[0, 1], [10, 3]])
    assert "paths of pes" in panel.label
