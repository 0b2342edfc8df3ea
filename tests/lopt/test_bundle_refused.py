"""Bundles that are refused: every kind of damage, of every file, with a clear error."""

import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save

import lopt
from tests.lopt.bundles import CARD, edit, make, put_weights


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "bundle"
    lopt.save(path, *make("adafac_mlp"), card=CARD)
    return path


@pytest.mark.parametrize("name", ["theta.safetensors", "config.json"])
class TestFile:
    """What takes the place of a file."""

    def test_nothing(self, saved, name):
        (saved / name).unlink()
        with pytest.raises(ValueError, match=f"{name} is missing"):
            lopt.load(saved)

    def test_folder(self, saved, name):
        (saved / name).unlink()
        (saved / name).mkdir()
        with pytest.raises(ValueError, match=f"{name} is missing or no regular file"):
            lopt.load(saved)

    def test_pipe(self, saved, name):
        (saved / name).unlink()
        os.mkfifo(saved / name)
        with pytest.raises(ValueError, match=f"{name} is missing or no regular file"):
            lopt.load(saved)

    def test_links(self, saved, name, tmp_path):
        (saved / name).rename(tmp_path / "elsewhere")
        for target in (tmp_path / "elsewhere", "/dev/zero", "../elsewhere"):
            (saved / name).symlink_to(target)
            with pytest.raises(ValueError, match=f"{name} is a link that leaves the folder"):
                lopt.load(saved)
            (saved / name).unlink()
        (saved / name).symlink_to(name)
        with pytest.raises(ValueError, match=name):
            lopt.load(saved)
        (saved / name).unlink()
        (tmp_path / "elsewhere").rename(saved / "inside")
        (saved / name).symlink_to("inside")
        lopt.load(saved)

    def test_too_large(self, saved, name):
        with open(saved / name, "r+b") as file:
            file.truncate(2**40)  # a sparse file
        with pytest.raises(ValueError, match=rf"{name} has 1,099,511,627,776 bytes; the limit"):
            lopt.load(saved)

    def test_unreadable(self, saved, name):
        if os.geteuid() == 0:
            pytest.skip("root reads everything")
        (saved / name).chmod(0)
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            lopt.load(saved)


def test_not_a_folder(tmp_path, saved):
    for path in (tmp_path / "nowhere", saved / "config.json", "/dev/zero"):
        with pytest.raises(ValueError, match="not a bundle"):
            lopt.load(path)


def test_other_files_are_not_looked_at(saved):
    (saved / "__init__.py").write_text("raise SystemExit")
    (saved / "theta.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    os.mkfifo(saved / "pipe")
    lopt.load(saved)


DEEP = b'{"format": ' + b"[" * 10**6 + b"]" * 10**6 + b"}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DEEP, "more than 32 levels"),
        (b'{"format": ' + b"[" * 40 + b"]" * 40 + b"}", "more than 32 levels"),
        (b'{"format": "lopt-bundle", "format": 1}', "'format' stands more than once"),
        (b'{"format": NaN}', "'NaN' is not finite"),
        (b'{"format": 1e999}', "'1e999' is not finite"),
        (b'{"format": ' + b"9" * 10**5 + b"}", "damaged"),
        (b"[]", "not a mapping"),
        (b"\xff\xfe", "damaged"),
        (b"", "damaged"),
    ],
)
def test_strange_json(saved, content, message):
    (saved / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        lopt.load(saved)
    assert len(str(error.value)) < 1000
    assert "\n" not in str(error.value)


def test_config_without_a_right_checksum(saved):
    edit(saved, lambda c: c["optimizer"]["fields"].update(step_mult=1.0), right_checksum=False)
    with pytest.raises(ValueError, match="config_sha256"):
        lopt.load(saved)


def fields(**changed):
    return lambda config: config["optimizer"]["fields"].update(**changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="other"), "not a bundle"),
        (lambda c: c.update(format_version=4), "format version 4.*1 to 3"),
        (lambda c: c.update(format_version=True), "format version True"),
        (lambda c: c["optimizer"].update(name="mpl"), "'mpl' that is not registered.*mlp"),
        (lambda c: c["optimizer"].update(name=["mlp"]), "not registered"),
        (
            lambda c: c["optimizer"].update(feature_version=2),
            "version 2 of the features of 'adafac",
        ),
        (fields(depth=3), "depth"),
        (lambda c: c["optimizer"]["fields"].pop("hidden"), "hidden"),
        (fields(hidden=[4, 5]), "mlp/w1|mlp/b1"),
        (fields(hidden=4), "wrong fields.*hidden = 4"),
        (fields(hidden=[-4]), "integer of at least 2"),
        (fields(hidden=[4.0, 4]), "hidden"),
        (fields(hidden=[True, 4]), "hidden"),
        (fields(hidden=[10**9]), "whole numbers up to 1,000,000"),
        (fields(hidden=[10**6] * 3), "would have .* numbers; the limit is 67,108,864"),
        (fields(hidden=[1] * 10**4), "10,002 values.*the limit is 100"),
        (fields(step_mult="1"), "step_mult = '1'"),
        (fields(step_mult=10**400), "step_mult"),
        (fields(step_mult=None), "step_mult"),
        (lambda c: c["optimizer"].pop("fields"), "fields are missing"),
        (lambda c: c.update(theta={}), "lists other arrays"),
        (lambda c: c.update(weights_sha256="0"), "SHA-256"),
        (lambda c: c.pop("weights_sha256"), "'weights_sha256' is missing"),
        (lambda c: c.update(theta_sha256="0"), "theta_sha256 is not of the theta"),
        (lambda c: c.pop("theta_sha256"), "'theta_sha256' is missing"),
        (lambda c: c.update(theta_sha256=None), "'theta_sha256' is missing or of a wrong kind"),
        (lambda c: c.update(card=3), "card"),
        (lambda c: c["card"].update(horizon=24), "card has another horizon"),
        (lambda c: c.update(horizon=-1), "horizon"),
    ],
)
def test_damaged_config(saved, change, message):
    edit(saved, change)
    with pytest.raises(ValueError, match=message) as error:
        lopt.load(saved)
    assert len(str(error.value)) < 1000


def change_array(name, change):
    def changed(arrays):
        return {**arrays, name: change(arrays[name])}

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_array("mlp/w0", lambda x: x[:-1]), r"mlp/w0.*\[38, 4\].*\[39, 4\]"),
        (change_array("mlp/w0", lambda x: x.astype(np.float64)), "float64"),
        (change_array("mlp/w0", lambda x: np.where(x == x.max(), np.inf, x)), "1 numbers that"),
        (lambda arrays: {**arrays, "more": np.zeros(2, np.float32)}, "'more' is .*absent"),
        (lambda arrays: {f"{i}": np.zeros(1, np.float32) for i in range(5000)}, "5,000 arrays"),
        (lambda arrays: {"x" * 2**21: np.zeros(1, np.float32)}, "between 1 and 1,048,576"),
    ],
)
def test_foreign_weights_with_a_right_checksum(saved, change, message):
    put_weights(saved, save(change(load_file(saved / "theta.safetensors"))))
    with pytest.raises(ValueError, match=message):
        lopt.load(saved)


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"",
        b"\xff" * 8,
        b"\x02" + b"\0" * 7 + b"[]",
        (2**20).to_bytes(8, "little") + b"[" * 2**20,
    ],
)
def test_not_safetensors_with_a_right_checksum(saved, content):
    put_weights(saved, content)
    with pytest.raises(ValueError, match=r"theta\.safetensors"):
        lopt.load(saved)
