"""``lopt pull``: download a bundle from the Hugging Face Hub."""

from collections.abc import Sequence

from launch import errors, options

HELP = """
usage: lopt pull hf://USER/NAME[@REVISION] OUT

Writes the bundle at that address, a branch, tag or commit of it, into the folder OUT, after the
checks that every stranger's bundle meets. lopt.load takes the address itself, too.

example: lopt pull hf://me/my_optimizer@v1 my_optimizer
"""

_EXAMPLE = "lopt pull hf://me/my_optimizer@v1 my_optimizer"


def run(arguments: Sequence[str]) -> int:
    """Pull; returns the exit status."""
    from lopt import hub

    _, (address, out) = options.read(options.NoFlags, arguments, ("ADDRESS", "OUT"), _EXAMPLE)
    with errors.reading(), errors.writing():
        hub.pull(address, out)
    print(f"{out}: the bundle at {address}")
    return errors.DONE
