"""Bundles on the Hugging Face Hub, which a local server stands for."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import lopt
from lopt import bundle_files, hub, shipped
from tests.hub_server import TOKEN, serving

constants = pytest.importorskip("huggingface_hub.constants", reason="pip install lopt[hub]")
NAMES = (bundle_files.WEIGHTS, bundle_files.CONFIG, bundle_files.README)
ADDRESS = "hf://me/tiny"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub of its own for each test, with an empty cache, and nobody logged in."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with serving() as (served, address):
        use(address, monkeypatch)
        yield served


def use(endpoint, monkeypatch):
    """What HF_ENDPOINT does before huggingface_hub is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def logged_in(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def save(folder, horizon=7):
    rule = lopt.LOPTS["sgd_schedule"]()
    theta = jax.tree.map(lambda x: x + horizon / 100, rule.init(jax.random.key(0)))
    lopt.save(folder, rule, theta, card={"horizon": horizon})
    return folder


def contents(folder):
    return {name: (folder / name).read_bytes() for name in NAMES}


def assert_same(found, folder):
    expected = lopt.load_bundle(Path(folder))
    assert found.card == expected.card
    jax.tree.map(np.testing.assert_array_equal, found.theta, expected.theta)


def refused(address):
    """What is said of it, in one line."""
    with pytest.raises(ValueError, match="hf://") as raised:
        lopt.load(address)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


def test_push_and_load_with_a_revision(server, logged_in, tmp_path):
    first, second = save(tmp_path / "a", 5), save(tmp_path / "b", 9)
    (first / "notes.txt").write_text("not for others")
    at_first = hub.push(first, ADDRESS)
    at_second = hub.push(second, ADDRESS)
    server.tags["v1"] = at_first.partition("@")[2]
    assert server.repos["me/tiny"][server.tags["v1"]] == contents(first)
    for address, folder in {
        ADDRESS: second,
        f"{ADDRESS}@main": second,
        at_second: second,
        at_first: first,
        f"{ADDRESS}@v1": first,
    }.items():
        assert_same(lopt.load_bundle(address), folder)
    assert lopt.load(at_first).init({"w": np.zeros(3, np.float32)})
    card = server.repos["me/tiny"][server.tags["v1"]]["README.md"].decode()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: lopt\ntags:\n")


def test_only_the_files_of_a_bundle_are_downloaded_and_once(server, tmp_path):
    files = contents(save(tmp_path / "a"))
    server.commit("me/tiny", {**files, "evil.py": b"raise SystemExit", "big.bin": b"x" * 9})
    lopt.load(ADDRESS)
    fetched = [path for method, path in server.calls if method == "GET" and "/resolve/" in path]
    assert sorted(path.rsplit("/", 1)[1] for path in fetched) == sorted(NAMES)
    server.calls.clear()
    lopt.load(ADDRESS)
    assert [path for method, path in server.calls if "/resolve/" in path] == []


def test_a_private_repository(server, logged_in, tmp_path, monkeypatch):
    bundle = save(tmp_path / "a")
    hub.push(bundle, ADDRESS, private=True)
    assert_same(lopt.load_bundle(ADDRESS), bundle)
    monkeypatch.delenv("HF_TOKEN")
    message = refused(ADDRESS)
    assert "hf auth login" in message
    assert "not open to you" in message


def test_addresses_that_lead_nowhere(server, tmp_path):
    server.commit("me/tiny", contents(save(tmp_path / "a")))
    assert "does not exist" in refused("hf://me/other")
    assert "no such branch, tag or commit" in refused(f"{ADDRESS}@v9")
    for address in ("hf://me", "hf://me/tiny/config.json", "hf://me/tiny@", "hf://me/t y"):
        assert "is not the address of a bundle" in refused(address)
    assert "hf://me/a..b" in refused("hf://me/a..b")


def test_damaged_files(server, tmp_path):
    good = contents(save(tmp_path / "a"))
    weights = good[bundle_files.WEIGHTS]
    server.commit("me/bad", {**good, bundle_files.WEIGHTS: weights[:-1] + b"x"})
    with pytest.raises(ValueError, match=r"theta\.safetensors is damaged: its SHA-256"):
        lopt.load("hf://me/bad")
    server.commit("me/text", {**good, bundle_files.CONFIG: b"{}"})
    with pytest.raises(ValueError, match="is not a bundle"):
        lopt.load("hf://me/text")
    server.commit("me/empty", {"README.md": b"# a model of something else"})
    assert "has no theta.safetensors" in refused("hf://me/empty")


def test_what_is_too_large_is_not_downloaded(server, tmp_path, monkeypatch):
    good = contents(save(tmp_path / "a"))
    too_much = b"x" * (bundle_files.MAX_CONFIG_BYTES + 1)
    server.commit("me/big", {**good, bundle_files.CONFIG: too_much})
    assert "config.json has 4,194,305 bytes; the limit is 4,194,304" in refused("hf://me/big")
    assert [path for _, path in server.calls if "/resolve/" in path] == []


def test_without_a_network_the_cache_serves(server, tmp_path, monkeypatch):
    bundle = save(tmp_path / "a")
    server.commit("me/tiny", contents(bundle))
    lopt.load(ADDRESS)
    endpoint = "http://127.0.0.1:9"  # the port of "discard", where nobody listens
    use(endpoint, monkeypatch)
    assert_same(lopt.load_bundle(ADDRESS), bundle)
    message = refused("hf://me/other")
    assert f"is not in the cache, and {endpoint} cannot be reached" in message
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ValueError, match=r"^hf://me/tiny at http://127\.0\.0\.1:9: ") as raised:
        hub.push(bundle, ADDRESS)
    assert len(str(raised.value).splitlines()) == 1


