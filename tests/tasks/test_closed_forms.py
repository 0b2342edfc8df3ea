"""Losses of the tasks without data, or without a network, against what they are in closed form."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tasks.networks import MLP
from tests.tasks import compiled

KEY = jax.random.key


class Solution(MLP):
    """The solution of the heat equation, times a factor."""

    @nn.compact
    def __call__(self, points):
        factor = self.param("factor", nn.initializers.ones, ())
        x, t = (points[:, :1] + 1) / 2, (points[:, 1:] + 1) / 2
        return factor * jnp.exp(-t) * jnp.sin(2 * jnp.pi * x)


@pytest.fixture(scope="module")
def heat():
    task = tasks.make("heat_equation", batch_size=256)
    return dataclasses.replace(task, module=Solution((), 1))


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_the_solution_of_the_heat_equation_has_no_loss(heat, factor):
    batch = compiled.batch(heat, KEY(0), (), "train")
    loss, metrics = compiled.loss(heat, KEY(0), (), {"factor": jnp.float32(factor)}, batch)
    # Any multiple of it solves the equation, but starts elsewhere: 10 (factor - 1)^2 mean sin^2.
    np.testing.assert_allclose(loss, 10 * (factor - 1) ** 2 / 2, rtol=0.2, atol=1e-8)
    assert (metrics["error"] < 1e-8) == (factor == 1)


def test_a_solution_of_another_equation_has_a_residual(heat):
    class Still(MLP):
        """Right at the start and on the boundary, but it stays."""

        @nn.compact
        def __call__(self, points):
            scale = self.param("scale", nn.initializers.ones, ())
            return scale * jnp.sin(jnp.pi * (points[:, :1] + 1))

    task = dataclasses.replace(heat, module=Still((), 1))
    batch = compiled.batch(task, KEY(0), (), "valid")
    loss, _ = compiled.loss(task, KEY(0), (), {"scale": jnp.float32(1)}, batch)
    # u_t = 0 and u_xx / (2 pi)^2 = -sin(2 pi x).
    expected = np.mean(np.sin(2 * np.pi * np.asarray(batch["point"][:, 0], float)) ** 2)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_mixture_has_the_density_of_its_components():
    task = tasks.make("wine_mixture", components=3)
    rng = np.random.default_rng(0)
    dim = task.data.features.shape[-1]
    mean, log_scale = rng.normal(size=(2, 3, dim))
    logit = rng.normal(size=3)
    batch = compiled.batch(task, KEY(1), (), "train")
    rows = np.asarray(batch["features"], float)
    weights = np.exp(logit) / np.exp(logit).sum()
    scale = 0.1 + np.exp(log_scale)
    densities = [
        weight * np.prod(np.exp(-0.5 * ((rows - m) / s) ** 2) / np.sqrt(2 * np.pi) / s, axis=1)
        for weight, m, s in zip(weights, mean, scale, strict=True)
    ]
    expected = -np.mean(np.log(np.sum(densities, axis=0))) / dim
    arrays = {"mean": mean, "log_scale": log_scale, "logit": logit}
    params = {name: jnp.asarray(value, jnp.float32) for name, value in arrays.items()}
    loss, _ = compiled.loss(task, KEY(0), (), params, batch)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_one_component_of_mean_and_deviation_is_a_normal_distribution():
    task = tasks.make("breast_cancer_mixture", components=1, batch_size=300)
    shape = (1, task.data.features.shape[-1])
    params = {
        "mean": jnp.zeros(shape),
        "log_scale": jnp.full(shape, np.log(0.9), jnp.float32),
        "logit": jnp.zeros(1),
    }
    loss, _ = compiled.loss(task, KEY(0), (), params, compiled.batch(task, KEY(1), (), "train"))
    # The entropy of a standard normal.
    np.testing.assert_allclose(loss, 0.5 * np.log(2 * np.pi * np.e), rtol=0.1)
