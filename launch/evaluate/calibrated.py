"""The settings that ``lopt calibrate`` has found: those of the package, and those of a folder."""

import json
from pathlib import Path

from launch import errors

SHIPPED = Path(__file__).resolve().parent / "shipped"
CALIBRATED = "calibrated.json"


def setting(name: str, source: object, where: str) -> dict[str, float]:
    """The hyperparameters of a baseline at its calibrated setting.

    Args:
        name: of the baseline.
        source: True for what comes with the package, else the path of calibrated.json or of its
            folder.
        where: section of the config, for messages.

    Raises:
        UserError: there is no such file, or no such baseline in it.
    """
    if source is not True and not isinstance(source, str):
        raise errors.UserError(
            f"config.{where}.calibrated = {source!r} must be True for the setting that comes with "
            "the package, or the path of a calibrated.json or of its folder"
        )
    path = SHIPPED if source is True else Path(source).expanduser()
    path = path / CALIBRATED if path.is_dir() else path
    try:
        entries = json.loads(path.read_bytes())
        settings = {key: dict(entry["hyperparameters"]) for key, entry in entries.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise errors.UserError(
            f"config.{where}.calibrated: {path} is no file of lopt calibrate ({reason})"
        ) from error
    if name not in settings:
        raise errors.UserError(
            f"config.{where}.calibrated: {path.name} has no {name} (it has {', '.join(settings)}); "
            f"find its setting: lopt calibrate --config=general --baselines={name} "
            "--workdir=DIR, then calibrated='DIR'"
        )
    return settings[name]
