"""The README's code runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run(tmp_path):
    meta_train, *use = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    meta_train, replaced = re.subn(r"range\(500\)", "range(2)", meta_train)
    assert replaced == 1
    inner = "import jax.numpy as jnp\nparams = {'w': jnp.ones((3, 2))}\ngrads = params\n"
    check = "\nassert float(abs(params['w'] - 1).max()) > 0\n"
    program = tmp_path / "program.py"
    program.write_text(meta_train + inner + "".join(use) + check, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2


def test_tables_name_every_registry_entry():
    import lopt
    import meta_train
    import tasks

    names = [*lopt.LOPTS, *meta_train.ESTIMATORS]
    names += [name for name in tasks.TASKS if not name.endswith("_mlp_family")]
    assert [name for name in names if f"`{name}`" not in README] == []
