import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest

from launch import cli, list_names

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_lists_every_command(capsys, word):
    assert cli.main([word]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_short_help(capsys, command):
    assert cli.main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: lopt {command}")
    assert len(shown.splitlines()) <= 25


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "no command given"),
        (("meta-trian",), "did you mean 'meta-train'?"),
        (("list", "optimisers"), "did you mean 'optimizers'?"),
        (("list", "tasks", "more"), "unexpected argument 'more'"),
        (("list", "--foo"), "unknown flag --foo"),
        (("data",), "say what to do"),
        (("data", "lst"), "did you mean 'list'?"),
        (("data", "prepare"), "say which data set"),
        (("data", "prepare", "mnits"), "did you mean"),
        (("data", "list", "--data_dri=x"), "did you mean 'data_dir'?"),
    ],
)
def test_mistake_is_one_line(user_error, arguments, expected):
    assert expected in user_error(*arguments)


@pytest.mark.parametrize("kind", list_names.KINDS)
def test_list_shows_every_name_with_a_summary(capsys, kind):
    names = list(list_names.KINDS[kind]())
    assert cli.main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names
    assert [line for line in lines if not re.match(r"\S+ +[^ (]\S* \S+ ", line)] == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("bundles", "general"),
        ("optimizers", "mlp"),
        ("tasks", "quadratic"),
        ("systems", "lorenz"),
        ("estimators", "pes"),
        ("baselines", "adam"),
        ("configs", "digits_mlp_pes"),
        ("experiments", "toy_regression"),
    ],
)
def test_kinds_of_names(kind, name):
    assert name in list_names.KINDS[kind]()


def test_list_shows_all_kinds(capsys):
    assert cli.main(["list"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line[:-1] for line in shown if not line.startswith(" ")] == list(list_names.KINDS)


def test_data_list_shows_what_is_there(capsys, tmp_path):
    assert cli.main(["data", "list", f"--data_dir={tmp_path}"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "1,797" in rows["digits"]
    assert "missing" in rows["mnist"]


def test_raw_files_that_are_not_there(user_error, tmp_path):
    line = user_error(
        "data", "prepare", "mnist", f"--from_dir={tmp_path}", f"--data_dir={tmp_path}"
    )
    assert str(tmp_path) in line


def test_interrupt_is_tidy(capsys, monkeypatch):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(list_names, "run", interrupt)
    assert cli.main(["list"]) == 1
    assert capsys.readouterr().err == "lopt: interrupted\n"


def test_defect_is_not_disguised_as_a_mistake(monkeypatch):
    def fail(arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(list_names, "run", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["list"])


def test_process_returns_the_status(lopt_command, tmp_path):
    good = lopt_command("--help", cwd=tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    bad = lopt_command("foo", cwd=tmp_path)
    assert bad.returncode == 2
    assert len(bad.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        ("meta-train", "flax", "train"),
        ("meta-train", "tensorflow_datasets", "data"),
        ("data", "flax", "data"),
        ("report", "matplotlib", "report"),
        ("report", "jinja2", "report"),
        ("evaluate", "mujoco", "control"),
    ],
)
def test_missing_extra_is_named(command, missing, extra, tmp_path, monkeypatch, user_error):
    (tmp_path / "needs_an_extra.py").write_text(f"import {missing}.part\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, command, ("needs_an_extra", ""))
    monkeypatch.setitem(sys.modules, missing, None)
    expected = f"`lopt {command}` needs {missing}, which is not installed; run pip install"
    assert f"{expected} 'lopt[{extra}]'" in user_error(command)


def test_missing_module_of_a_user_is_a_defect(tmp_path, monkeypatch):
    (tmp_path / "needs_a_module.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "list", ("needs_a_module", ""))
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        cli.main(["list"])


def test_extras_are_those_of_the_package():
    """Everything that an extra brings is known to the command, and nothing that is always there."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    modules = {}  # by distribution
    for module, distributions in importlib.metadata.packages_distributions().items():
        for distribution in distributions:
            modules.setdefault(canonical(distribution), set()).add(module)
    always = set().union(*(modules[canonical(name)] for name in project["dependencies"]))
    for extra, brought in cli.EXTRAS.items():
        wanted = map(canonical, project["optional-dependencies"][extra])
        for name in set(wanted) & modules.keys() - {"lopt", "absl-py"}:  # optax brings absl
            assert modules[name] & set(brought), name
        assert not always & set(brought)


def canonical(requirement):
    """The distribution's name in its normal form."""
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()
