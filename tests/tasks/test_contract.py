"""What every registered task must do; a new task is tested by being registered."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks

KEY = jax.random.key

# Tests compile without optimisation, so what is computed must be little, and every layer is there
# only once.
SMALL = {
    "digits_conv": {"channels": (8,), "batch_size": 32},
    "digits_resnet": {"channels": (4, 8), "batch_size": 32},
    "digits_vit": {"depth": 1, "width": 8, "batch_size": 32},
    "digits_mixer": {"depth": 1, "width": 8},
    "induction_family": {"depth": 1, "width": 8, "batch_size": 4},
    "text_rnn": {"width": 8, "batch_size": 4},
    "text_lstm": {"width": 8, "batch_size": 4},
    "text_transformer": {"depth": 1, "width": 8, "batch_size": 4},
}


# The task is an argument, so tasks that differ only in their data share one compiled program.
@jax.jit
def run_start(task, key):
    key_sample, key_init = jax.random.split(key)
    cfg = task.sample(key_sample)
    return cfg, task.init(key_init, cfg)


@jax.jit
def run_draw(task, key, cfg):
    return {split: task.batch(key, cfg, split) for split in tasks.SPLITS}


@jax.jit
def run_grad(task, cfg, params, batch):
    return jax.value_and_grad(lambda p: task.loss(KEY(1), cfg, p, batch), has_aux=True)(params)


@jax.jit
def run_together(task, cfgs, params, batch):
    return jax.vmap(lambda c, p: task.loss(KEY(1), c, p, batch)[0])(cfgs, params)


class Compiled(NamedTuple):
    """A task and its methods, compiled."""

    task: Any
    start: Any  # (key) -> cfg, params
    draw: Any  # (key, cfg) -> batch of each split
    grad: Any  # (cfg, params, batch) -> ((loss, metrics), gradient)


def variants():
    """Names of tasks that have the factory of another and differ in their data."""
    seen = set()
    for name, factory in tasks.TASKS.items():
        function = getattr(factory, "func", factory)
        function = getattr(function, "__wrapped__", function)  # what a family augments
        if function in seen:
            yield name
        seen.add(function)


VARIANTS = tuple(variants())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in VARIANTS else ())
        for name in tasks.TASKS
    ],
)
def compiled(request, make_task):
    task = make_task(request.param, **SMALL.get(request.param, {}))
    return Compiled(
        task, partial(run_start, task), partial(run_draw, task), partial(run_grad, task)
    )


@pytest.fixture
def setup(compiled):
    cfg, params = compiled.start(KEY(0))
    return cfg, params, compiled.draw(KEY(1), cfg)["train"]


def types(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)


# The tests below, which compute, run on variants only with the slow ones.
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_trace_to_the_right_types(name, make_task):
    def run(task, key):
        cfg, params = run_start(task, key)
        batches = run_draw(task, key, cfg)
        return params, batches, task.loss(key, cfg, params, batches["train"])

    params, batches, (loss, metrics) = jax.eval_shape(run, make_task(name), KEY(0))
    assert type(params) is dict
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert types(batches["train"]) == types(batches["valid"]) == types(batches["test"])
    assert (loss.shape, loss.dtype, loss.weak_type) == ((), jnp.float32, False)
    assert all(value.shape == () for value in metrics.values())


def test_loss_is_a_finite_strong_float32_scalar_with_scalar_metrics(compiled, setup):
    (loss, metrics), _ = compiled.grad(*setup)
    assert loss.shape == ()
    assert loss.dtype == jnp.float32
    assert not loss.weak_type
    assert np.isfinite(loss)
    assert all(np.shape(value) == () and np.isfinite(value) for value in metrics.values())


def test_params_are_a_plain_dict_of_strong_float32(setup):
    _, params, _ = setup
    assert type(params) is dict
    assert all(x.dtype == jnp.float32 and not x.weak_type for x in jax.tree.leaves(params))


def test_same_key_same_batch_and_other_key_other_batch(compiled, setup):
    cfg, _, batch = setup
    first, again, other = (compiled.draw(KEY(k), cfg) for k in (3, 3, 4))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    for split in tasks.SPLITS:
        equal = jax.tree.map(np.array_equal, first[split], other[split])
        assert not all(jax.tree.leaves(equal))
        assert types(first[split]) == types(batch)


def test_splits_draw_different_examples_with_the_same_key(compiled, setup):
    batches = compiled.draw(KEY(3), setup[0])
    rows = [
        {row.tobytes() for row in np.asarray(jax.tree.leaves(batches[split])[0])}
        for split in tasks.SPLITS
    ]
    assert len(set.union(*rows)) == sum(map(len, rows))


def test_unknown_split_names_the_nearest(compiled, setup):
    with pytest.raises(ValueError, match="Did you mean valid"):
        compiled.task.batch(KEY(0), setup[0], "validation")


def test_gradient_is_finite_and_matches_a_difference(compiled, setup):
    cfg, params, batch = setup
    params, grad = jax.device_get((params, compiled.grad(*setup)[1]))  # NumPy compiles nothing
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(grad))
    squared = sum(float(np.sum(x**2)) for x in jax.tree.leaves(grad))
    # A step of first-order effect 2e-3 along the gradient, both ways.
    step = np.float32(1e-3 / squared)
    up, down = (
        compiled.grad(cfg, jax.tree.map(lambda p, g, s=s: p + s * g, params, grad), batch)[0][0]
        for s in (step, -step)
    )
    np.testing.assert_allclose(float(up - down), 2e-3, rtol=0.02)


def test_vmap_over_members_matches_one_by_one(compiled):
    keys = jax.random.split(KEY(5), 3)
    started = [jax.device_get(compiled.start(key)) for key in keys]
    batch = compiled.draw(KEY(1), started[0][0])["valid"]
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *started)
    # Tracing suffices for drawing: random numbers are the same under vmap.
    assert types(jax.eval_shape(jax.vmap(compiled.start), keys)) == types(stacked)
    together = run_together(compiled.task, *stacked, batch)
    for member, loss in zip(started, together, strict=True):
        np.testing.assert_allclose(loss, compiled.grad(*member, batch)[0][0], rtol=2e-4)


def test_task_is_a_pytree_with_its_data_as_leaves(compiled):
    task = compiled.task
    leaves, structure = jax.tree.flatten(task)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    hash(structure)
    again = jax.tree.unflatten(structure, leaves)
    assert jax.tree.structure(again) == structure
    assert type(again) is type(task)
    if hasattr(task, "data"):
        data = jax.tree.leaves(task.data)
        assert data
        assert all(any(leaf is array for leaf in leaves) for array in data)


def test_a_few_steps_of_descent_lower_the_loss(compiled, setup):
    cfg, params, batch = setup
    before = compiled.grad(*setup)[0][0]
    for step in range(20):
        drawn = compiled.draw(KEY(step), cfg)["train"]
        params, grad = jax.device_get((params, compiled.grad(cfg, params, drawn)[1]))
        # Relative to each tensor's size: members of a family may rescale their parameters.
        params = jax.tree.map(
            lambda p, g: p - 0.05 * np.sqrt(np.sum(p**2)) * g / np.sqrt(np.sum(g**2) + 1e-24),
            params,
            grad,
        )
    assert compiled.grad(cfg, params, batch)[0][0] < before


def test_types_do_not_change_inside_scan(compiled, setup):
    cfg, params, _ = setup

    def body(params, t):
        batch = compiled.task.batch(jax.random.fold_in(KEY(0), t), cfg, "train")
        grad = jax.grad(lambda p: compiled.task.loss(KEY(0), cfg, p, batch)[0])(params)
        return jax.tree.map(lambda p, g: p - 1e-6 * g, params, grad), None

    # Tracing checks the types; there is nothing to compute.
    last, _ = jax.eval_shape(lambda p: jax.lax.scan(body, p, jnp.arange(2)), params)
    assert types(last) == types(params)
