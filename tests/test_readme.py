"""The README's code runs as it stands."""

import re
import runpy
from pathlib import Path

import jax

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run(tmp_path, monkeypatch, capsys):
    meta_train, *use = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    for number, smaller in (
        ("range(500)", "range(2)"),
        ("truncation_length=20", "truncation_length=2"),
        ("num_pairs=8", "num_pairs=1"),
    ):
        assert meta_train.count(number) == 1
        meta_train = meta_train.replace(number, smaller)
    inner = "import jax.numpy as jnp\nparams = {'w': jnp.ones((3, 2))}\ngrads = params\n"
    check = "\nassert float(abs(params['w'] - 1).max()) > 0\n"
    program = tmp_path / "program.py"
    program.write_text(meta_train + inner + "".join(use) + check, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with jax.numpy_rank_promotion("allow"):  # JAX's default, which users have
        runpy.run_path(str(program))
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_tables_name_every_registry_entry():
    import lopt
    import meta_train
    import tasks

    names = [*lopt.LOPTS, *meta_train.ESTIMATORS]
    names += [name for name in tasks.TASKS if not name.endswith("_mlp_family")]
    assert [name for name in names if f"`{name}`" not in README] == []
