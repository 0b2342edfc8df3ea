import sys

import pytest

from launch import user_code
from launch.errors import UserError


def test_file_gets_a_name_of_its_own(tmp_path):
    import tasks

    (tmp_path / "tasks.py").write_text("here = True\n")
    (module,) = user_code.import_all([str(tmp_path / "tasks.py")])
    assert module.here
    assert sys.modules["tasks"] is tasks
    assert user_code.import_all([str(tmp_path / "tasks.py")]) == [module]


def test_module_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "a_module_of_the_users.py").write_text("here = True\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    (module,) = user_code.import_all(["a_module_of_the_users"])
    assert module.here
    assert sys.path == before


@pytest.mark.parametrize("name", ["no/such/file.py", "no_such_module", "os.no_such_module"])
def test_missing_code(name):
    with pytest.raises(UserError, match=r"no_such|no/such"):
        user_code.import_all([name])


def test_failing_file_is_forgotten_and_passed_on(tmp_path):
    path = tmp_path / "fails.py"
    path.write_text("raise RuntimeError('mine')\n")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="mine"):
            user_code.import_all([str(path)])


def test_missing_import_inside_the_users_module_is_passed_on(tmp_path, monkeypatch):
    (tmp_path / "imports_nothing_that_exists.py").write_text("import not_there_at_all\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        user_code.import_all(["imports_nothing_that_exists"])
