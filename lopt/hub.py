"""Bundles on the Hugging Face Hub, whose addresses are ``hf://user/name`` and ``hf://.../name@TAG``.

``lopt.load`` and every command that takes a bundle take such an address; ``push`` and ``pull`` are
here. They need the extra ``lopt[hub]``. Login, cache and endpoint are those of huggingface_hub
itself: ``hf auth login`` or HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE.

Only the three files of a bundle are taken from a repository, none above the limits of
``lopt.bundle_files``, and what comes is checked like any stranger's bundle.
"""

import os
import re
from pathlib import Path
from typing import Any

from lopt import bundle_files
from lopt.bundle_files import CONFIG, README, WEIGHTS, in_brief

PREFIX = "hf://"
_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_LIMITS = {
    WEIGHTS: bundle_files.MAX_WEIGHTS_BYTES,
    CONFIG: bundle_files.MAX_CONFIG_BYTES,
    README: bundle_files.MAX_CONFIG_BYTES,
}
_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


def fetch(address: str) -> Path:
    """The folder in the hub's own cache with the files of a bundle; downloads what is not there.

    Without a network the cache serves alone.

    Args:
        address: "hf://user/name", or with a branch, tag or commit "hf://user/name@v1".

    Raises:
        ValueError: the address is malformed, there is no such repository or revision, it holds no
            bundle or an oversized one, or it is neither in the cache nor to be reached.
        ModuleNotFoundError: huggingface_hub is not installed.
    """
    repo, revision = _parse(address)
    hub = _library()
    api = hub.HfApi()
    # Exceptions of the transport too, whose errors have no base in common with the hub's.
    try:
        info = api.model_info(repo, revision=revision, files_metadata=True)
    except (hub.errors.RepositoryNotFoundError, hub.errors.RevisionNotFoundError) as error:
        raise _refusal(address, error, hub) from error
    except Exception:
        info = None
    if info is not None:
        _check_sizes({file.rfilename: file.size for file in info.siblings or ()}, address)
    try:
        return Path(api.snapshot_download(repo, revision=revision, allow_patterns=list(_LIMITS)))
    except Exception as error:
        raise _refusal(address, error, hub) from error


def push(path: str | os.PathLike[str], address: str, *, private: bool = False) -> str:
    """Upload a bundle as one commit; the repository is created if there is none.

    Args:
        path: of the bundle, as ``lopt.load`` takes it.
        address: "hf://user/name".
        private: whether a new repository is.

    Returns:
        The address with the commit, which always means this very bundle.

    Raises:
        ValueError: it is no whole bundle, the address is malformed or has a revision, nobody is
            logged in, or the hub refuses or cannot be reached.
        ModuleNotFoundError: huggingface_hub is not installed.
    """
    from lopt import bundle, shipped  # which import this module

    repo, revision = _parse(address)
    if revision is not None:
        raise ValueError(f"{address}: a bundle is pushed without a revision, to {PREFIX}{repo}.")
    folder = shipped.find(path)
    bundle.read(folder)
    hub = _library()
    if hub.get_token() is None:
        raise ValueError(f"pushing to {address} needs a token of the hub: {_LOGIN}.")
    files = {name: bundle_files.read_file(folder, name, limit) for name, limit in _LIMITS.items()}
    added = [hub.CommitOperationAdd(name, content) for name, content in files.items()]
    api = hub.HfApi()
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)
        commit = api.create_commit(repo, added, commit_message="A bundle of lopt")
    except Exception as error:  # see fetch
        raise _refusal(address, error, hub) from error
    return f"{PREFIX}{repo}@{commit.oid}"


def pull(address: str, out: str | os.PathLike[str]) -> None:
    """Write the bundle at an address into a folder, after all checks of ``lopt.load``.

    Args:
        address: as for ``fetch``.
        out: a folder that is not there yet, or a bundle to replace.

    Raises:
        ValueError: as ``fetch`` and ``lopt.load``, or ``out`` is something else.
        ModuleNotFoundError: huggingface_hub is not installed.
    """
    from lopt import buckets, bundle  # bundle imports this module

    target = buckets.place(out)
    bundle.check_target(target)
    folder = fetch(address)
    bundle.read(folder)
    files = {name: bundle_files.read_file(folder, name, limit) for name, limit in _LIMITS.items()}
    bundle_files.write_folder(target, files)


def _parse(address: str) -> tuple[str, str | None]:
    """Repository and revision."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(
            f"{address!r} is not the address of a bundle on the hub, such as "
            "'hf://user/name' or 'hf://user/name@revision'."
        )
    return match["repo"], match["revision"]


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{PREFIX} needs huggingface_hub: pip install 'lopt[hub]'", name=error.name
        ) from error
    return huggingface_hub


def _check_sizes(sizes: dict[str, int | None], address: str) -> None:
    """Raise ``ValueError`` before anything is downloaded that is no bundle or too large."""
    for name, limit in _LIMITS.items():
        if name not in sizes:
            raise ValueError(f"{address} is not a bundle: the repository has no {name}.")
        if (sizes[name] or 0) > limit:
            raise ValueError(
                f"{address}: {name} has {sizes[name]:,} bytes; the limit is {limit:,}, which no "
                "export exceeds."
            )


def _refusal(address: str, error: Exception, hub: Any) -> ValueError:
    if isinstance(error, hub.errors.RevisionNotFoundError):
        return ValueError(f"{address}: the repository has no such branch, tag or commit.")
    if isinstance(error, hub.errors.RepositoryNotFoundError):
        return ValueError(
            f"{address} does not exist, or is not open to you: where it is private, {_LOGIN}."
        )
    if isinstance(error, hub.errors.LocalEntryNotFoundError):
        return ValueError(
            f"{address} is not in the cache, and {hub.constants.ENDPOINT} cannot be reached "
            f"({in_brief(error.__cause__ or error)}); try again with a network."
        )
    return ValueError(f"{address} at {hub.constants.ENDPOINT}: {in_brief(error)}")
