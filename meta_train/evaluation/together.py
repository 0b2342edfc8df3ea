"""Compare over the tasks of several evaluations at once, such as held_out and held_out_large.

    python -m meta_train.evaluation.together FOLDER FOLDER ...

prints the table of ``meta_train.evaluation.comparisons`` over all held-out tasks of finished
evaluations of the same bundles, and of the baselines that they have in common.
"""

import sys
from collections.abc import Sequence

from rich.console import Console

from meta_train.evaluation import Evaluation, terminal_tables
from meta_train.evaluation.comparisons import merge


def main(words: Sequence[str]) -> int:
    """Print the table; returns the exit status."""
    if not words:
        print("usage: python -m meta_train.evaluation.together FOLDER ...", file=sys.stderr)
        return 2
    try:
        merged = merge([Evaluation.load(word).summary for word in words])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    Console(width=150).print(terminal_tables.comparisons(merged["comparisons"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
