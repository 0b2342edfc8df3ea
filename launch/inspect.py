"""``lopt inspect``: what a work folder or a bundle holds, and whether it is whole."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launch import errors, options

if TYPE_CHECKING:
    from etils import epath


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command's flags."""

    json: bool = options.flag(
        "",
        "one JSON object: steps, latest_step (the newest that is whole), damaged, "
        "theta_sha256 (of latest_step: over the float32 bytes of theta's leaves in flattened "
        "order), details of every step, meta_steps done and wanted, meta_loss, versions and "
        "config; of a bundle its folder, optimizer, theta_sha256 and card",
    )


HELP = f"""
usage: lopt inspect WORKDIR|BUNDLE [--json]

Lists the checkpoints of a run, reads every one of their files and compares it with its checksum.
Of a bundle, which may be one that comes with lopt (`lopt list bundles`): what it is.

{options.help_of(Arguments)}

example: lopt inspect runs/digits
"""

_CARD = ("title", "description", "horizon", "command", "license")
"""What of a bundle's card is printed."""


def run(arguments: Sequence[str]) -> int:
    """Inspect a work folder; returns the exit status."""
    asked, (given,) = options.read(
        Arguments, arguments, ("WORKDIR",), example="lopt inspect runs/digits"
    )
    from launch import bundles
    from lopt.bundle_config import theta_sha256
    from lopt.bundle_files import WEIGHTS
    from meta_train.run import inspection

    folder = bundles.locate(given)
    is_bundle = (folder / WEIGHTS).exists()
    with errors.mistakes("", inspection.NoRun):
        inspect = functools.partial(inspection.inspect, digest=theta_sha256)
        report = inspect_bundle(folder) if is_bundle else inspect(folder)
    if asked.json:
        print(json.dumps(report, indent=2))
    elif is_bundle:
        print(f"{folder}: {report['optimizer']}\ntheta sha256 {report['theta_sha256']}")
        print("\n".join(f"{name}: {report['card'].get(name)}" for name in _CARD))
    else:
        inspection.show(folder, report)
    return errors.DONE


def inspect_bundle(folder: "epath.Path") -> dict[str, Any]:
    """What ``--json`` prints of a bundle.

    Raises:
        UserError: it is damaged.
    """
    import jax

    from launch import bundles
    from lopt.bundle_config import theta_sha256

    _, bundle = bundles.load(str(folder))
    return {
        "bundle": str(folder),
        "optimizer": repr(bundle.optimizer),
        "theta_sha256": theta_sha256(jax.tree.leaves(bundle.theta)),
        "card": bundle.card,
    }
