"""Phases: a run starts from the theta of another, and measures its losses in units."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

import lopt
from configs.base import RunConfig
from launch import configuration, errors, first_theta, run
from launch.build import build
from meta_train import evaluation

RULE = lopt.LOPTS["schedule_free_mlp"]
KEY = jax.random.key(0)


def config(**fields):
    made = {
        "tasks": {"quadratic": {"name": "quadratic", "weight": 1.0, "dim": 3}},
        "optimizer": {"name": "schedule_free_mlp", "hidden": (4,)},
        "estimator": {"horizon": 6, "truncation_length": 3},
        "meta_validation": {"num_seeds": 2},
    }
    for path, value in fields.items():
        *above, name = path.split("__")
        functools.reduce(lambda section, x: section.setdefault(x, {}), above, made)[name] = value
    return configuration.complete(made, RunConfig)


def bundle(folder, hidden, shift):
    rule = RULE(hidden=hidden)
    theta = jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(shift), rule.init(KEY))
    lopt.save(folder, rule, theta)
    return theta


def test_without_another_run_it_is_that_of_the_trainer():
    experiment = build(config())
    theta = first_theta.find(experiment, config(), KEY)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        theta,
        experiment.trainer.init(KEY).theta,
    )


@pytest.mark.parametrize("folder", ["run/bundle", "bundle"])
def test_groups_that_fit_are_taken_over(folder, tmp_path, capsys):
    given = bundle(tmp_path / folder, (), 0.5)
    made = config(init_from=str(tmp_path / folder.removesuffix("/bundle")))
    theta = first_theta.find(build(made), made, KEY)
    jax.tree.map(np.testing.assert_array_equal, theta["scalars"], given["scalars"])
    assert set(theta) == {"scalars", "network"}
    assert "scalars of the first theta: from" in capsys.readouterr().out


def test_groups_of_other_shapes_are_drawn(tmp_path):
    bundle(tmp_path / "b", (5, 5), 0.5)
    made = config(init_from=str(tmp_path / "b"))
    experiment = build(made)
    theta = first_theta.find(experiment, made, KEY)
    assert float(theta["scalars"]["beta"]) == 0.5
    fresh = jax.jit(experiment.systems[0].init_theta)(jax.random.split(KEY, 3)[0])
    jax.tree.map(np.testing.assert_array_equal, theta["network"], fresh["network"])


def test_a_theta_of_which_nothing_fits_is_refused(tmp_path, user_error):
    rule = lopt.LOPTS["sgd_schedule"]()
    lopt.save(tmp_path / "b", rule, rule.init(KEY))
    line = user_error(
        "meta-train",
        "--config=base",
        "--config.tasks={'quadratic': {}}",
        f"--config.init_from={tmp_path / 'b'}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert "no group of its theta fits" in line
    assert not list((tmp_path / "run").glob("*.json*"))


def test_a_folder_that_is_no_bundle_is_refused(tmp_path, user_error):
    line = user_error(
        "meta-train",
        "--config=base",
        "--config.tasks={'quadratic': {}}",
        f"--config.init_from={tmp_path}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert f"config.init_from={tmp_path}" in line


@pytest.mark.parametrize(
    "split", [*(pytest.param(x, marks=pytest.mark.slow) for x in ("train", "valid")), "mixed"]
)
def test_the_first_theta_has_the_meta_loss_one_in_its_units(split):
    made = config(
        optimizer={"name": "sgd_schedule"},
        objective__unit="first_theta",
        objective__split=split,
        meta_validation__tasks={"wide": {"name": "quadratic", "weight": 1.0, "dim": 5}},
    )
    experiment = build(made)
    theta = first_theta.find(experiment, made, KEY)
    scaled = first_theta.in_units(experiment, theta, made, KEY)
    for systems in (scaled.systems, scaled.trainer.systems, scaled.validation.systems):
        losses = evaluation.meta_losses(systems, scaled.episodes, theta, KEY, 2)
        np.testing.assert_allclose(losses, 1.0, rtol=1e-5)
    assert scaled.validation.geometric
    assert not experiment.validation.geometric
    before = evaluation.meta_losses(experiment.systems, scaled.episodes, theta, KEY, 2)
    assert abs(before[0] - 1) > 0.01
    if split == "mixed":  # of either loss alone too
        for change in ({"unit": np.float32(np.inf)}, {"valid_unit": np.float32(np.inf)}):
            systems = [dataclasses.replace(system, **change) for system in scaled.systems]
            losses = evaluation.meta_losses(systems, scaled.episodes, theta, KEY, 2)
            np.testing.assert_allclose(losses, 0.5, rtol=1e-5)


def test_meta_validation_of_the_first_theta_is_one_unit(tmp_path):
    """Exactly, however much the members of a family differ: it is measured on the same seeds."""
    made = config(
        optimizer={"name": "sgd_schedule"},
        objective__unit="first_theta",
        objective__split="mixed",
        meta_steps=1,
        meta_optimizer__learning_rate=0.0,
        meta_validation__tasks={"family": {"name": "quadratic_family", "weight": 1.0, "dim": 3}},
        meta_validation__every_steps=1,
        comparison__num_seeds=0,
    )
    run.run(made, tmp_path)
    records = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    found = [record["meta_valid_loss"] for record in records if "meta_valid_loss" in record]
    np.testing.assert_allclose(found, 1.0, rtol=1e-5)


def test_a_system_without_tasks_has_no_units(tmp_path, user_error):
    line = user_error(
        "meta-train",
        "--config=influence_balancing",
        "--config.objective.unit=first_theta",
        f"--workdir={tmp_path}",
    )
    assert "config.objective.unit = 'first_theta' cannot be used" in line
    assert not list(tmp_path.glob("*.json*"))


def test_unknown_unit_is_refused(tmp_path, user_error):
    line = user_error(
        "meta-train",
        "--config=base",
        "--config.objective.unit=adam",
        f"--workdir={tmp_path}",
    )
    assert "config.objective.unit = 'adam' must be 'first_theta' or None" in line


@pytest.mark.parametrize("given", [{"net": 0.1}, {"scalars": 0.1, "net": 0.2}])
def test_numbers_for_groups_that_theta_lacks_are_left_out(given, capsys):
    """So that a packaged config serves other optimizers than its own."""
    fields = {"optimizer__hidden": (), "estimator__std": 0.3}
    numbers = {"estimator__group_std": given, "meta_optimizer__group_factors": given}
    std = build(config(**fields, **numbers)).trainer.estimator.std
    assert std == ((("scalars", 0.1),) if "scalars" in given else 0.3)
    said = capsys.readouterr().out
    used = "scalars" if "scalars" in given else "nothing"
    for field in ("config.estimator.group_std", "config.meta_optimizer.group_factors"):
        assert (
            f"{field} is for {', '.join(sorted(given))}, of which {used} is used: theta's" in said
        )


def test_a_group_without_a_number_is_refused():
    with pytest.raises(errors.UserError, match="is for net, scalars, but theta's top-level groups"):
        build(config(estimator__group_std={"scalars": 0.1, "net": 0.2}))
