"""``lopt import``: make a bundle of a theta that another framework has written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lopt
from launch import errors, options
from lopt import published
from lopt.bundle_files import in_brief


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command's flags."""

    license: str | None = options.flag("SPDX", "of this theta; of Celo2 its authors', MIT")


HELP = f"""
usage: lopt import RULE FILE OUT [--license=SPDX]

Makes a bundle of a theta in flax's msgpack: RULE is celo2 or celo2_base (theta.state of Celo2), or
adafac_mlp or mlp (of learned_optimization). Nothing in the file is executed. What would not take
the same steps here is refused, with the reason.

{options.help_of(Arguments)}

example: lopt import celo2 theta.state my_celo2
"""


def run(arguments: Sequence[str]) -> int:
    """Import; returns the exit status."""
    asked, (rule, file, out) = options.read(
        Arguments, arguments, ("RULE", "FILE", "OUT"), "lopt import celo2 theta.state my_celo2"
    )
    with errors.mistakes(), errors.writing():
        if not Path(file).is_file():
            raise errors.UserError(f"{file} is no file")
        content = Path(file).read_bytes()
        card = published.card(rule, content, asked.license)
        optimizer, theta = published.convert(rule, _arrays(content, file))
        lopt.save(out, optimizer, theta, card=card)
    print(f"{out}: {optimizer}, licence {card['license']}")
    return errors.DONE


def _arrays(content: bytes, file: str) -> dict[str, Any]:
    """The arrays in flax's msgpack, by their places in it."""
    from flax import serialization, traverse_util

    try:
        state: Any = serialization.msgpack_restore(content)
        # learned_optimization keeps a theta beside the meta-step that it is of.
        state = state["params"] if state.keys() == {"params", "gen_id", "step"} else state
        return traverse_util.flatten_dict(state, sep="/")
    except Exception as error:  # of msgpack, numpy or flax
        raise errors.UserError(f"{file} is no msgpack of flax: {in_brief(error)}") from error
