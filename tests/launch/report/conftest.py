"""Folders like those of `lopt meta-train` and `lopt evaluate`, made in milliseconds."""

import csv
import json

import jax
import numpy as np
import pytest

import lopt
from launch import cli

HOSTILE = "<script>alert('x')</script>"
"""As a label it must come out as text."""


def loss_curve(rng, steps, end, rate=0.02):
    points = np.asarray(steps)
    noise = np.exp(0.1 * rng.standard_normal(len(points)))
    return (2.3 - end) * np.exp(-rate * points) + end * noise


def save_bundle(folder):
    rule = lopt.LOPTS["sgd_schedule"]()
    card = {"horizon": 20, "versions": {"jax": "0.0.1", "optax": "0.0.2"}}
    lopt.save(folder, rule, rule.init(jax.random.key(0)), card=card)


def write_run(folder, *, records=40, label="digits_mlp", bundle=True, compared=True):
    """A work folder; without ``compared`` that of a run that was stopped."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "meta_steps": records,
        "optimizer": {"name": "sgd_schedule"},
        "system": {"name": "lopt"},
        "tasks": {label: {"name": "digits_mlp", "weight": 1.0}},
        "estimator": {"name": "pes", "horizon": 1000, "std": 0.01},
        "comparison": {"held_out": {"wider": {"name": "digits_mlp"}}, "num_seeds": 2},
    }
    (folder / "config.json").write_text(json.dumps(config))
    losses = loss_curve(rng, range(records), 0.2)
    lines = [
        {
            "meta_step": step,
            "meta_loss": None if step % 17 == 0 else float(losses[step - 1]),
            "grad_norm": float(abs(rng.standard_normal())),
            "snr": 1.0,
            "diverged": int(step == 9),
            "skipped": 0,
            "inner_steps_per_s": 5000.0,
            "seconds": 0.1 * step,
        }
        for step in range(1, records + 1)
    ]
    lines.append({"meta_step": records, "meta_valid_loss": 0.25, "seconds": 0.1 * records})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if bundle:
        save_bundle(folder / "bundle")
    if compared:
        write_comparison(folder / "comparison", label)
        (folder / "finished.json").write_text(json.dumps({"meta_steps": records}))
    return folder


LEARNED, BASELINES = "my_run", ("adam", "adamw", "lion", "muon", "schedule_free", "sgd_momentum")
AXES = ("horizon x3", "width x4")


def make_summary(labels, *, num_steps=200, num_seeds=3, baselines=BASELINES):
    """A summary in which the learned optimizer wins every third task, and diverges on the last."""
    rng = np.random.default_rng(2)
    optimizers = [LEARNED, *baselines]
    settings = [(label, "") for label in labels] + [(labels[0], axis) for axis in AXES]
    measures = []
    for i, (label, axis) in enumerate(settings):
        for j, name in enumerate(optimizers):
            loss = 0.2 + 0.05 * j + 0.3 * (name == LEARNED and i % 3 != 0)
            diverged = name == LEARNED and i == len(settings) - 1
            measures.append(
                {
                    "task": label,
                    "axis": axis,
                    "optimizer": name,
                    "mean_loss": None if diverged else loss,
                    "std_error": None if diverged else 0.004,
                    "final_loss": None if diverged else loss / 4,
                    "diverged": 1.0 if diverged else 0.0,
                    "final_valid_loss": None if diverged else loss / 3,
                    "final_valid_accuracy": None if i % 4 == 1 else 0.9 - 0.1 * loss,
                    "target": 0.05,
                    "steps_to_target": None if j % 3 == 2 else int(rng.integers(50, num_steps)),
                    "speedup": None if j % 3 == 2 else float(rng.uniform(0.5, 2)),
                    "seconds_to_target": None,
                    "speedup_seconds": None if j % 3 == 2 else float(rng.uniform(0.1, 2)),
                    "microseconds_per_step": 100.0 + 900 * (name == LEARNED),
                }
            )
    return {
        "kind": "lopt-evaluation",
        "format_version": 1,
        "num_steps": num_steps,
        "num_seeds": num_seeds,
        "reference": ["adam", "adamw"],
        "environment": {"cpu": "a processor", "versions": {"jax": "0.0.1"}, "seconds": 12.3},
        "optimizers": [
            {
                "name": name,
                "kind": "learned" if name == LEARNED else "baseline",
                "description": f"optax {name}",
                "horizon": 20 if name == LEARNED else None,
            }
            for name in optimizers
        ],
        "tasks": [
            {
                "label": label,
                "name": "digits_mlp",
                "fields": {"hidden": [32]},
                "axis": axis,
                "held_out": True,
                "num_params": 2410,
                "num_steps": num_steps,
            }
            for label, axis in settings
        ],
        "tuned": [
            {
                "task": label,
                "axis": "",
                "optimizer": name,
                "hyperparameters": {"learning_rate": 0.0123456, "b1": None},
                "trials": 15,
                "at_edge": name == "lion",
                "from_cache": True,
            }
            for label in labels
            for name in baselines
        ],
        "measures": measures,
        "costs": [
            {"optimizer": name, "bytes_per_parameter": 8.0, "ns_per_parameter": None}
            for name in optimizers
        ],
        "aggregate": [
            {
                "optimizer": name,
                "iqm": 1.5 - 0.1 * j,
                "iqm_low": 1.2 - 0.1 * j,
                "iqm_high": None if j == 2 else 1.9 - 0.1 * j,
                "wins": j,
                "tasks": len(labels),
                "divergence_rate": 0.0,
            }
            for j, name in enumerate(optimizers)
        ],
        "profile": {
            "taus": np.geomspace(1, 10, 21).tolist(),
            "fractions": {
                name: np.clip(np.linspace(0.1 * j, 1.3, 21), 0, 1).tolist()
                for j, name in enumerate(optimizers)
            },
        },
    }


def write_results(path, summary, *, num_points=10):
    """A results.csv that goes with a summary; a run that diverged has NaN from the middle on."""
    rng = np.random.default_rng(3)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        losses = ("train_loss", "valid_loss", "valid_accuracy")
        writer.writerow(["task", "axis", "optimizer", "seed", "step", *losses])
        for row in summary["measures"]:
            steps = np.linspace(0, summary["num_steps"], num_points + 1).astype(int)
            end = row["final_loss"] or 0.5
            for seed in range(summary["num_seeds"]):
                train, valid = (loss_curve(rng, steps, end, 10 / steps[-1]) for _ in range(2))
                if row["mean_loss"] is None:
                    train[num_points // 2 :] = np.nan
                for i, step in enumerate(steps):
                    accuracy = "" if row["final_valid_accuracy"] is None else 1 - valid[i] / 2.5
                    judged = (valid[i], accuracy) if step else ("", "")
                    place = (row["task"], row["axis"], row["optimizer"], seed, step)
                    writer.writerow([*place, train[i], *judged])


def write_evaluation(folder, labels=("digits_conv", "wine_mlp"), **options):
    """The folder of a finished evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = make_summary(list(labels), **options)
    (folder / "summary.json").write_text(json.dumps(summary))
    config = {"num_seeds": 3, "tuning": {"num_grid": 10, "num_random": 5}, "data_dir": "secret"}
    (folder / "config.json").write_text(json.dumps(config))
    write_results(folder / "results.csv", summary)
    return folder


