"""What launchers have in common: what they are asked, and how they call other programs.

A launcher's arguments are its own flags, then ``--``, then the arguments of ``lopt meta-train``.
Programs are called as lists of words, never through a shell of this machine.
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from launch import errors, options
from launch.options import flag

_SET_BY_LAUNCHER = ("coordinator_address", "num_processes", "process_id", "distributed")
BUCKET = "gs://"
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")


def max_restarts(default: int) -> Any:
    """The declaration of this flag."""
    text = "tries after the first, 2 s, 4 s, 8 s ... up to 5 minutes later"
    return flag("N", text, default=default, least=0)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What every launcher is asked; a launcher's own flags are fields of a subclass."""

    words: tuple[str, ...]
    """The arguments of ``lopt meta-train``."""
    max_restarts: int = max_restarts(10)
    dry_run: bool = flag("", "print what would be run and run nothing")


Asked = TypeVar("Asked", bound=Launch)


def parse(kind: type[Asked], arguments: Sequence[str]) -> Asked:
    """Parse what stands after the launcher's name.

    Raises:
        UserError: a mistake in the flags, or arguments with which ``lopt meta-train`` cannot start.
    """
    if "--" not in arguments:
        raise errors.UserError(
            "the arguments of meta-train are missing; they come after `--`:"
            " lopt launch ... -- --config=CONFIG --workdir=DIR"
        )
    middle = list(arguments).index("--")
    words = tuple(arguments[middle + 1 :])
    asked, _ = options.read(kind, arguments[:middle], words=words)
    if words and not words[0].startswith("-"):
        raise errors.UserError(
            f"unexpected {words[0]!r} after `--`: only the flags of meta-train stand there"
        )
    for name, example in (("config", "digits_mlp_pes"), ("workdir", "runs/digits")):
        if not flag_of(words, name):
            raise errors.UserError(
                f"--{name} is missing after `--`; for instance --{name}={example}"
            )
    for name in _SET_BY_LAUNCHER:
        if any(word.partition("=")[0].lstrip("-") == name for word in words):
            raise errors.UserError(f"--{name} after `--` is set by the launcher; leave it out")
    return asked


def check_name(name: str) -> None:
    """Raise ``UserError`` unless ``--name`` is one that Google Cloud and Kubernetes take."""
    if not _NAME.fullmatch(name):
        raise errors.UserError(
            f"--name={name!r} must be at most 40 lower-case letters, digits and '-', from a letter"
            " to a letter or digit"
        )


def shared_workdir(words: Sequence[str]) -> str:
    """The work folder, which every host must reach under this very path or address.

    Raises:
        UserError: it is relative, or an address of other storage than gs://.
    """
    folder = flag_of(words, "workdir") or ""
    if folder.startswith(BUCKET):
        return folder
    if "://" in folder:
        raise errors.UserError(
            f"--workdir={folder} is no folder: of storage in clouds only gs:// can be used, as "
            "Orbax writes checkpoints to no other"
        )
    if not folder.startswith("/"):
        raise errors.UserError(
            f"--workdir={folder} is relative; every host must reach the same folder: give"
            " gs://BUCKET/FOLDER, or an absolute path on storage that all hosts share"
        )
    return folder


def flag_of(words: Sequence[str], name: str) -> str | None:
    """The value that ``name`` has in unparsed words, the last where it is given more than once."""
    value, rest = None, iter(words)
    for word in rest:
        stem, equals, given = word.partition("=")
        if stem in (f"--{name}", f"-{name}"):
            value = given if equals else next(rest, None)
    return value


def run_or_show(command: Sequence[str], document: str, how: str, dry_run: bool) -> int:
    """Run a program that reads a document from its standard input, or show both.

    Returns:
        The exit status.

    Raises:
        UserError: the program is not on the PATH; ``how`` tells how to get it.
        RunFailed: it did not end well; what it said stands on stderr.
    """
    if dry_run:
        print(f"# {shlex.join(command)}, with this on its standard input:\n{document}", end="")
        return errors.DONE
    require_program(command[0], how)
    if status := subprocess.run(command, input=document, text=True, check=False).returncode:
        raise errors.RunFailed(f"`{shlex.join(command)}` ended with status {status}")
    return errors.DONE


def require_program(name: str, how: str) -> None:
    """Raise ``UserError``, which tells how to get it, unless a program is on the PATH."""
    if shutil.which(name) is None:
        raise errors.UserError(f"{name} is not on the PATH; {how}. --dry_run works without it")


def double_dollars(words: Sequence[str]) -> list[str]:
    """Words that Kubernetes and systemd take literally.

    Both expand ``$(NAME)`` or ``${NAME}`` in a command's words although no shell is there, and read
    ``$$`` as one ``$``.
    """
    return [word.replace("$", "$$") for word in words]