def test_what_is_not_pushed(server, tmp_path, monkeypatch):
    bundle = save(tmp_path / "a")
    with pytest.raises(ValueError, match=r"needs a token of the hub: log in with `hf auth login`"):
        hub.push(bundle, ADDRESS)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ValueError, match="Invalid username or password"):
        hub.push(bundle, ADDRESS)
    with pytest.raises(ValueError, match="without a revision"):
        hub.push(bundle, f"{ADDRESS}@v1")
    (bundle / bundle_files.WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is damaged"):
        hub.push(bundle, ADDRESS)
    assert server.repos == {}


def test_pull(server, tmp_path):
    bundle, out = save(tmp_path / "a"), tmp_path / "out"
    oid = server.commit("me/tiny", contents(bundle))
    hub.pull(f"{ADDRESS}@{oid}", out)
    assert contents(out) == contents(bundle)
    assert not any((out / name).is_symlink() for name in NAMES)
    hub.pull(ADDRESS, out)  # a bundle is replaced
    server.commit("me/tiny", {**contents(bundle), bundle_files.CONFIG: b"{}"})
    with pytest.raises(ValueError, match="is not a bundle"):
        hub.pull(ADDRESS, out)
    assert contents(out) == contents(bundle)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    with pytest.raises(ValueError, match="not overwritten"):
        hub.pull(ADDRESS, tmp_path / "home")


def test_a_link_leaves_a_cache_no_further_than_to_its_blobs(server, tmp_path):
    server.commit("me/tiny", contents(save(tmp_path / "a")))
    cached = shipped.find(ADDRESS)
    assert (cached / bundle_files.CONFIG).is_symlink()
    (cached / bundle_files.CONFIG).unlink()
    (cached / bundle_files.CONFIG).symlink_to(tmp_path / "a" / bundle_files.CONFIG)
    with pytest.raises(ValueError, match="leaves the folder"):
        lopt.load(cached)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lopt\[hub\]'"):
        lopt.load(ADDRESS)
