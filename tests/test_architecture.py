"""Who may import whom, and how large a file may grow."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("lopt", "tasks", "meta_train", "checkpoints", "configs", "launch")
MAX_LINES = 400
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
CORE = {"jax", "jaxtyping", "lopt", "numpy", "optax", "safetensors"}
"""What ``import lopt`` may need besides the standard library."""
SCRIPTS = sorted((ROOT / "tests").rglob("*.py"))


def allowed(file: Path) -> set[str]:
    """Our packages that a file may import, besides its own."""
    package, *rest = file.relative_to(ROOT).parts
    if package == "launch":
        return set(PACKAGES)
    if package == "meta_train" and rest[0].removesuffix(".py") in (
        "systems",
        "benchmark",
        "evaluation",
        "experiments",
        "report",
    ):
        return {"lopt", "tasks"}
    if package == "meta_train" and rest[0] == "run":
        return {"checkpoints"}
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


def test_files_import_only_what_they_may():
    sources = {file: file.read_text(encoding="utf-8") for file in FILES}
    found = {str(file): violations(file, source) for file, source in sources.items()}
    assert len(found) > 100
    assert {file: names for file, names in found.items() if names} == {}


def test_lopt_needs_few_packages():
    found = {
        (name, str(file.relative_to(ROOT / "lopt")))
        for file in FILES
        if file.is_relative_to(ROOT / "lopt")
        for name in imported(file.read_text(encoding="utf-8"), "lopt") - CORE
        if name not in sys.stdlib_module_names
    }
    torch = {"torch/__init__.py", "torch/mlp.py", "torch/schedule_free.py", "torch/whitening.py"}
    remote = {("huggingface_hub", "hub.py"), ("etils", "buckets.py"), ("gcsfs", "buckets.py")}
    assert found == {*remote, *(("torch", file) for file in torch)}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("lopt/x.py", "import tasks"),
        ("tasks/x.py", "def f():\n    from lopt.base import LOPTS"),
        ("meta_train/trainer.py", "from lopt import LOPTS"),
        ("meta_train/estimators/x.py", "import tasks.base"),
        ("meta_train/systems/x.py", "import launch"),
        ("meta_train/trainer.py", "import checkpoints"),
        ("meta_train/run/x.py", "from launch import errors"),
        ("checkpoints/x.py", "import meta_train"),
        ("configs/x.py", "from launch import cli"),
    ],
)
def test_forbidden_arrow_is_seen(path, source):
    assert violations(ROOT / path, source)


def test_files_are_short():
    lines = {str(file): file.read_text(encoding="utf-8").count("\n") for file in FILES + SCRIPTS}
    assert {file: n for file, n in lines.items() if n > MAX_LINES} == {}, "split a file by idea"