def write_comparison(folder, label):
    """The learned optimizer wins on the trained task and diverges on the other."""
    folder.mkdir()
    summary = make_summary([label, "wider"], baselines=("adam", "schedule_free"))
    for section in ("tasks", "measures"):
        summary[section] = [x for x in summary[section] if not x["axis"]]
    summary["tasks"][0]["set"] = "meta_training"
    nothing = dict.fromkeys(("mean_loss", "std_error", "final_loss", "final_valid_loss"))
    (worst,) = (x for x in summary["measures"] if (x["task"], x["optimizer"]) == ("wider", LEARNED))
    worst |= nothing | {"diverged": 1.0, "final_valid_accuracy": None}
    (folder / "summary.json").write_text(json.dumps(summary))
    write_results(folder / "results.csv", summary)


@pytest.fixture(scope="session")
def evaluation_page(tmp_path_factory):
    """The page that the command has written about an evaluation with a hostile label."""
    folder = write_evaluation(tmp_path_factory.mktemp("evaluation") / "work", ("conv", HOSTILE))
    out = folder.parent / "page.html"
    assert cli.main(["report", str(folder), f"--out={out}"]) == 0
    return out


@pytest.fixture
def edit_json():
    """Change a JSON file by a function of its value."""

    def edit(path, change):
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return edit
