"""A task that an optimizer was meta-trained on is not called held out."""

import pytest

from launch.evaluate import held_out
from tests.launch.evaluate.conftest import SMALL, save_bundle

SAME = ("--config.tasks={'again': {'name': 'quadratic', 'dim': 3}}",)
WORDS = tuple(word for word in SMALL if "tasks" not in word)


def test_a_meta_training_task_is_refused_by_name(user_error, bundle, tmp_path):
    line = user_error("evaluate", bundle, *WORDS, *SAME, f"--workdir={tmp_path}")
    assert "again is not held out: small was meta-trained on it, as mine" in line
    assert "--config.tasks.again.held_out=False" in line
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
    words = [*SAME, "--config.tasks.again.held_out=False", "--config.baselines=adam"]
    summary = evaluate(tmp_path, bundle, *WORDS, *words)
    assert [task["held_out"] for task in summary["tasks"]] == [False]
    assert all(entry["tasks"] == 0 for entry in summary["aggregate"])
    shown = capsys.readouterr().out
    assert "again (meta-training task): small" in shown


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
    assert (held_out.identity(*one) == held_out.identity(*other)) == same
