"""Synthetic families have the structure that they promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tasks.datasets.sequences import RULES, load_sequences
from tests.tasks import compiled

KEY = jax.random.key


def members(task, count):
    return jax.device_get(jax.jit(jax.vmap(task.sample))(jax.random.split(KEY(0), count)))


def pick(cfgs, i):
    return jax.tree.map(lambda x: x[i], cfgs)


def test_features_of_a_linear_model_have_the_condition_number():
    task = tasks.make("least_squares_family", dim=6, condition=(50.0, 200.0))
    cfgs = members(task, 40)
    values = np.linalg.svd(np.asarray(cfgs.transform, np.float64), compute_uv=False)
    conditions = (values[:, 0] / values[:, -1]) ** 2
    np.testing.assert_allclose(values[:, 0], 1, rtol=1e-4)
    assert 49.9 < conditions.min() < 70
    assert 150 < conditions.max() < 200.1
    np.testing.assert_allclose(np.linalg.norm(cfgs.slope, axis=1), 1, rtol=1e-5)


def test_least_squares_is_solved_by_its_weights_on_every_split():
    task = tasks.make("least_squares_family", dim=6, condition=(1.0, 100.0))
    cfg = pick(members(task, 1), 0)
    kernel = np.linalg.solve(np.asarray(cfg.transform, np.float64), np.asarray(cfg.slope))
    params = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.float32(0)}
    for split in tasks.SPLITS:
        batch = compiled.batch(task, KEY(1), cfg, split)
        assert compiled.loss(task, KEY(0), cfg, params, batch)[0] < 1e-8


def test_a_batch_of_all_rows_is_the_same_at_every_step():
    task = tasks.make("least_squares_family", num_examples=(32, 32), noise=(0.5, 0.5))
    cfg = pick(members(task, 1), 0)
    batches = [compiled.batch(task, KEY(k), cfg, "train") for k in (1, 2)]
    sets = [{row.tobytes() for row in np.asarray(batch["row"])} for batch in batches]
    assert sets[0] == sets[1]
    assert len(sets[0]) == 32
    params = compiled.init(task, KEY(1), cfg)
    losses = [compiled.loss(task, KEY(0), cfg, params, batch)[0] for batch in batches]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    noise = [batch["target"] - batch["row"] @ cfg.slope for batch in batches]
    np.testing.assert_allclose(np.sort(noise[0]), np.sort(noise[1]), atol=1e-5)
    np.testing.assert_allclose(np.std(noise[0]), 0.5, rtol=0.5)


def test_few_rows_are_all_that_training_sees():
    task = tasks.make("logistic_regression_family", num_examples=(7, 7))
    cfg = pick(members(task, 1), 0)
    rows = np.concatenate([compiled.batch(task, KEY(k), cfg, "train")["row"] for k in range(5)])
    assert len(np.unique(rows, axis=0)) == 7


def test_logistic_loss_has_only_the_sign():
    task = tasks.make("logistic_regression_family")
    cfg, params = pick(members(task, 1), 0), None
    params = compiled.init(task, KEY(1), cfg)
    batch = compiled.batch(task, KEY(2), cfg, "valid")
    output = batch["row"] @ (cfg.transform @ params["kernel"])
    expected = np.mean(np.log1p(np.exp(-np.sign(batch["target"]) * np.asarray(output, float))))
    loss, _ = compiled.loss(task, KEY(0), cfg, params, batch)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("modes", [2, 3])
def test_entries_are_those_of_a_tensor_of_low_rank(modes):
    task = tasks.make("matrix_factorization_family", modes=modes, size=6, noise=(0.0, 0.0))
    cfg = pick(members(task, 3), 2)
    factors = np.asarray(cfg.factors, np.float64)
    letters = "ijk"[:modes]
    full = np.einsum(",".join(f"{x}r" for x in letters) + "->" + letters[::-1], *factors).ravel()
    seen = {}
    for split in tasks.SPLITS:
        batch = compiled.batch(task, KEY(1), cfg, split)
        np.testing.assert_allclose(batch["value"], full[batch["entry"]], rtol=1e-4, atol=1e-5)
        seen[split] = set(np.asarray(batch["entry"]).tolist())
    assert not set.intersection(seen["train"], seen["valid"] | seen["test"])
    truth = {f"factor_{mode}": cfg.factors[mode] for mode in range(modes)}
    batch = compiled.batch(task, KEY(2), cfg, "test")
    assert compiled.loss(task, KEY(0), cfg, truth, batch)[0] < 1e-8


def test_tensors_have_entries_of_size_one_and_ranks_up_to_the_largest():
    task = tasks.make("matrix_factorization_family", max_rank=3)
    cfgs = members(task, 200)
    ranks = np.sum(np.any(np.asarray(cfgs.factors[:, 0]) != 0, axis=1), axis=-1)
    assert set(ranks) == {1, 2, 3}
    full = np.einsum("mir,mjr->mij", cfgs.factors[:, 0], cfgs.factors[:, 1])
    np.testing.assert_allclose(np.mean(full**2), 1, rtol=0.1)
    num_train = int(24 * 24 * 0.8)
    assert num_train * 0.1 - 1 <= cfgs.num_examples.min() < num_train * 0.15
    assert num_train * 0.9 < cfgs.num_examples.max() <= num_train


def test_few_entries_are_all_that_training_sees():
    task = tasks.make("matrix_factorization_family", observed=(0.05, 0.05))
    cfg = pick(members(task, 1), 0)
    entries = [compiled.batch(task, KEY(k), cfg, "train")["entry"] for k in range(20)]
    assert len(np.unique(entries)) == cfg.num_examples == 23


@pytest.mark.parametrize("name", ["teacher_regression_family", "sine_regression_family"])
def test_random_functions_have_mean_zero_and_deviation_one(name):
    task = tasks.make(name, reparam=(1, 1), label_noise=(0, 0)).task
    cfgs = members(task, 30)
    keys = jax.random.split(KEY(1), 100)
    draw = jax.jit(jax.vmap(lambda key, cfg: task.batch(key, cfg, "valid"), (0, None)))
    targets = np.stack([draw(keys, pick(cfgs, i))["target"].ravel() for i in range(30)])
    assert np.abs(targets.mean(axis=1)).max() < 0.4
    assert 0.5 < targets.std(axis=1).min() < targets.std(axis=1).max() < 2
    assert np.abs(targets.mean()) < 0.05
    np.testing.assert_allclose(targets.std(), 1, rtol=0.05)
    units = np.sum(np.asarray(cfgs.amplitudes) != 0, axis=1)
    assert len(set(units)) > 8
    assert 1 <= units.min() < units.max() <= 16


def test_every_sequence_follows_its_rule_and_is_there_once():
    found = {}
    for rule in RULES:
        data = load_sequences(rule, 8, 16, 0)
        rows = found[rule] = np.asarray(data.symbols).astype(int)
        assert len(np.unique(rows, axis=0)) == len(rows) >= 1000
        assert rows.max() == 7
    repeats = [
        any((row[p:] == row[:-p]).all() for p in range(1, 9)) for row in found["repeat"][:200]
    ]
    assert all(repeats)
    np.testing.assert_array_equal(found["reverse"][:, 8:], found["reverse"][:, 7::-1])
    np.testing.assert_array_equal(found["sort"][:, 8:], np.sort(found["sort"][:, :8]))
    add = found["add"]
    np.testing.assert_array_equal(add[:, 5:], (add[:, 4:-1] + add[:, :-5]) % 8)
    pairs = np.zeros((8, 8))
    np.add.at(pairs, (found["chain"][:, :-1].ravel(), found["chain"][:, 1:].ravel()), 1)
    likely = np.sort(pairs / pairs.sum(axis=1, keepdims=True))[:, ::-1]
    zipf = 1 / np.arange(1, 9)
    np.testing.assert_allclose(likely.mean(axis=0), zipf / zipf.sum(), atol=0.02)


def test_too_few_sequences_are_refused():
    with pytest.raises(ValueError, match="different sequences, fewer than 1000; raise one"):
        load_sequences("repeat", 2, 8, 0)


def test_other_seed_other_sequences():
    first, same, other = (np.asarray(load_sequences("sort", 8, 16, s).symbols) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.slow
def test_the_random_half_of_a_sequence_does_not_count():
    task = tasks.make("copy_lstm_family", rule="reverse", reparam=(1, 1)).task
    params = compiled.init(task, KEY(0), ())
    text = compiled.batch(task, KEY(1), (), "train")["text"]
    assert text.shape == (16, 16)
    logits = task.module.apply({"params": params}, text[:, :-1])
    picked = jax.nn.log_softmax(logits)[:, 7:]
    expected = -np.mean(np.take_along_axis(np.asarray(picked), np.asarray(text)[:, 8:, None], 2))
    np.testing.assert_allclose(
        compiled.loss(task, KEY(0), (), params, {"text": text})[0], expected, rtol=1e-5
    )
