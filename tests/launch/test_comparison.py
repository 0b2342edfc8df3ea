import json
import re

import numpy as np
import pytest

from launch import comparison, plots
from meta_train.evaluation import Band, Row


def curve(start, rate, steps=1000):
    noise = 1 + 0.05 * np.random.default_rng(0).standard_normal(steps)
    return start * np.exp(-rate * np.arange(steps)) * noise + 0.05


def row(task, optimizer, learning_rate, losses, best=True):
    mean, last = float(losses.mean()), float(losses[-1])
    band = Band(np.arange(1.0, 1001), losses, 0.9 * losses, 1.1 * losses) if best else None
    return Row(task, optimizer, learning_rate, mean, last, 0.001, losses, best, 2 * last, band)


@pytest.fixture
def rows():
    made = []
    for task, slow in (("digits_mlp", 1.0), ("digits_other", 0.5)):
        made += [
            row(task, "learned", None, curve(2.3, 0.01 * slow)),
            row(task, "adam", 1e-4, curve(2.3, 0.001), best=False),
            row(task, "adam", 0.01, curve(2.3, 0.008)),
            row(task, "schedule_free", 0.1, curve(2.3, 0.006)),
        ]
    return made


def test_table_holds_the_best_of_each_optimizer(rows, capsys):
    comparison.print_table(rows, 1000, {"digits_other": None})
    shown = capsys.readouterr().out
    assert "digits_other (held out)" in shown
    assert "0.01" in shown
    assert "0.0001" not in shown
    assert "digits_mlp: learned" in shown


def lines(rows, capsys):
    comparison.print_table(rows, 1000, {})
    return [line for line in capsys.readouterr().out.splitlines() if ": learned " in line]


def test_verdicts_say_which_side(rows, capsys):
    first, second = lines(rows, capsys)
    assert re.fullmatch(
        r"digits_mlp: learned 0\.\d+, \d+\.\d % below the 0\.\d+ of adam at 0\.01", first
    )
    assert re.match(r"digits_other: .* above the 0\.\d+ of adam at 0\.01", second)


def test_verdict_on_a_difference_within_the_noise(rows, capsys):
    noisy = [row._replace(std_error=0.5) for row in rows]
    for line in lines(noisy, capsys):
        assert ", no clear difference from the " in line


def test_verdict_on_a_diverged_optimizer(rows, capsys):
    diverged = rows[0]._replace(mean_loss=float("inf"), std_error=float("nan"))
    assert lines([diverged, *rows[1:4]], capsys)[0].startswith("digits_mlp: learned diverged")


def test_file_has_all_rows_and_the_best_curves(rows, tmp_path):
    rows[1] = rows[1]._replace(mean_loss=float("inf"), std_error=float("nan"))
    comparison.write(rows, tmp_path)
    entries = json.loads((tmp_path / "comparison.json").read_text())
    assert len(entries) == len(rows)
    assert entries[1]["mean_loss"] is None
    assert [entry["curve"] is not None for entry in entries] == [row.best for row in rows]
    np.testing.assert_allclose(entries[0]["curve"], rows[0].curve, rtol=1e-5)
    assert [entry["band"] is not None for entry in entries] == [row.best for row in rows]
    np.testing.assert_allclose(entries[0]["band"]["high"], rows[0].band.high, rtol=1e-5)


def is_picture(path):
    from matplotlib.image import imread

    pixels = imread(path)
    return pixels.shape[0] > 300 and pixels.std() > 0


def test_comparison_plot(rows, tmp_path):
    plots.plot_comparison(rows, {"digits_other": None}, tmp_path / "comparison.png")
    assert is_picture(tmp_path / "comparison.png")


def test_comparison_plot_of_one_task_with_a_diverged_run(rows, tmp_path):
    losses = np.full(1000, np.nan)
    band = rows[0].band._replace(mean=losses, low=losses, high=losses)
    rows = [rows[0]._replace(curve=losses, band=band), *rows[1:4]]
    plots.plot_comparison(rows, {}, tmp_path / "comparison.png")
    assert is_picture(tmp_path / "comparison.png")


@pytest.mark.parametrize("steps", [1, 3, 500])
def test_meta_loss_plot(steps, tmp_path):
    losses = curve(1.5, 0.01, steps)
    records = [{"meta_step": i + 1, "meta_loss": float(x)} for i, x in enumerate(losses)]
    records += [{"meta_step": i, "meta_valid_loss": 0.3 + 1 / i} for i in range(50, steps, 50)]
    records.append({"meta_step": steps, "meta_loss": None})
    plots.plot_meta_loss(records, tmp_path / "meta_loss.png")
    assert is_picture(tmp_path / "meta_loss.png")
