"""Three sets of tasks: none is called purer than it is, and the packaged ones share nothing."""

import dataclasses
import functools
import inspect
import itertools
from contextlib import nullcontext

import pytest

from configs.base import RunConfig
from configs.held_out import EvaluationConfig, SuiteTask
from launch import configuration
from launch.errors import UserError
from launch.evaluate.from_config import check_sets, load_bundles, make_suite
from tasks import TASKS
from tasks.registry import identity
from tests.launch.evaluate.conftest import SMALL, save_bundle

SAME = ("--config.tasks={'again': {'name': 'quadratic', 'dim': 3}}",)
WORDS = tuple(word for word in SMALL if "tasks" not in word)


def test_a_meta_training_task_is_refused_by_name(user_error, bundle, tmp_path):
    line = user_error("evaluate", bundle, *WORDS, *SAME, f"--workdir={tmp_path}")
    assert "again is not held out: small was meta-trained on it, as mine" in line
    assert "--config.tasks.again.set=meta_training" in line
    assert list(tmp_path.iterdir()) == []


def test_defaults_count_as_fields(user_error, bundle, tmp_path):
    words = [*SAME, "--config.tasks.again.seed=0"]
    line = user_error("evaluate", bundle, *WORDS, *words, f"--workdir={tmp_path}")
    assert "again is not held out" in line


def test_a_change_of_a_task_may_be_a_meta_training_task(user_error, bundle, tmp_path):
    words = [
        "--config.tasks={'quadratic': {'dim': 2}}",
        "--config.axes={'larger': {'quadratic': {'dim': 3}}}",
    ]
    line = user_error("evaluate", bundle, *WORDS, *words, f"--workdir={tmp_path}")
    assert "quadratic, larger is not held out" in line


def test_it_may_be_shown_as_what_it_is(evaluate, bundle, tmp_path, capsys):
    words = [*SAME, "--config.tasks.again.set=meta_training", "--config.baselines=adam"]
    summary = evaluate(tmp_path, bundle, *WORDS, *words)
    assert [task["held_out"] for task in summary["tasks"]] == [False]
    assert all(entry["tasks"] == 0 for entry in summary["aggregate"])
    shown = capsys.readouterr().out
    assert "again (meta-training task): small" in shown
    assert summary["comparisons"] == []


def test_a_validation_task_is_refused(user_error, bundle, tmp_path):
    words = ["--config.tasks={'again': {'name': 'quadratic', 'dim': 4}}"]
    line = user_error("evaluate", bundle, *WORDS, *words, f"--workdir={tmp_path}")
    assert "again is not held out: small was chosen by it, as yours" in line
    assert "--config.tasks.again.set=validation" in line


@pytest.mark.parametrize(
    ("dim", "named", "refused"),
    [(3, "validation", True), (3, "meta_training", False), (4, "validation", False),
     (4, "meta_training", False), (2, "held_out", False)],
)  # fmt: skip
def test_no_task_is_called_purer_than_it_is(bundle, dim, named, refused):
    optimizers = load_bundles([str(bundle)])
    task = SuiteTask(name="quadratic", set=named, fields={"dim": dim})
    (workload,) = make_suite(EvaluationConfig(tasks={"again": task}, num_steps=20, num_points=4))
    with pytest.raises(UserError, match="a validation task") if refused else nullcontext():
        check_sets([workload], optimizers)


def test_a_bundle_that_does_not_say_is_told(evaluate, tmp_path, capsys):
    bundle = save_bundle(tmp_path / "silent", tasks=None)
    evaluate(tmp_path / "w", bundle, *SMALL, "--config.baselines={}", "--config.reference=()")
    assert "silent does not say what it was meta-trained on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("digits_mlp", {}), ("digits_mlp", {"hidden": [32], "batch_size": 64}), True),
        (("digits_mlp", {}), ("digits_mlp", {"data_dir": "/data", "weight": 2.0}), True),
        (("digits_mlp", {}), ("mnist_mlp", {"dataset": "digits", "batch_size": 64}), True),
        (("digits_mlp", {}), ("digits_mlp", {"hidden": (33,)}), False),
        (("digits_mlp", {}), ("digits_mlp", {"data_seed": 1}), False),
        (("digits_mlp", {}), ("mnist_mlp", {}), False),
        (("gone", {"x": 1}), ("gone", {"x": 1, "weight": 1.0}), True),
        (("gone", {"x": 1}), ("gone", {"x": 2}), False),
    ],
)
def test_identity_of_tasks(one, other, same):
    assert (identity(*one) == identity(*other)) == same


CHOICES = ("dataset", "function", "loss", "modes", "network", "rule")
"""Fields that choose the data or the kind of network."""


def kind(name, fields):
    """What makes a task: the function behind its name, family or not, and its data."""
    factory, given = TASKS[name], dict(fields)
    while isinstance(factory, functools.partial) or hasattr(factory, "__wrapped__"):
        given = getattr(factory, "keywords", {}) | given
        factory = factory.func if isinstance(factory, functools.partial) else factory.__wrapped__
    parameters = inspect.signature(factory).parameters
    defaults = {x: parameters[x].default for x in CHOICES if x in parameters}
    chosen = {x: value for x, value in (defaults | given).items() if x in CHOICES}
    return factory.__name__.removesuffix("_family"), tuple(sorted(chosen.items()))


def test_families_are_of_the_kind_of_their_members():
    assert kind("digits_conv_family", {}) == kind("digits_conv", {"channels": (4,)})
    assert kind("digits_mlp_family", {}) == kind("digits_mlp", {})
    assert kind("memorization_family", {}) == kind("patches_mlp_family", {})
    assert kind("digits_mlp", {}) != kind("mnist_mlp", {})
    assert kind("digits_vae", {}) != kind("digits_autoencoder", {})
    assert kind("copy_lstm_family", {}) != kind("sort_rnn_family", {})


def test_packaged_sets_share_no_data_with_the_same_network():
    suites = [configuration.load(suite, EvaluationConfig).tasks for suite in configuration.SUITES]
    assert all(entry.set == "held_out" for tasks in suites for entry in tasks.values())
    run = configuration.load("general", RunConfig)
    sets = {
        name: {kind(entry.name, entry.to_dict()) for tasks in group for entry in tasks.values()}
        for name, group in (
            ("held_out", suites), ("validation", [run.meta_validation.tasks]),
            ("meta_training", [run.tasks]),
        )
    }  # fmt: skip
    assert all(sets.values())
    for one, other in itertools.combinations(sets, 2):
        assert sets[one] & sets[other] == set(), (one, other)


def test_packaged_suites_are_as_large_as_they_say():
    small, large = (configuration.load(x, EvaluationConfig) for x in configuration.SUITES)
    assert len(small.tasks) + len(large.tasks) >= 24
    assert set(small.tasks) & set(large.tasks) == set()
    assert len(large.tasks) >= 6
    large = dataclasses.replace(large, axes={})
    for workload in make_suite(large):
        assert 100_000 <= workload.num_params <= 1_000_000
