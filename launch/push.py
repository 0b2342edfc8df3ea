"""``lopt push``: upload a bundle to the Hugging Face Hub."""

from collections.abc import Sequence
from dataclasses import dataclass

from launch import errors, options
from lopt import hub


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command's flags."""

    private: bool = options.flag("", "where the repository is new, nobody else sees it")


HELP = f"""
usage: lopt push BUNDLE hf://USER/NAME [--private]

Uploads a bundle, a folder or the name of one that comes with lopt, as one commit; its model card
becomes the repository's page. Log in first: `hf auth login`, or set HF_TOKEN.

{options.help_of(Arguments)}

example: lopt push my_optimizer hf://me/my_optimizer
"""


def run(arguments: Sequence[str]) -> int:
    """Push; returns the exit status."""
    asked, (bundle, address) = options.read(
        Arguments, arguments, ("BUNDLE", "ADDRESS"), "lopt push my_optimizer hf://me/my_optimizer"
    )
    with errors.mistakes():
        address = hub.push(bundle, address, private=asked.private)
    print(f"pushed; lopt.load({address!r}) always means this bundle")
    return errors.DONE
