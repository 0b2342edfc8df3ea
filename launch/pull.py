"""``lopt pull``: download a bundle from the Hugging Face Hub."""

from collections.abc import Sequence

from launch import errors, options
from lopt import hub

HELP = """
usage: lopt pull hf://USER/NAME[@REVISION] OUT

Writes the bundle at that address, a branch, tag or commit, into the folder OUT, after all checks.

example: lopt pull hf://me/my_optimizer@v1 my_optimizer
"""


def run(arguments: Sequence[str]) -> int:
    """Pull; returns the exit status."""
    _, (address, out) = options.read(
        options.NoFlags,
        arguments,
        ("ADDRESS", "OUT"),
        "lopt pull hf://me/my_optimizer my_optimizer",
    )
    with errors.mistakes("", ValueError, OSError):
        hub.pull(address, out)
    print(f"{out}: the bundle at {address}")
    return errors.DONE
