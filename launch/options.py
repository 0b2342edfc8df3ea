"""Reading a command's arguments with absl flags.

Every call has flags of its own: nothing is added to ``absl.flags.FLAGS``, so that commands can be
called any number of times in one process, also in one that has parsed flags of its own.
"""

import re
from collections.abc import Sequence

from absl import flags

from launch import errors


def parse(
    arguments: Sequence[str], values: flags.FlagValues, positional: Sequence[str] = ()
) -> list[str]:
    """Parse ``arguments`` into ``values``.

    Args:
        arguments: the words after the subcommand.
        values: holds the flags that were defined for this call.
        positional: names of the words that may stand without a flag, in order.

    Returns:
        The words without a flag, at most as many as ``positional``.

    Raises:
        UserError: an unknown flag, a value of a wrong type, or a word too many.
    """
    try:
        words = values(["lopt", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        known = [name for name in values if "." not in name]
        raise errors.UserError(
            f"unknown flag --{error.flagname}{errors.nearest(error.flagname, known)}"
        ) from error
    except flags.Error as error:
        raise errors.UserError(_in_words(str(error))) from error
    if len(words) > len(positional):
        extra = words[len(positional)]
        raise errors.UserError(f"unexpected argument {extra!r}; flags are written --name=value")
    return words


def _in_words(message: str) -> str:
    """absl's message, with Python's talk of literals said plainly."""
    message = re.sub(r"invalid literal for int\(\).*", "wants a whole number", message)
    return re.sub(r"could not convert string to float.*", "wants a number", message)
