"""Quadratics have the closed form that they promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tests.tasks import compiled


@pytest.mark.parametrize("condition", [1.0, 50.0])
@pytest.mark.parametrize("dim", [1, 2, 7])
def test_spectrum_has_the_condition_number(dim, condition):
    task = tasks.make("quadratic", dim=dim, condition=condition)
    eigenvalues = np.linalg.eigvalsh(np.asarray(task.member.hessian, np.float64))
    np.testing.assert_allclose(eigenvalues.max(), 1, rtol=1e-5)
    np.testing.assert_allclose(eigenvalues.min(), 1 if dim == 1 else 1 / condition, rtol=1e-3)


def test_family_members_stay_in_range_and_differ():
    task = tasks.make("quadratic_family", dim=5, condition=(2.0, 100.0))
    members = jax.jit(jax.vmap(task.sample))(jax.random.split(jax.random.key(0), 50))
    eigenvalues = np.linalg.eigvalsh(np.asarray(members.hessian, np.float64))
    conditions = eigenvalues[:, -1] / eigenvalues[:, 0]
    assert conditions.min() > 1.99
    assert conditions.max() < 101
    assert conditions.max() > 5 * conditions.min()
    assert np.std(np.asarray(members.minimum)) == pytest.approx(1, abs=0.2)


def test_noiseless_loss_is_the_closed_form():
    task = tasks.make("quadratic", dim=4, noise=0.0, batch_size=3)
    params = compiled.init(task, jax.random.key(1), ())
    batch = compiled.batch(task, jax.random.key(2), (), "train")
    loss, metrics = compiled.loss(task, jax.random.key(0), (), params, batch)
    x = np.asarray(params["x"] - task.member.minimum, np.float64)
    expected = 0.5 * x @ np.asarray(task.member.hessian, np.float64) @ x
    np.testing.assert_allclose([loss, metrics["excess"]], expected, rtol=1e-5)


def test_mean_loss_and_gradient_under_noise():
    task = tasks.make("quadratic", dim=4, noise=0.5, batch_size=20_000)
    params = compiled.init(task, jax.random.key(1), ())
    batch = compiled.batch(task, jax.random.key(2), (), "valid")
    value_and_grad = jax.value_and_grad(
        lambda p: compiled.loss(task, jax.random.key(0), (), p, batch), has_aux=True
    )
    (loss, metrics), grad = jax.jit(value_and_grad)(params)
    floor = 0.5 * 0.5**2 * float(jnp.trace(task.member.hessian))
    np.testing.assert_allclose(loss, metrics["excess"] + floor, rtol=0.03)
    expected = task.member.hessian @ (params["x"] - task.member.minimum)
    np.testing.assert_allclose(grad["x"], expected, atol=0.02)


def test_seed_picks_another_quadratic():
    first, same, other = (tasks.make("quadratic", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.member.hessian, same.member.hessian)
    assert not np.allclose(first.member.hessian, other.member.hessian)
