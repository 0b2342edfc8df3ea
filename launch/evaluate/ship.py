"""Make the tuned hyperparameters that come with the package.

    lopt evaluate --config=held_out --config.tuning.use_shipped=False --workdir=FOLDER
    python -m launch.evaluate.ship FOLDER/parts

writes those of the held-out suite for this version of JAX into launch/evaluate/shipped. The first
command judges the baselines alone; a folder of cached results, ~/.cache/lopt/evaluation, will do as
well. To be repeated whenever a task of the suite, a search space or the budget changes.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch import configuration
from launch.config_kinds import EVALUATE
from launch.construct import plain
from launch.evaluate import identity
from launch.evaluate.settings import make_settings
from launch.evaluate.store import SHIPPED, write_atomically


def collect(folder: Path) -> list[dict[str, Any]]:
    """Searches on the held-out suite, by these versions, among the results in a folder."""
    fields = plain(configuration.load("held_out", EVALUATE).to_dict())
    prints = {identity.fingerprint(group[0].task) for group in make_settings(fields)}
    versions = identity.tuning_versions()
    entries = [json.loads(path.read_bytes()) for path in folder.glob("*.json")]
    wanted = [
        entry
        for entry in entries
        if entry["key"]["task"] in prints and entry["key"]["versions"] == versions
    ]
    return sorted(wanted, key=lambda entry: identity.canonical(entry["key"]))


def main(words: Sequence[str]) -> int:
    """Write the file; returns the exit status."""
    if len(words) != 1:
        print("usage: python -m launch.evaluate.ship FOLDER", file=sys.stderr)
        return 2
    entries = collect(Path(words[0]))
    target = SHIPPED / f"held_out-jax{identity.tuning_versions()['jax']}.json"
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    write_atomically(target, f"[\n{lines}\n]\n".encode())
    print(f"{len(entries)} searches in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
