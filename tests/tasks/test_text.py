"""Texts, and networks that predict their next character."""

import sysconfig
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tasks.datasets import text as text_data
from tasks.text_lstm import Recurrence
from tasks.transformer import attention
from tests import rounding

KEY = jax.random.key


@pytest.fixture(scope="module")
def library():
    return text_data.load_text(None, 100_000, 33)


def decode(text, index):
    return bytes(text.vocabulary[i] for i in np.asarray(index)).decode("ascii")


def test_standard_library_is_its_modules_in_order(library):
    whole = decode(library, library.characters)
    first = (Path(sysconfig.get_path("stdlib")) / "__future__.py").read_text(encoding="ascii")
    assert whole.startswith(first)
    assert len(whole) == 100_000
    assert len(library.vocabulary) == 96
    np.testing.assert_array_equal(
        library.characters, text_data.load_text(None, 100_000, 33).characters
    )


def test_other_characters_become_question_marks(tmp_path, monkeypatch):
    (tmp_path / "b.py").write_text("second\n", encoding="utf-8")
    (tmp_path / "a.py").write_bytes("tab\tµ\r\n".encode() + b"\xff\n")
    monkeypatch.setattr(text_data.sysconfig, "get_path", lambda name: tmp_path)
    text = text_data.load_text(None, 30, 0)
    assert decode(text, text.characters) == "tab??\n?\nsecond\n"
    monkeypatch.setattr(text_data.sysconfig, "get_path", lambda name: tmp_path / "none")
    with pytest.raises(tasks.MissingData, match="give a text file as path"):
        text_data.load_text(None, 30, 0)


def test_own_file_keeps_its_bytes(tmp_path):
    content = "äöü".encode() * 20
    (tmp_path / "text.txt").write_bytes(content)
    text = text_data.load_text(tmp_path / "text.txt", 1000, 4)
    assert bytes(text.vocabulary[i] for i in np.asarray(text.characters)) == content
    assert len(text.vocabulary) == 4


def test_passages_come_from_everywhere_in_their_split_and_from_nowhere_else():
    numbered = text_data.Text(jnp.arange(100, dtype=jnp.uint8), bytes(range(100)))
    draw = jax.jit(numbered.draw, static_argnums=(1, 2, 3))
    for split, first, last in (("train", 0, 89), ("valid", 90, 94), ("test", 95, 99)):
        passages = np.asarray(draw(KEY(0), split, 2000, 3))
        assert (passages.min(), passages.max()) == (first, last)
        np.testing.assert_array_equal(np.diff(passages), 1)


@pytest.fixture(scope="module", params=["text_lstm", "text_transformer"])
def model(request):
    """A batch of text, and a function of it: logits, loss and metrics."""
    task = tasks.make(request.param, length=12, num_chars=10_000, width=8)
    start = jax.jit(lambda key: (task.init(key, ()), task.batch(key, (), "train")["text"]))
    params, text = start(KEY(0))
    assert text.shape == (task.batch_size, 13)

    @jax.jit
    def run(params, text):
        logits = task.module.apply({"params": params}, text[:, :-1])
        return logits, *task.loss(KEY(0), (), params, {"text": text})

    return np.asarray(text), partial(run, params)


def test_no_prediction_sees_the_future_and_each_sees_the_past(model):
    text, run = model
    changed = text.copy()
    changed[:, 5] = (changed[:, 5] + 1) % 96
    before, after = np.asarray(run(text)[0]), np.asarray(run(changed)[0])
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    differences = np.abs(before - after)[:, 5:].max(axis=-1)
    assert differences.min() > 1e-6


def test_loss_is_that_of_the_next_character(model):
    text, run = model
    logits, loss, metrics = run(text)
    logits = np.asarray(logits, np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    picked = np.take_along_axis(log_p, text[:, 1:, None], axis=-1)
    num_terms = picked.size + logits.shape[-1]
    np.testing.assert_allclose(loss, -picked.mean(), rtol=rounding.of_sum(num_terms))
    hits = logits.argmax(axis=-1) == text[:, 1:]
    np.testing.assert_allclose(metrics["accuracy"], hits.mean(), rtol=1e-6)


def test_lstm_equals_a_loop():
    rng = np.random.default_rng(0)
    gates, kernel = rng.normal(size=(2, 5, 12)), rng.normal(size=(3, 12))
    hidden, cell, expected = np.zeros((2, 3)), np.zeros((2, 3)), []
    for t in range(5):
        i, f, g, o = np.split(gates[:, t] + hidden @ kernel, 4, axis=1)
        cell = cell / (1 + np.exp(-f - 1)) + np.tanh(g) / (1 + np.exp(-i))
        hidden = np.tanh(cell) / (1 + np.exp(-o))
        expected.append(hidden)
    params = {"params": {"kernel": jnp.asarray(kernel, jnp.float32)}}
    found = Recurrence(3).apply(params, jnp.asarray(gates, jnp.float32))
    # Five steps, in each of which the sums of four numbers of size 4 are rounded.
    bound = 5 * 4 * 4 * rounding.of_sum(4)
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=0, atol=bound)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_a_loop(causal):
    projected = np.random.default_rng(0).normal(size=(2, 5, 3, 2, 4))
    expected = np.zeros((2, 5, 2, 4))
    for b, q, h in np.ndindex(2, 5, 2):
        seen = q + 1 if causal else 5
        query, keys, values = projected[b, q, 0, h], projected[b, :, 1, h], projected[b, :, 2, h]
        weights = np.exp(keys[:seen] @ query / 2)
        expected[b, q, h] = weights @ values[:seen] / weights.sum()
    found = attention(jnp.asarray(projected.reshape(2, 5, 24), jnp.float32), 2, causal)
    # A weight's exponent is a sum of four products of size 4, and it weighs values of size 4.
    bound = 4 * 4 * 4 * rounding.of_sum(4 + 5)
    np.testing.assert_allclose(found, expected.reshape(2, 5, 8), rtol=0, atol=bound)


def test_bad_texts_have_clear_errors(tmp_path):
    (tmp_path / "same").write_bytes(b"a" * 1000)
    (tmp_path / "short").write_bytes(b"ab" * 50)
    for name, message in (
        ("missing", "missing' cannot be read .*give a text file"),
        ("", "cannot be read"),
        ("short", "gives 100 characters, too few .*give at least 660 characters"),
        ("same", "one character over and over"),
    ):
        with pytest.raises(ValueError, match=message):
            tasks.make("text_lstm", path=tmp_path / name)
