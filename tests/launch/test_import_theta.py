"""``lopt import``: files of other frameworks, whose steps tests/lopt/test_published.py holds."""

import pickle
import sys

import jax
import numpy as np
import pytest
from flax import serialization, traverse_util

import lopt
from launch import cli
from tests.lopt.test_published import celo2_file, other_file


def write(path, arrays, within=None):
    nested = traverse_util.unflatten_dict(arrays, sep="/")
    path.write_bytes(
        serialization.to_bytes(nested if within is None else within | {"params": nested})
    )
    return path


def test_celo2_becomes_a_bundle(tmp_path, capsys):
    file, out = write(tmp_path / "theta.state", celo2_file()), tmp_path / "out"
    assert cli.main(["import", "celo2", str(file), str(out)]) == 0
    assert "Celo2Lopt(hidden=(8, 8), learning_rate=0.001), licence MIT" in capsys.readouterr().out
    bundle = lopt.load_bundle(out)
    assert isinstance(bundle.optimizer, lopt.Celo2Lopt)
    assert sum(x.size for x in jax.tree.leaves(bundle.theta)) == 347
    assert bundle.card["license"] == "MIT"
    assert bundle.card["source"]["framework"] == "https://github.com/amoudgl/celo2"
    readme = (out / "README.md").read_text()
    assert readme.startswith("---\nlicense: mit\n")
    assert "Abhinav Moudgil" in readme
    params = {"w": np.ones((4, 3), np.float32)}
    tx = lopt.load(out, num_steps=10)
    steps, _ = jax.jit(tx.update)(params, tx.init(params), params)
    assert np.all(np.isfinite(steps["w"]))


def test_a_checkpoint_of_learned_optimization(tmp_path):
    file = tmp_path / "params"
    write(file, other_file("adafac_mlp"), within={"gen_id": "", "step": 7})
    words = ["import", "adafac_mlp", str(file), str(tmp_path / "out")]
    assert cli.main([*words, "--license=Apache-2.0"]) == 0
    theta = lopt.load_bundle(tmp_path / "out").theta
    np.testing.assert_array_equal(theta["rms_decays"], other_file("adafac_mlp")["rms_decays"])


class Runs:
    """Pickled, it would run code where it is loaded."""

    def __reduce__(self):
        return sys.exit, (3,)


@pytest.mark.parametrize(
    ("rule", "content", "expected"),
    [
        ("celo2", {"ff_mod_stack/~/b0": np.ones((1, 4), np.float32)}, "is missing; it holds"),
        ("celo2", other_file("mlp"), "this is no theta of celo2"),
        ("celo2", celo2_file() | {"more": np.float32(1)}, "'more' is float32 [], but"),
        ("celo2", celo2_file() | {"ff_mod_stack/~/b1": np.full(8, np.nan, np.float32)}, "finite"),
        ("velo", celo2_file(), "'velo' cannot be imported: velo tells a tensor"),
        ("celo3", celo2_file(), "did you mean 'celo2'?"),
        ("mlp", other_file("mlp"), "say under which licence this theta of mlp is"),
        ("celo2", b"", "is no msgpack of flax"),
        ("celo2", b"not at all", "is no msgpack of flax"),
        ("celo2", pickle.dumps(Runs()), "is no msgpack of flax"),
        ("celo2", serialization.to_bytes(7), "is no msgpack of flax"),
        ("celo2", None, "is no file"),
    ],
)
def test_refused_in_one_line(rule, content, expected, tmp_path, user_error):
    file = tmp_path / "theta.state"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        write(file, content)
    assert expected in user_error("import", rule, file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_kept(tmp_path, user_error):
    file = write(tmp_path / "theta.state", celo2_file())
    assert "is not overwritten" in user_error("import", "celo2", file, tmp_path)
    assert "OUT is missing" in user_error("import", "celo2", file)
