"""Random damage to a run's folder and config: a clear error or a correct resume, nothing else."""

import inspect
import json
import shutil

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import launch.run
from checkpoints import Store
from configs.base import RunConfig
from launch import cli, configuration, errors, resume
from launch.build import build
from lopt.bundle_config import theta_sha256
from meta_train.run import records, run_folder
from meta_train.run.inspection import inspect as inspect_folder
from tests.launch.test_resume import meta_train

EXAMPLES = [15, pytest.param(2000, marks=pytest.mark.slow)]
QUIET = [HealthCheck.function_scoped_fixture]


def lines(folder):
    return [json.loads(line) for line in (folder / run_folder.METRICS).read_text().splitlines()]


class Run:
    """A finished run, and what its folder holds."""

    def __init__(self, folder):
        self.folder = folder
        self.config = configuration.load(str(folder / run_folder.CONFIG), RunConfig)
        self.experiment = build(self.config)
        self.files = {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        store = Store(folder / run_folder.CHECKPOINTS)
        self.arrays = {number: store.load(number) for number in store.numbers()}
        self.records = lines(folder)

    def assert_is_good(self, start):
        """That a resume took a checkpoint as it was written."""
        found = jax.tree.leaves(start.state, is_leaf=lambda x: x is None)
        expected = list(self.arrays[start.number].values())
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            a = jax.random.key_data(a) if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key) else a
            np.testing.assert_array_equal(a, b)
        assert start.metadata["config"] == json.loads(json.dumps(self.config.to_dict()))


@pytest.fixture(scope="module")
def run(tmp_path_factory, compilation_cache):
    folder = tmp_path_factory.mktemp("run")
    few = ("--config.meta_steps=12", "--config.meta_validation.every_steps=4")
    assert meta_train(folder, *few, "--config.comparison.num_seeds=0") == 0
    (folder / run_folder.FINISHED).unlink()
    assert len(Store(folder / run_folder.CHECKPOINTS).numbers()) >= 2
    return Run(folder)


@st.composite
def damages(draw, whole, others):
    """Some bytes that are not, or not quite, ``whole``; None for a file that is gone."""
    kind = draw(st.sampled_from(["splice", "splice", "flip", "cut", "gone", "other", "text"]))
    if kind == "splice":
        start, length = draw(st.integers(0, len(whole))), draw(st.integers(0, 30))
        return whole[:start] + draw(st.binary(max_size=30)) + whole[start + length :]
    if kind == "flip" and whole:
        data, position = bytearray(whole), draw(st.integers(0, len(whole) - 1))
        data[position] ^= draw(st.integers(1, 255))
        return bytes(data)
    if kind == "cut":
        return whole[: draw(st.integers(0, len(whole)))]
    if kind == "other":
        return draw(st.sampled_from(others))
    if kind == "text":
        return draw(st.sampled_from([b"{}", b"[]", b"null", b'{"step": {}}', b"\x00" * 20, b""]))
    return None


def try_to_go_on(run):
    """What the command does with the folder before it trains; None where it refuses."""
    try:
        start = resume.find_start(run.experiment.trainer, run.config, run.folder, None, False)
    except (errors.UserError, errors.RunFailed):
        return None  # cli.py shows these in one line
    records.cut(run.folder, start.metadata["records"]["files"] if start else {})
    return start


@pytest.mark.parametrize("examples", EXAMPLES)
def test_a_damaged_folder_is_refused_or_gone_on_with(run, examples):
    @settings(max_examples=examples, deadline=None, suppress_health_check=QUIET)
    @given(st.data())
    def check(data):
        files = data.draw(st.lists(st.sampled_from(list(run.files)), min_size=1, max_size=3))
        for path in files:
            damaged = data.draw(damages(run.files[path], list(run.files.values())))
            path.unlink(missing_ok=True)
            if damaged is not None:
                path.write_bytes(damaged)
        try:
            inspect_folder(run.folder, theta_sha256)
            start = try_to_go_on(run)
            if start is not None:
                run.assert_is_good(start)
                left = lines(run.folder) if (run.folder / run_folder.METRICS).exists() else []
                assert all("meta_step" in record for record in left)
        finally:
            for path, whole in run.files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(whole)

    check()


def json_values():
    scalars = st.none() | st.booleans() | st.integers(-3, 3000) | st.floats() | st.text(max_size=8)
    return st.recursive(
        scalars,
        lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=6), below),
        max_leaves=4,
    )


def paths_of(value, path=()):
    yield path
    if isinstance(value, dict):
        for name, below in value.items():
            yield from paths_of(below, (*path, name))


def changed(value, path, new):
    if not path:
        return new
    return {**value, path[0]: changed(value[path[0]], path[1:], new)}


@pytest.mark.parametrize("examples", EXAMPLES)
def test_a_damaged_config_is_refused_or_says_the_same(run, examples, tmp_path, monkeypatch, capsys):
    whole = run.files[run.folder / run_folder.CONFIG]
    fields = json.loads(whole)
    paths = list(paths_of(fields))
    file = tmp_path / "config.json"
    went_on = []
    signature = inspect.signature(launch.run._run)
    monkeypatch.setattr(
        "launch.run._run", lambda *given: went_on.append(signature.bind(*given).arguments)
    )
    text = damages(whole, [b"{}", b"[1]", b"3"]).filter(lambda damaged: damaged is not None)
    structure = st.builds(
        lambda path, new: json.dumps(changed(fields, path, new)).encode(),
        st.sampled_from(paths),
        json_values(),
    )

    @settings(max_examples=examples, deadline=None, suppress_health_check=QUIET)
    @given(text | structure)
    def check(damaged):
        file.write_bytes(damaged)
        folder = tmp_path / "run"
        if not folder.exists():
            shutil.copytree(run.folder, folder)
        went_on.clear()
        status = cli.main(["meta-train", f"--config={file}", f"--workdir={folder}"])
        error = capsys.readouterr().err
        if status == 0:
            config, start = went_on[0]["config"], went_on[0]["start"]
            assert start is not None
            said = configuration.complete(json.loads(damaged), RunConfig)
            assert said.to_dict() == config.to_dict()
            run.assert_is_good(start)
        else:
            assert status == 2
            assert len(error.splitlines()) == 1, error

    check()
