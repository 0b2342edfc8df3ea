"""``lopt export``: the theta of a checkpoint, with a card that says what is known of it."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from checkpoints import Store
from configs.base import RunConfig
from launch import bundles, cli, configuration, workdir
from launch.meta_optimizer import make_meta_optimizer
from lopt import bundle_config
from meta_train.groups import averaged
from meta_train.run.inspection import inspect

STEPS = (2, 4, 6)
RULE = lopt.SGDSchedule()
BEST = 4


def config():
    """Of a run whose checkpoints alone matter here; test_end_to_end.py exports from a whole one."""
    return configuration.complete(
        {
            "tasks": {"bowl": {"name": "quadratic", "dim": 3, "weight": 2.0}},
            "data_dir": "/somewhere/private",
            "meta_steps": 6,
            "estimator": {"name": "pes", "horizon": 7},
            "optimizer": {"name": "sgd_schedule"},
        },
        RunConfig,
    )


def theta_after(step):
    return jax.tree.map(lambda x: x + 0.1 * step, RULE.init(jax.random.key(0)))


def sha256_after(step):
    return bundle_config.theta_sha256(jax.tree.leaves(theta_after(step)))


def metadata_of(step):
    best = min(step, BEST)
    return {
        "meta_steps": step,
        "config": config().to_dict(),
        "versions": {"lopt": "0.1.0"},
        "devices": {"count": 2, "kind": "cpu", "processes": 1},
        "records": {"seconds": 2.5 * step, "inner_steps": 100 * step, "meta_loss": 0.1},
        "validation": {"best_meta_step": best, "best_loss": 0.5 - 0.01 * best},
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The work folder of a run that is done."""
    folder = tmp_path_factory.mktemp("run")
    store = Store(folder / "checkpoints", keep_latest=3)
    for step in STEPS:
        theta = theta_after(step)
        tree = {"meta_state": {"theta": theta, "particles": jnp.ones(5)}, "best_theta": theta}
        store.write(step, tree, metadata_of(step), score=0.5 - 0.01 * min(step, BEST))
        if step == BEST:
            bundles.save(folder / "bundle", RULE, theta, {"horizon": 7})
    workdir.write_json(folder / "finished.json", {"meta_steps": 6})
    workdir.write_json(folder / "config.json", config().to_dict())
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the work folder, to be changed."""
    return shutil.copytree(finished, tmp_path / "run")


def export(*arguments):
    assert cli.main(["export", *map(str, arguments)]) == 0
    return lopt.load_bundle(arguments[1])


def theta_of(run, number):
    arrays = Store(run / "checkpoints").load(number)
    prefix = "meta_state/theta/"
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def assert_is_theta(bundle, run, number):
    jax.tree.map(np.testing.assert_array_equal, bundle.theta, theta_of(run, number))


def damage(run, number):
    file = next(x for x in sorted((run / "checkpoints" / str(number)).rglob("*")) if x.is_file())
    file.write_bytes(file.read_bytes() + b"x")


def rewrite(run, change):
    """A work folder whose only checkpoint has other metadata."""
    store = Store(run / "checkpoints")
    metadata = store.read(6).metadata
    change(metadata)
    tree = {"meta_state": {"theta": theta_of(run, 6)}}
    shutil.rmtree(run / "checkpoints")
    store.write(6, tree, metadata)


@pytest.mark.parametrize("factors", [None, {"scalars": 0.1, "network": 1.0}])
def test_the_average_of_theta_where_there_is_one(tmp_path, factors):
    """It is what the run validates and bundles, also one that factors of other groups left."""
    changed = config().to_dict() | {"meta_optimizer": {"average_rate": 0.1}}
    own = configuration.complete(changed, RunConfig)
    meta_optimizer = make_meta_optimizer(own.meta_optimizer, own.meta_steps)
    changed["meta_optimizer"]["group_factors"] = factors
    own = configuration.complete(changed, RunConfig)
    theta = theta_after(0)
    meta_opt_state = meta_optimizer.init(theta)
    for _ in range(3):
        updates, meta_opt_state = meta_optimizer.update(theta_after(9), meta_opt_state, theta)
        theta = optax.apply_updates(theta, updates)
    tree = {"meta_state": {"theta": theta, "meta_opt_state": meta_opt_state}}
    metadata = metadata_of(6) | {"config": own.to_dict()}
    Store(tmp_path / "run" / "checkpoints").write(6, tree, metadata)
    found = export(tmp_path / "run", tmp_path / "out").theta
    average = averaged(meta_opt_state, theta)
    jax.tree.map(np.testing.assert_array_equal, found, average)
    with pytest.raises(AssertionError):
        jax.tree.map(np.testing.assert_array_equal, found, theta)


def test_newest_checkpoint_by_default(finished, tmp_path, capsys):
    bundle = export(finished, tmp_path / "out")
    assert_is_theta(bundle, finished, 6)
    shown = capsys.readouterr().out
    assert "sgd_schedule after meta-step 6 of 6" in shown
    assert "--step=4 exports" in shown
    assert inspect(finished, bundle_config.theta_sha256)["latest_step"] == 6
    lopt.load(tmp_path / "out").init({"w": np.zeros(2, np.float32)})


def test_card_is_filled_from_the_run(finished, tmp_path):
    card = export(finished, tmp_path / "out").card
    assert card["meta_training"] == {
        "tasks": [{"label": "bowl", "name": "quadratic", "weight": 2.0, "dim": 3}],
        "validation_tasks": [],
        "estimator": "pes",
        "seed": 0,
        "meta_steps": 6,
        "meta_validation_loss": 0.46,
        "meta_steps_in_all": 6,
        "inner_steps_in_all": 600,
        "seconds_in_all": 15.0,
        "devices": "2 x cpu",
        "processes": 1,
    }
    assert card["horizon"] == 7
    assert card["license"] == "Apache-2.0"
    flat = json.loads(json.dumps(config().flat()))
    assert card["config"] == {key: value for key, value in flat.items() if key != "data_dir"}
    for file in (tmp_path / "out").iterdir():
        assert b"private" not in file.read_bytes()
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "meta-trained on bowl alone" in readme
    assert "not recorded whether it is better" in readme


def test_step_and_texts_of_ones_own(finished, tmp_path, capsys):
    words = ("--title=Mine", "--description=For bowls.", "--license=cc-by-4.0")
    bundle = export(finished, tmp_path / "out", "--step=2", *words)
    assert_is_theta(bundle, finished, 2)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "# Mine\n\nFor bowls.\n" in readme
    assert bundle.card["license"] == "CC-BY-4.0"
    assert bundle.card["meta_training"]["meta_validation_loss"] == 0.48
    export(finished, tmp_path / "out", "--step=4")  # an earlier export is replaced
    assert "exports that" not in capsys.readouterr().out


def test_damaged_checkpoints(run, tmp_path, capsys, user_error):
    damage(run, 6)
    assert_is_theta(export(run, tmp_path / "out"), run, 4)
    assert "checkpoints/6 is damaged" in capsys.readouterr().out
    assert "damaged; `lopt inspect" in user_error("export", run, tmp_path / "new", "--step=6")
    damage(run, 4)
    damage(run, 2)
    assert "all checkpoints" in user_error("export", run, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_mistakes(finished, tmp_path, user_error):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    new = tmp_path / "new"
    cases = [
        ((), "WORKDIR is missing"),
        ((finished,), "OUT is missing"),
        ((tmp_path / "nowhere", new), "does not exist"),
        ((foreign, new), "holds no checkpoints"),
        ((finished, foreign), "exists and is not a bundle"),
        ((finished, foreign / "thesis.txt"), "exists and is not a bundle"),
        ((finished, foreign / "thesis.txt" / "new"), "cannot be"),
        ((finished, new, "--step=5"), "no checkpoint --step=5; it has 2, 4, 6"),
        ((finished, new, "--step=last"), "wants a whole number"),
        ((finished, new, "--stepp=5"), "did you mean 'step'"),
        ((finished, new, "--license=Apache2"), "no SPDX expression"),
        ((finished, new, "--evaluation=" + str(foreign)), "holds no summary.json"),
    ]
    for arguments, expected in cases:
        assert expected in user_error("export", *arguments)
    assert not new.exists()
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


def test_neither_data_nor_a_finished_run_is_needed(run, tmp_path):
    def change(metadata):
        metadata["config"]["tasks"] = {"mnist": {"name": "mnist_mlp", "weight": 1.0}}
        metadata["config"]["devices"]["count"] = 512
        del metadata["devices"], metadata["records"]["inner_steps"]  # an older checkpoint

    rewrite(run, change)
    shutil.rmtree(run / "bundle")
    for name in ("finished.json", "config.json"):
        (run / name).unlink()
    card = export(run, tmp_path / "out").card
    assert card["meta_training"]["tasks"][0]["name"] == "mnist_mlp"
    assert card["meta_training"]["inner_steps_in_all"] is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["system"].update(name="line"), "no learned optimizer"),
        (lambda c: c["optimizer"].update(name="sgd_shedule"), "did you mean 'sgd_schedule'"),
        (lambda c: c["optimizer"].update(name="mlp"), "does not hold the theta"),
        (lambda c: c.update(depth=3), "not of this version"),
    ],
)
def test_theta_of_something_else(run, tmp_path, user_error, change, expected):
    rewrite(run, lambda metadata: change(metadata["config"]))
    assert expected in user_error("export", run, tmp_path / "out")


def test_comparison_counts_for_the_theta_that_was_compared(run, tmp_path):
    (run / "comparison").mkdir()
    (run / "comparison" / "summary.json").write_text(json.dumps(summary()))
    for step in STEPS:
        bundle = export(run, tmp_path / str(step), f"--step={step}")
        assert len(bundle.card["evaluation"]) == (4 if step == BEST else 0)
    readme = (tmp_path / str(BEST) / "README.md").read_text()
    assert "In 1 of 2 settings the best baseline has the lower mean loss: b (width x4)." in readme


def summary():
    def measure(task, axis, optimizer, loss):
        names = ("std_error", "final_loss", "final_valid_accuracy", "speedup")
        more = dict.fromkeys(names, 0.5)
        return {"task": task, "axis": axis, "optimizer": optimizer, "mean_loss": loss, **more,
                "diverged": 0 if loss else 3}  # fmt: skip

    measures = [
        measure(task, axis, optimizer, loss)
        for task, axis, losses in (("a", "", (1.0, 2.0, 3.0)), ("b", "width x4", (None, 4.0, 0.5)))
        for optimizer, loss in zip(("mine", "adam", "lion"), losses, strict=True)
    ]
    return {
        "kind": "lopt-evaluation",
        "format_version": 1,
        "num_steps": 100,
        "num_seeds": 5,
        "optimizers": [
            {"name": "mine", "kind": "learned", "theta_sha256": sha256_after(BEST)},
            {"name": "adam", "kind": "baseline"},
            {"name": "lion", "kind": "baseline"},
        ],
        "tasks": [
            {"label": "a", "axis": "", "held_out": False},
            {"label": "b", "axis": "width x4", "held_out": True},
        ],
        "measures": measures,
        "comparisons": [
            {
                "optimizer": "mine",
                "to": "adam",
                "measure": "mean_loss",
                "iqm": 0.9,
                "iqm_low": 0.8,
                "iqm_high": 1.1,
                "better": 1,
                "tasks": 1,
                "worst": 1.0,
                "worst_task": "b",
            },
            {"optimizer": "other", "to": "mine", "measure": "mean_loss"},
        ],
    }


def test_evaluation(finished, tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(summary()))
    bundle = export(finished, tmp_path / "out", f"--evaluation={tmp_path}")
    assert_is_theta(bundle, finished, BEST)
    card = bundle.card
    found = [(r["task"], r["axis"], r["optimizer"], r["held_out"]) for r in card["evaluation"]]
    assert found == [
        ("a", "", "learned", False),
        ("a", "", "adam", False),
        ("b", "width x4", "learned", True),
        ("b", "width x4", "lion", True),
    ]
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "In 1 of 2 settings the best baseline has the lower mean loss: b (width x4)." in readme
    assert "Some of its trainings diverged in b (width x4)." in readme
    assert "| adam | mean_loss | 0.9 |" in readme[readme.index("## All held out tasks") :]


@pytest.mark.parametrize("words", [("--step=2",), ()])
def test_evaluation_of_another_theta(finished, tmp_path, user_error, words):
    content = summary()
    content["optimizers"][0]["theta_sha256"] = sha256_after(2 if not words else BEST)
    (tmp_path / "summary.json").write_text(json.dumps(content))
    run = finished
    if not words:  # the checkpoint that was evaluated is gone
        run = shutil.copytree(finished, tmp_path / "run")
        shutil.rmtree(run / "checkpoints" / "2")
    line = user_error("export", run, tmp_path / "out", f"--evaluation={tmp_path}", *words)
    assert "another theta" in line
    assert ("meta-step 2;" if words else "meta-step 6 or 4;") in line


def test_inspect_and_bundle_name_the_same_theta(finished, tmp_path):
    export(finished, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    expected = sha256_after(STEPS[-1])
    assert (
        inspect(finished, bundle_config.theta_sha256)["theta_sha256"]
        == config["theta_sha256"]
        == expected
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(kind="other"),
        lambda s: s.pop("measures"),
        lambda s: s.update(tasks=3),
        lambda s: s["optimizers"].append({"name": "other", "kind": "learned"}),
        lambda s: s["measures"].append({}),
    ],
)
def test_evaluation_of_something_else(finished, tmp_path, user_error, change):
    content = summary()
    change(content)
    (tmp_path / "summary.json").write_text(json.dumps(content))
    line = user_error("export", finished, tmp_path / "out", f"--evaluation={tmp_path}")
    assert "summary.json is damaged or of another version" in line


def test_reset_puts_parts_of_theta_back(finished, tmp_path, capsys):
    bundle, first = lopt.load_bundle(finished / "bundle"), RULE.init(jax.random.key(0))
    part, *others = sorted(first)
    found = export(finished / "bundle", tmp_path / "out", f"--reset={part}").theta
    np.testing.assert_array_equal(found[part], first[part])
    assert (bundle.theta[part] != first[part]).all()
    for other in others:
        np.testing.assert_array_equal(found[other], bundle.theta[other])
    assert cli.main(["export", str(finished / "bundle"), str(tmp_path / "no"), "--reset=nil"]) == 2
    assert part in capsys.readouterr().err
    words = ["export", str(finished / "bundle"), str(tmp_path / "no"), f"--reset={part}"]
    assert cli.main([*words, "--evaluation=runs/small"]) == 2
    assert "--reset makes another optimizer than --evaluation judged" in capsys.readouterr().err
    assert cli.main(["export", str(finished), str(tmp_path / "no"), f"--reset={part}"]) == 2
    assert not (tmp_path / "no").exists()
