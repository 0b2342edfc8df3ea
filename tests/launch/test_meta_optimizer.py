import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.base import MetaOptimizer
from launch.conversion import fill
from launch.errors import UserError
from launch.meta_optimizer import make_meta_optimizer
from meta_train.groups import averaged
from meta_train.schedules import warmed_up

SCHEDULE = {"name": "constant", "warmup_fraction": 0.0, "final_fraction": 0.0}
SECTION = {
    "name": "adam",
    "learning_rate": 0.1,
    "schedule": SCHEDULE,
    "clip_norm": None,
    "clip_value": None,
}
GRAD = {"w": jnp.array([3.0, -4.0])}


def make(section, meta_steps):
    section = fill(MetaOptimizer(fields={}), {**SECTION, **section}, "meta_optimizer")
    return make_meta_optimizer(section, meta_steps)


def updates(section, steps=3, meta_steps=10):
    optimizer = make(section, meta_steps)
    state = optimizer.init(GRAD)
    taken = []
    for _ in range(steps):
        update, state = optimizer.update(GRAD, state, GRAD)
        taken.append(np.asarray(update["w"]))
    return np.stack(taken)


def reference(optimizer, steps=3):
    state = optimizer.init(GRAD)
    taken = []
    for _ in range(steps):
        update, state = optimizer.update(GRAD, state, GRAD)
        taken.append(np.asarray(update["w"]))
    return np.stack(taken)


def test_factors_of_groups_and_an_average_follow_the_step():
    section = {"name": "sgd", "group_factors": {"w": 0.5}, "average_rate": 1.0}
    np.testing.assert_allclose(updates(section), 0.5 * reference(optax.sgd(0.1)), rtol=1e-6)
    optimizer = make(section, 10)
    update, state = optimizer.update(GRAD, optimizer.init(GRAD), GRAD)
    np.testing.assert_allclose(averaged(state, GRAD)["w"], GRAD["w"] + update["w"])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"group_factors": {"w": -1.0}}, "group_factors: w = -1.0 must be a number, at least 0"),
        ({"group_factors": True}, "group_factors = True must be a dict"),
        ({"average_rate": "fast"}, "average_rate = 'fast' must be above 0"),
        ({"average_rate": 0.0}, "average_rate = 0.0 must be above 0 and at most 1"),
        ({"average_rate": True}, "average_rate = True must be above 0 and at most 1"),
        ({"group_factors": {"w": True}}, "w = True must be a number, at least 0"),
    ],
)
def test_impossible_groups_and_averages_are_refused(section, message):
    with pytest.raises(UserError, match=message):
        make(section, 10)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, optax.adam(0.1)),
        ({"b1": 0.5}, optax.adam(0.1, b1=0.5)),
        ({"name": "adamw", "weight_decay": 0.3}, optax.adamw(0.1, weight_decay=0.3)),
        ({"name": "sgd", "momentum": 0.9}, optax.sgd(0.1, momentum=0.9)),
        (
            {"name": "sgd", "clip_norm": 1.0},
            optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
        ),
        ({"name": "sgd", "clip_value": 3.5}, optax.chain(optax.clip(3.5), optax.sgd(0.1))),
        (
            {
                "name": "chain",
                "transforms": (
                    {"name": "scale_by_adam"},
                    {"name": "add_decayed_weights", "weight_decay": 0.3},
                ),
            },
            optax.adamw(0.1, weight_decay=0.3),
        ),
    ],
)
def test_is_the_optax_optimizer(section, expected):
    np.testing.assert_allclose(updates(section), reference(expected), rtol=1e-6)


@pytest.mark.parametrize("name", ["constant", "cosine", "linear", "exponential"])
def test_schedule_rises_then_ends_at_its_final_fraction(name):
    schedule = warmed_up(name, 0.5, 100, warmup_fraction=0.1, final_fraction=0.1)
    values = np.array([schedule(step) for step in range(101)])
    np.testing.assert_allclose(values[:11], 0.05 * np.arange(11), atol=1e-6)
    np.testing.assert_allclose(values[100], 0.5 if name == "constant" else 0.05, rtol=1e-5)
    assert (np.diff(values[10:]) <= 1e-7).all()


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"name": "adm"}, "did you mean"),
        ({"name": "not an identifier"}, "unknown"),
        ({"b3": 0.5}, "no field 'b3'"),
        ({"momentum": 0.5}, "adam has no field 'momentum'"),
        ({"clip_norm": 0.0}, "clip_norm = 0.0 must be above 0"),
        ({"clip_value": "x"}, "clip_value = 'x'"),
        ({"schedule": {**SCHEDULE, "name": "cosin"}}, "did you mean 'cosine'?"),
        ({"schedule": {**SCHEDULE, "warmup_fraction": 1.0}}, "warmup_fraction = 1.0"),
        ({"schedule": {**SCHEDULE, "final_fraction": 2.0}}, "between 0 and 1"),
        ({"schedule": {**SCHEDULE, "name": "exponential"}}, "above 0"),
        ({"name": "chain"}, "transforms"),
        ({"name": "chain", "transforms": ({"name": "adam"},)}, "learning rate itself"),
        ({"name": "chain", "transforms": ({"name": "clp"},)}, "transforms[0].name"),
        ({"name": "chain", "transforms": ({"name": "clip"},)}, "clip needs max_delta"),
        ({"name": "chain", "transforms": ("clip",)}, "must be a dict"),
        (
            {"name": "chain", "transforms": ({"name": "clip", "max_delta": 1.0},), "b1": 0.9},
            "chain takes",
        ),
    ],
)
def test_mistake_names_the_field(section, expected):
    with pytest.raises(UserError) as caught:
        updates(section)
    assert expected in str(caught.value)
    assert "config.meta_optimizer" in str(caught.value)
