"""Compare over the tasks of several evaluations at once, such as held_out and held_out_large.

    python -m launch.evaluate.together FOLDER FOLDER ...

prints the table of ``meta_train.evaluation.comparisons`` over all held-out tasks of finished
evaluations of the same bundles, and of the baselines that they have in common.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from launch import errors
from meta_train.evaluation import Evaluation, tables
from meta_train.evaluation.comparisons import compare


def merge(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What ``compare`` takes, of all tasks.

    Raises:
        UserError: a task in two of them, other numbers of seeds, or a summary of before there were
            comparisons.
    """
    if any("comparisons" not in x for x in summaries):
        raise errors.UserError("an evaluation is of an older version of lopt; evaluate again")
    if len({x["num_seeds"] for x in summaries}) > 1:
        raise errors.UserError("the evaluations have different numbers of seeds")
    labels = [x["label"] for one in summaries for x in one["tasks"] if not x["axis"]]
    if twice := {x for x in labels if labels.count(x) > 1}:
        raise errors.UserError(f"task {min(twice)} is in two of the evaluations")
    first, *others = summaries
    shared = [x for x in first["optimizers"] if all(_has(one, x) for one in others)]
    names = {x["name"] for x in shared}
    return {
        "tasks": [x for one in summaries for x in one["tasks"]],
        "measures": [x for one in summaries for x in one["measures"] if x["optimizer"] in names],
        "optimizers": shared,
        "reference": [x for x in first["reference"] if x in names],
    }


def _has(summary: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether it has the same optimizer: the same theta, or the same words about a baseline."""
    fields = ("name", "kind", "description", "theta_sha256")
    return any(all(x.get(y) == entry.get(y) for y in fields) for x in summary["optimizers"])


def main(words: Sequence[str]) -> int:
    """Print the table; returns the exit status."""
    if not words:
        print("usage: python -m launch.evaluate.together FOLDER ...", file=sys.stderr)
        return errors.USER_ERROR
    try:
        with errors.from_library():
            found = [Evaluation.load(word) for word in words]
        merged = merge([x.summary for x in found])
    except errors.UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return errors.USER_ERROR
    Console(width=150).print(tables.comparisons(compare(merged)))
    return errors.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
