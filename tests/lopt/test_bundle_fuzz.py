"""Thousands of bundles that nobody should trust: an identical optimizer or ``ValueError``.

The long run, a thousand of each kind:

    python -m pytest tests/lopt/test_bundle_fuzz.py -m slow
"""

import contextlib
import copy
import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load, save

import lopt
from lopt import bundle_config

SECONDS = 20.0
"""In which every single one must end, on a busy machine too."""
CARD = {"title": "Small rule", "horizon": 25, "meta_training": {"seed": 0, "meta_steps": 10}}
RULE = lopt.AdafacMLPLopt(hidden=(2,))
WEIGHTS, CONFIG = "theta.safetensors", "config.json"


class Watch:
    """What Python does while a bundle is loaded: an audit hook, which cannot be removed."""

    def __init__(self):
        self.folder = None
        self.seen = []

    def __call__(self, event, arguments):
        if self.folder is None:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            inside = isinstance(path, str) and Path(path).parent == self.folder
            if writes or not inside:
                self.seen.append((event, path, mode))
        elif event.startswith(FORBIDDEN):
            self.seen.append((event, *arguments))


FORBIDDEN = (
    "compile", "exec", "import", "marshal.", "pickle.", "socket.", "subprocess.", "ctypes.dlopen",
    "os.", "shutil.", "tempfile.",
)  # fmt: skip
"""How the names of forbidden events begin."""
WATCH = Watch()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A good bundle, by file."""
    folder = tmp_path_factory.mktemp("whole")
    lopt.save(folder, RULE, RULE.init(jax.random.key(3)), card=CARD)
    lopt.load_bundle(folder)  # what is imported at the first load is so before anyone watches
    sys.addaudithook(WATCH)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@contextlib.contextmanager
def watched(folder):
    """Within the time, and without a forbidden event."""

    def too_long(*_):
        pytest.fail(f"loading took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    WATCH.folder, WATCH.seen = folder, []
    try:
        yield
    finally:
        WATCH.folder = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not WATCH.seen


def load_or_refuse(folder):
    """The bundle, and None; or None, and why it was refused."""
    try:
        return lopt.load_bundle(folder), None
    except ValueError as error:
        return None, str(error)


def damaged(draw, content):
    """Bytes that are not, or not quite, ``content``."""
    start, length = draw.randrange(len(content) + 1), draw.choice((1, 2, 8, 100, len(content)))
    kind = draw.randrange(7)
    if kind == 0:  # a flipped bit
        bit = draw.randrange(8 * len(content))
        data = bytearray(content)
        data[bit // 8] ^= 1 << bit % 8
        return bytes(data)
    if kind == 1:
        return content[:start]
    if kind == 2:
        return content[:start] + draw.randbytes(length) + content[start + length :]
    if kind == 3:
        return content[:start] + content[start + length :]
    if kind == 4:  # a part stands twice, such as a key
        return content[:start] + content[max(0, start - length) : start] + content[start:]
    if kind == 5:
        insert = draw.choice((b"[" * 10**5, b'{"a":' * 10**4, b"9" * 5000, b"NaN", b"1e999", b"\0"))
        return content[:start] + insert + content[start:]
    return draw.choice((b"", b"{}", b"[]", b"null", b"\xff\xfe", draw.randbytes(length)))


def strange(draw):
    """A JSON value that a config should not hold, mostly."""
    deep = 0
    for _ in range(draw.choice((1, 20, 40, 400))):
        deep = [deep] if draw.random() < 0.5 else {"a": deep}
    values = (
        None, True, "", "x" * 10**4, "../../etc/passwd", "__import__('os')", "\ud800", "\0\n",
        0, -1, 1, 2, 2**31, 2**63, 10**30, 10**400, 0.5, -1e308, 5e-324, float("nan"),
        float("inf"), [], {}, [1] * 300, [10**6] * 5, [[2]], [2.0], [True], ["2"], [-2], deep,
        {"a": 1}, {"shape": [2], "dtype": "float32"}, "mlp", "lstm", "adafac_mlp", [2, 2],
    )  # fmt: skip
    return draw.choice(values)


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        below = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in below:
            yield from places(entry, (*path, key))


def edited(draw, value):
    """``value`` with one entry replaced, removed or added."""
    value = copy.deepcopy(value)
    top = draw.choice(list(value))
    path = (top, *draw.choice(list(places(value[top]))))
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    kind = draw.randrange(4)
    if kind == 0:
        del holder[path[-1]]
    elif kind == 1 and isinstance(holder, dict):
        holder[draw.choice(("", "../x", "mlp/w0", "hidden", "é"))] = strange(draw)
    else:
        holder[path[-1]] = strange(draw)
    return value


def forged(config):
    """The config with a right checksum."""
    return json.dumps(config | {"config_sha256": bundle_config.checksum(config)}).encode()


def with_weights(whole, weights):
    """Other weights, with right checksums."""
    config = json.loads(whole[CONFIG]) | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    with contextlib.suppress(Exception):  # many are no weights
        arrays = load(weights)
        config["theta_sha256"] = bundle_config.theta_sha256(
            arrays[name] for name in config["theta"]
        )
    return whole | {WEIGHTS: weights, CONFIG: forged(config)}


def flipped_bytes(draw, whole):
    name = draw.choice((WEIGHTS, CONFIG))
    return whole | {name: damaged(draw, whole[name])}


def forged_config(draw, whole):
    return whole | {CONFIG: forged(edited(draw, json.loads(whole[CONFIG])))}


def forged_weights(draw, whole):
    return with_weights(whole, damaged(draw, whole[WEIGHTS]))


def forged_header(draw, whole):
    size = int.from_bytes(whole[WEIGHTS][:8], "little")
    header, data = json.loads(whole[WEIGHTS][8 : 8 + size]), whole[WEIGHTS][8 + size :]
    entry = header[draw.choice(list(header))]
    kind = draw.randrange(4)
    if kind == 0:
        header = edited(draw, header)
    elif kind == 1:
        entry["shape"] = draw.choice(([2**62, 4], [0], [], [-1], [1] * 100, [3, 2**31], "3"))
    elif kind == 2:
        entry["data_offsets"] = [draw.randrange(-9, 900), draw.choice((0, 9, 900, 2**63, -1))]
    else:
        entry["dtype"] = draw.choice(("F64", "BF16", "F8_E4M3", "F4", "BOOL", "U8", "X", 3, None))
    text = json.dumps(header).encode()
    length = draw.choice((len(text),) * 8 + (0, 2**20, 2**40, 2**64 - 1, len(text) - 1))
    return with_weights(whole, length.to_bytes(8, "little") + text + data)


def other_arrays(draw, whole):
    arrays = load(whole[WEIGHTS])
    name = draw.choice(sorted(arrays))
    x = arrays[name]
    spoilt = x.copy()
    spoilt.ravel()[draw.randrange(x.size)] = draw.choice((np.nan, np.inf, -np.inf))
    changed = (
        spoilt, x[:-1], x[None], x.ravel(), x.T, np.concatenate([x, x]), x[:0],
        x.astype(np.float64), x.astype(np.float16), x.astype(np.int32), x > 0,
    )  # fmt: skip
    del arrays[name]
    more = {draw.choice((name, "../x", "mlp/w9", "")): np.ascontiguousarray(draw.choice(changed))}
    return with_weights(whole, save(arrays | draw.choice((more, {}))))


def huge(path):
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no room


def odd_files(draw, whole):
    """Entries of the folder that are no bytes but a way to make them."""
    name = draw.choice((WEIGHTS, CONFIG))
    outside = ("/dev/zero", "/etc/passwd", "..", ".", name, "../../../tmp", "/proc/self/mem")
    target = draw.choice(outside)
    kinds = (
        lambda path: path.symlink_to(target),
        lambda path: path.mkdir(),
        os.mkfifo,
        lambda path: None,
        huge,
    )
    return whole | {name: draw.choice(kinds)}


FUZZERS = [flipped_bytes, forged_config, forged_weights, forged_header, other_arrays, odd_files]


def put(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            content(folder / name)


def assert_says_what_is_written(bundle, files):
    """A forged bundle may be a good one, of another optimizer; then it is that one."""
    config = json.loads(files[CONFIG])
    fields = json.dumps([config["optimizer"]["fields"], dataclasses.asdict(bundle.optimizer)])
    written, found = json.loads(fields, parse_int=float)  # a float may be written as 1
    assert found == written
    assert type(bundle.optimizer) is lopt.LOPTS[config["optimizer"]["name"]]
    assert bundle.card == config["card"]
    arrays = load(files[WEIGHTS])
    leaves = jax.tree.leaves_with_path(bundle.theta)
    assert len(leaves) == len(arrays)
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        np.testing.assert_array_equal(np.asarray(leaf), arrays[name])
        assert np.all(np.isfinite(arrays[name]))


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fuzzer", FUZZERS, ids=lambda fuzzer: fuzzer.__name__)
def test_no_bundle_does_harm(fuzzer, count, whole, tmp_path):
    folder = tmp_path / "bundle"
    loaded, slowest = 0, 0.0
    for number in range(count):
        draw = random.Random(f"{fuzzer.__name__} {number}")
        files = fuzzer(draw, whole)
        put(folder, files)
        started = time.monotonic()
        with watched(folder):
            bundle, refusal = load_or_refuse(folder)
        slowest = max(slowest, time.monotonic() - started)
        if bundle is None:
            assert 0 < len(refusal) < 2000
            assert "\n" not in refusal
        else:
            loaded += 1
            assert_says_what_is_written(bundle, files)
            if fuzzer is flipped_bytes:
                assert bundle.optimizer == RULE
                assert files[WEIGHTS] == whole[WEIGHTS]
                assert bundle.card == json.loads(whole[CONFIG])["card"]
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
        assert {path.name for path in folder.iterdir()} <= set(whole)
    assert loaded < count
    print(f"{fuzzer.__name__}: {count} inputs, {loaded} loaded, slowest {slowest:.2f} s")


def test_the_watch_sees_what_it_should(whole, tmp_path):
    def seen(action):
        WATCH.folder, WATCH.seen = tmp_path, []
        try:
            action()
        finally:
            WATCH.folder = None
        return [event for event, *_ in WATCH.seen]

    (tmp_path / "file").write_bytes(b"x")
    assert seen((tmp_path / "file").read_bytes) == []
    assert "open" in seen(lambda: (tmp_path / "file").write_bytes(b"y"))
    assert "open" in seen(lambda: Path(__file__).read_bytes())
    assert "exec" in seen(lambda: exec("1 + 1"))
    assert "os.system" in seen(lambda: os.system("true"))
    assert "os.mkdir" in seen(lambda: (tmp_path / "folder").mkdir())
