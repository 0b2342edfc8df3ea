"""The code of README and docs/use.md runs as it stands; the catalogue names everything."""

import re
import runpy
from pathlib import Path

import jax

ROOT = Path(__file__).resolve().parent.parent
README, USE, CATALOGUE = (
    (ROOT / page).read_text(encoding="utf-8")
    for page in ("README.md", "docs/use.md", "docs/catalogue.md")
)
PYTHON = r"```python\n(.*?)```"


def test_python_blocks_run(tmp_path, monkeypatch, capsys):
    use, meta_train, _ = re.findall(PYTHON, README, flags=re.DOTALL)
    (options,) = re.findall(PYTHON, USE, flags=re.DOTALL)
    for number, smaller in (
        ("meta_steps=500", "meta_steps=2"),
        ("truncation_length=20", "truncation_length=2"),
        ("num_pairs=8", "num_pairs=1"),
        ("% 100", "% 1"),
    ):
        assert meta_train.count(number) == 1
        meta_train = meta_train.replace(number, smaller)
    program = tmp_path / "program.py"
    program.write_text("\n".join((use, options, meta_train)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with jax.numpy_rank_promotion("allow"):  # JAX's default, which users have
        runpy.run_path(str(program))
    loss, *meta_steps = capsys.readouterr().out.splitlines()
    assert float(loss) < 0.05
    assert len(meta_steps) == 2


def test_the_evaluation_is_that_of_the_example():
    *_, evaluation = re.findall(PYTHON, README, flags=re.DOTALL)
    assert (ROOT / "examples" / "evaluate.py").read_text(encoding="utf-8").endswith(evaluation)


def test_tables_name_every_registry_entry():
    import lopt
    import meta_train
    import tasks

    names = [*lopt.LOPTS, *meta_train.SYSTEMS, *meta_train.ESTIMATORS]
    names += [name for name in tasks.TASKS if not name.endswith("_mlp_family")]
    assert [name for name in names if f"`{name}`" not in CATALOGUE] == []
