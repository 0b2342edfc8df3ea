"""``import lopt`` inside somebody else's project."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
OURS = ("tasks", "meta_train", "checkpoints", "configs", "launch")
PROGRAM = """
import sys
import lopt
import jax
assert not jax.live_arrays(), "import created arrays"
loaded = {name.split(".")[0] for name in sys.modules}
unwanted = {"tensorflow", "tasks", "meta_train", "checkpoints", "configs", "launch", "flax"}
assert not loaded & unwanted, loaded & unwanted
print(sorted(lopt.LOPTS))
"""


def test_import_is_isolated_and_cheap(tmp_path):
    for name in OURS:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')\n")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # The script's own folder comes first on sys.path, ahead of this project.
    done = subprocess.run(
        [sys.executable, str(program), "--unknown-flag"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "adafac_mlp" in done.stdout
