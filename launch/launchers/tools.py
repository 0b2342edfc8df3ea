"""Calling other programs: as lists of words, never through a shell of this machine."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence

from launch import errors


def require(name: str, how: str) -> None:
    """Check that a program is there.

    Args:
        name: the program.
        how: how to get it.

    Raises:
        UserError: it is not on the PATH.
    """
    if shutil.which(name) is None:
        raise errors.UserError(f"{name} is not on the PATH; {how}. --dry_run works without it")


def shown(command: Sequence[str]) -> str:
    """A command as one can paste it into a shell."""
    return shlex.join(command)


def submit(command: Sequence[str], document: str) -> None:
    """Run a program that reads a document from its standard input.

    Raises:
        RunFailed: it did not end well; what it said stands on stderr.
    """
    status = subprocess.run(command, input=document, text=True, check=False).returncode
    if status:
        raise errors.RunFailed(f"`{shown(command)}` ended with status {status}")


def double_dollars(words: Sequence[str]) -> list[str]:
    """Words that Kubernetes and systemd take literally.

    Both expand ``$(NAME)`` or ``${NAME}`` in a command's words although no shell is there, and read
    ``$$`` as one ``$``.
    """
    return [word.replace("$", "$$") for word in words]
