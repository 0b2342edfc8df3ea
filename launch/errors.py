"""What a command says and returns when it cannot continue.

Exit statuses of every command are here and nowhere else.
"""

import contextlib
import difflib
from collections.abc import Iterable, Iterator

DONE = 0
"""The command did what was asked."""
FAILED = 1
"""Anything that is not the user's mistake: a defect, an interrupt, a full disk."""
USER_ERROR = 2
"""The user's mistake; one line on stderr says what to change."""
STOPPED = 75
"""Stopped by a signal after saving; the same command resumes from there."""


class UserError(Exception):
    """A mistake in what the user asked for.

    The message is shown as one line without a traceback, so it names the value, the limit or the
    possible values, and the remedy.
    """


class RunFailed(Exception):
    """A run that cannot continue, or did not end well, through no mistake of the user.

    Shown like a ``UserError``, with exit status 1.
    """


@contextlib.contextmanager
def mistakes(where: str = "", *kinds: type[Exception]) -> Iterator[None]:
    """Show what the library refuses as the user's mistake.

    Args:
        where: begins the message, such as "config.estimator: ".
        kinds: of errors; ``ValueError`` where none is named.

    Raises:
        UserError: instead of an error of these kinds.
    """
    refused = kinds or (ValueError,)
    try:
        yield
    except refused as error:
        raise UserError(f"{where}{error}") from error


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Show a result that the library cannot write as a failure of the run.

    Raises:
        RunFailed: instead of ``NotWritten``.
    """
    from meta_train.evaluation.result_store import NotWritten  # imports JAX

    try:
        yield
    except NotWritten as error:
        raise RunFailed(
            f"{error.filename} cannot be written ({error.strerror}); what is finished is kept, and "
            "the same command resumes from there"
        ) from error


def nearest(name: object, known: Iterable[str]) -> str:
    """Point to the likeliest meant names: "; did you mean 'pes'?", or a list, or "".

    Args:
        name: what was given.
        known: the names that exist.
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=2, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(repr(match) for match in close)}?"
    return f"; known are: {', '.join(names)}" if names else ""


def unknown(kind: str, name: object, known: Iterable[str]) -> UserError:
    """An error for a name that is in no registry.

    Args:
        kind: what the name should be, such as "estimator".
        name: what was given.
        known: the names that exist.
    """
    return UserError(f"unknown {kind} {name!r}{nearest(name, known)}")


def one_line(message: object) -> str:
    """The message with every run of white space, line breaks included, as one space."""
    return " ".join(str(message).split())
