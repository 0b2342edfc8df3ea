"""``config.imports``: code outside the package that registers more names.

A module or file adds entries to the registries when it is imported, for instance
``tasks.TASKS["mine"] = MyTask``; a config can then use them by name.
"""

import importlib
import importlib.util
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from launch import errors


def import_all(names: Iterable[str]) -> list[ModuleType]:
    """Import modules by name and files by path, in order.

    A file is imported under a name of its own made from its path, so that a ``tasks.py`` of the
    user's never takes the place of ours. Modules are looked up last in the current folder.

    Raises:
        UserError: no such module or file. What its code raises is passed on.
    """
    return [_import_file(x) if x.endswith(".py") else _import_module(x) for x in names]


def _import_file(name: str) -> ModuleType:
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        raise errors.UserError(f"config.imports: file {name} does not exist")
    unique = f"lopt_user_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and pickle look their module up while it is made
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


def _import_module(name: str) -> ModuleType:
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
        raise errors.UserError(
            f"config.imports: there is no module {name!r}; give a module that is installed or in "
            "this folder, or the path of a .py file"
        ) from error
    finally:
        sys.path.remove(folder)
