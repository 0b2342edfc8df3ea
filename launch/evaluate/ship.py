"""Make the tuned hyperparameters that come with the package.

    lopt evaluate --config=held_out --config.tuning.use_shipped=False --workdir=FOLDER
    python -m launch.evaluate.ship FOLDER/parts

writes those of the packaged suites for this version of JAX into launch/evaluate/shipped. The first
command judges the baselines alone, and is to be repeated with --config=held_out_large and, for
both, with --config.tuning.criterion=final_valid_loss; the second takes several folders, and
~/.cache/lopt/evaluation, where all results are, will do as well. What is shipped already and still
fits is kept. To be done again whenever a task of a suite, a search space or the budget changes.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from configs.held_out import EvaluationConfig
from launch import configuration
from launch.evaluate.from_config import SHIPPED, make_baselines, make_plan, make_suite
from meta_train.evaluation import Store, identity
from meta_train.evaluation.judge import CRITERIA, tuning_key
from meta_train.evaluation.result_store import write_atomically


class Search(NamedTuple):
    """A search that a suite asks for."""

    label: str
    """The label of the task in the suite."""
    task: str
    """The name of the task in the registry."""
    baseline: str
    criterion: str
    key: dict[str, Any]


def searches(suite: str) -> Iterator[Search]:
    """All searches of a packaged suite, by every criterion."""
    config = configuration.load(suite, EvaluationConfig)
    plan = make_plan(config)
    for workload in make_suite(config):
        if workload.axis:
            continue
        print_ = identity.Fingerprint(workload.task)
        for baseline in make_baselines(config.baselines):
            for criterion in CRITERIA if baseline.space else ():
                by = dataclasses.replace(plan, criterion=criterion)
                key = tuning_key(baseline, workload, print_, by)
                yield Search(workload.label, workload.name, baseline.name, criterion, key)


def main(words: Sequence[str]) -> int:
    """Write a file for each suite, and say what the folders lack; returns the exit status."""
    if not words:
        print("usage: python -m launch.evaluate.ship FOLDER ...", file=sys.stderr)
        return 2
    store = Store([Path(word) for word in words], shipped=SHIPPED)
    for suite in configuration.SUITES:
        entries, missing = [], []
        for search in searches(suite):
            value = store.load_json(search.key) or store.load_shipped(search.key)
            if value is None:
                missing.append(f"{search.label} {search.baseline} {search.criterion}")
            else:
                entries.append({"key": search.key, "value": value})
        if not entries:
            print(f"no search of {suite} is there")
            continue
        target = SHIPPED / f"{suite}-jax{identity.tuning_versions()['jax']}.json"
        entries.sort(key=lambda entry: identity.canonical(entry["key"]))
        lines = ",\n".join(
            json.dumps(entry, separators=(",", ":"), default=str) for entry in entries
        )
        write_atomically(target, f"[\n{lines}\n]\n".encode())
        print(f"{len(entries)} searches in {target}; missing: {', '.join(missing) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
