"""Random search finds the best of its draws, and is shown beside what it is compared with."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from meta_train import UnrolledSystem
from meta_train.experiments import EXPERIMENTS, curves
from meta_train.experiments.random_search import best_so_far


@flax.struct.dataclass
class Square(UnrolledSystem):
    """The loss is theta squared, but that of thetas above 0 is not finite."""

    def init_theta(self, key):
        return jax.random.normal(key)

    def init(self, key, theta, horizon):
        return jnp.zeros(())

    def step(self, key, theta, state):
        return state, jnp.where(theta > 0, jnp.nan, theta**2)


def test_the_best_draw_so_far_is_judged():
    system = Square()
    inner_steps = np.asarray([30, 100, 205, 1000])
    found = best_so_far(system, lambda theta: theta, 10, inner_steps, seed=3)
    keys = jax.random.split(jax.random.key(3), 100)
    thetas = [float(system.init_theta(jax.random.split(key)[0])) for key in keys]
    costs = np.asarray([np.inf if theta > 0 else theta**2 for theta in thetas])
    expected = [thetas[np.argmin(costs[:number])] for number in (3, 10, 20, 100)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(set(expected)) > 1


def test_table_and_verdict_are_of_the_best_so_far():
    plan = EXPERIMENTS["many_hyperparameters"].presets["quick"]()
    num_points = len(plan.inner_steps)
    assert plan.inner_steps[-1] == 200_000
    nres, other = np.linspace(2.0, 1.0, num_points), np.full(num_points, 1.5)
    nres[1], nres[-1] = np.nan, 3.0  # it was better once: by that it is judged
    labels = list(plan.comparison.methods)
    runs = [{"values": curves.plain(nres if x == "nres" else other)} for x in labels] * 3
    outcome = plan.outcome("name", [*runs, *[curves.plain(other)] * 3])
    assert [finding.holds for finding in outcome.findings] == [True, True, True]
    table = outcome.tables["results"]
    assert len(table.rows) == (len(labels) + 1) * 3 * num_points
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    rows = [row for row in rows if row["method"] == "nres"]
    assert [rows[i]["value"] for i in (0, 1)] == ["2", "nan"]
    best = [float(rows[i]["best_so_far"]) for i in (1, num_points - 1)]
    assert best == [2.0, float(f"{nres[-2]:.6g}")]
    assert [panel.name for panel in outcome.panels] == ["name", "name_present"]
