"""Versions of packages, which are noted beside what depends on them."""

import functools
from collections.abc import Iterable
from importlib import metadata


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Version of each package; None for a checkout that was never installed."""
    return {package: _version(package) for package in packages}


@functools.cache  # each look-up lists the folders of all packages, and every checkpoint asks
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
