"""Who may import whom, and how large a file may grow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("lopt", "tasks", "meta_train", "checkpoints", "configs", "launch")
MAX_LINES = 400
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
SCRIPTS = sorted((ROOT / "tests").rglob("*.py"))


def allowed(file: Path) -> set[str]:
    """Our packages that a file may import, besides its own."""
    package, *rest = file.relative_to(ROOT).parts
    if package == "launch":
        return set(PACKAGES)
    if package == "meta_train" and rest[0].removesuffix(".py") in ("systems", "evaluation"):
        return {"lopt", "tasks"}
    return set()


def imported(source: str, package: str) -> set[str]:
    """Top-level names of everything that a file imports; relative imports are its package's."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(package if node.level else (node.module or "").split(".")[0])
    return names


def violations(file: Path, source: str) -> set[str]:
    """Packages of ours that a file imports and may not."""
    package = file.relative_to(ROOT).parts[0]
    return (imported(source, package) & set(PACKAGES)) - allowed(file) - {package}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_file_imports_only_what_it_may(file):
    assert not violations(file, file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("lopt/x.py", "import tasks"),
        ("tasks/x.py", "def f():\n    from lopt.base import LOPTS"),
        ("meta_train/trainer.py", "from lopt import LOPTS"),
        ("meta_train/estimators/x.py", "import tasks.base"),
        ("meta_train/systems/x.py", "import launch"),
        ("checkpoints/x.py", "import meta_train"),
        ("configs/x.py", "from launch import cli"),
    ],
)
def test_forbidden_arrow_is_seen(path, source):
    assert violations(ROOT / path, source)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_private_part_of_jax(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        module = getattr(node, "module", None) if isinstance(node, ast.ImportFrom) else None
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [module]
        for name in names:
            assert not (name or "").startswith(("jax.core", "jax._src"))


@pytest.mark.parametrize("file", FILES + SCRIPTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_file_is_short(file):
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines; split the file by idea"
