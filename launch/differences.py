"""In what two configs of one run differ, and what it means to resume all the same."""

import json
from collections.abc import Iterable
from typing import Any

from configs.base import RunConfig

FREE = (
    "meta_steps",
    "steps_per_dispatch",
    "log_every_steps",
    "writers",
    "profile",
    "data_dir",
    "imports",
    "devices",
    "checkpoint",
    "comparison",
    "bad_steps.max_in_a_row",
)
"""Fields, and sections, that a resumed run may change: they do not enter the meta-steps.

``meta_steps`` does where the learning rate follows a schedule, which stretches to the new length.
"""

_ABSENT = "(absent)"


def differences(saved: RunConfig, current: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Fields that differ, apart from the free ones: path -> (saved, current)."""
    # A saved config knows lists but no tuples.
    before, now = (json.loads(json.dumps(config.flat())) for config in (saved, current))
    return {
        path: (before.get(path, _ABSENT), now.get(path, _ABSENT))
        for path in sorted({*before, *now})
        if not _within(path, FREE) and before.get(path, _ABSENT) != now.get(path, _ABSENT)
    }


def describe(changed: dict[str, tuple[Any, Any]]) -> str:
    """All differences in one line."""
    return "; ".join(f"config.{path}: {old!r} -> {new!r}" for path, (old, new) in changed.items())


def keeps_particles(changed: Iterable[str]) -> bool:
    """Whether particles, accumulators and clocks stay valid under these changes."""
    return all(
        _within(path, ("meta_optimizer", "bad_steps", "meta_validation")) for path in changed
    )


def consequences(changed: Iterable[str]) -> list[str]:
    """What resuming with these changes means, in a line for each."""
    lines = ["theta and the number of the meta-step are kept"]
    if keeps_particles(changed):
        lines.append("particles, accumulators and clocks are kept")
    else:
        lines.append("all particles start new episodes, with new accumulators and staggered clocks")
    lines.append(
        "the meta-optimizer's state is kept where it has the same arrays, else it starts afresh"
    )
    lines.append("the best meta-validation so far is forgotten")
    return lines


def _within(path: str, sections: Iterable[str]) -> bool:
    return any(path == section or path.startswith(f"{section}.") for section in sections)
