"""``lopt calibrate``: one setting of each baseline for many tasks."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from configs.base import RunConfig
from launch import errors, options, overrides, signals, user_code, workdir
from launch.options import flag

if TYPE_CHECKING:
    from etils import epath


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What is asked besides the config."""

    workdir: str = flag(
        "DIR",
        "where it goes: calibrated.json (settings, and how they were found), parts/ (finished "
        "trials, from which the same command resumes)",
        example="runs/calibrated",
    )
    baselines: tuple[str, ...] = flag(
        "NAMES", "of `lopt list baselines`, which are the default, or of Optax", default=()
    )
    num_steps: int = flag("N", "inner steps of every training run", default=1000)
    num_seeds: int = flag("N", "training runs of every trial on each task", default=5)
    num_grid: int = flag("N", "trials of the learning rate alone, over its range", default=10)
    num_random: int = flag(
        "N",
        "random trials of all hyperparameters near the best learning rate",
        default=10,
        least=0,
    )
    workers: int | None = flag("N", "tasks at a time; by default one per core of a CPU, else one")


_CONFIG = {
    "--config=CONFIG": "a meta-training config; each of its tasks counts alike",
    "--config.FIELD=VALUE": "change one field: --config.tasks=patches_mlp_family,bigram_family",
}
HELP = f"""
usage: lopt calibrate --config=CONFIG --workdir=DIR [--FLAG=VALUE ...]

Finds for each baseline the ONE setting of its hyperparameters that is best over many tasks: what it
is worth where nobody tunes it. In `lopt evaluate` a baseline with "calibrated": DIR has that
setting.

{options.help_of(Arguments, _CONFIG)}

The lowest mean, over tasks and seeds, of log(mean training loss / first loss of the run) wins. A
ratio below 1e-6 counts as that, one above 10 and a run that diverges as 10. Exit status: 0 done, 75
stopped by Ctrl-C or SIGTERM, run it again to resume; 2 your mistake, 1 a failure.

example: lopt calibrate --config=general --workdir=runs/calibrated
"""

_PARTS = "parts"


def run(arguments: Sequence[str]) -> int:
    """Calibrate; returns the exit status."""
    config, rest = overrides.resolve(arguments, RunConfig, "general")
    asked, _ = options.read(Arguments, rest)
    folder = workdir.prepare(asked.workdir)
    command = shlex.join(["lopt", "calibrate", *_without_workdir(arguments)])

    from meta_train import process

    process.keep_compiled()
    with signals.listen():
        user_code.import_all(config.imports)
        _calibrate(config, asked, command, folder)
    print(f"done: {folder / 'calibrated.json'}", flush=True)
    return errors.DONE


def _calibrate(config: RunConfig, asked: Arguments, command: str, folder: "epath.Path") -> None:
    """Calibrate every baseline; those that are finished are in calibrated.json."""
    import jax
    import joblib

    from configs import Named
    from launch import build
    from launch.evaluate.from_config import CALIBRATED, make_baselines
    from meta_train.evaluation import BASELINES, Budget, Store
    from meta_train.evaluation.calibration import Calibration, NoLogarithm
    from meta_train.evaluation.result_store import write_atomically

    names = asked.baselines or tuple(BASELINES)
    baselines = make_baselines({name: Named(name=name) for name in names})
    tasks, _ = build.make_tasks(config.tasks, "tasks", config)
    if not tasks:
        raise errors.UserError("config.tasks is empty; name a task: --config.tasks=digits_mlp")
    workers = asked.workers or (joblib.cpu_count() if jax.default_backend() == "cpu" else 1)
    budget = Budget(asked.num_grid, asked.num_random)
    store = Store([folder / _PARTS])
    over = Calibration(tasks, asked.num_steps, asked.num_seeds, budget, config.seed, store)
    entries = {}
    with workdir.lock(folder), ThreadPoolExecutor(workers) as pool, errors.writing():
        for one in baselines:
            with errors.mistakes("config.tasks.", NoLogarithm):
                found = over.of(one, pool.map)
            entries[one.name] = over.record(found) | {"command": command}
            print(_line(one.name, entries[one.name]), flush=True)
            write_atomically(folder / CALIBRATED, (json.dumps(entries, indent=1) + "\n").encode())


def _line(name: str, entry: Mapping[str, Any]) -> str:
    values = ", ".join(f"{key} {value:.4g}" for key, value in entry["hyperparameters"].items())
    edge = "; the learning rate is at the edge of its range" if entry["at_edge"] else ""
    loss = f"{math.exp(entry['score']):.4g} of the first loss"
    return f"{name}: {values}: {loss} over {len(entry['tasks'])} tasks{edge}"


def _without_workdir(arguments: Sequence[str]) -> list[str]:
    """The words that say what is done; not where, which is about a machine."""
    kept, words = [], iter(arguments)
    for word in words:
        flag, equals, _ = word.partition("=")
        if flag.lstrip("-") != "workdir":
            kept.append(word)
        elif not equals:
            next(words, None)
    return kept
