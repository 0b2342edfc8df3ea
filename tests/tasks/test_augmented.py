"""Members of augmented families train on the data, and with the scales, that they say."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks

KEY = jax.random.key


@pytest.fixture(scope="module")
def family():
    return tasks.make("digits_conv_family", channels=(4,), label_noise=(0.0, 0.5))


def member(family, **changes):
    cfg = jax.jit(family.sample)(KEY(0))
    quiet = cfg.subset.replace(count=jnp.uint32(10**6), noise=jnp.float32(0))
    plain = {
        "subset": quiet,
        "distinct": jnp.int32(family.task.batch_size),
        "init_scale": jnp.float32(1),
        "reparam": jnp.ones_like(cfg.reparam),
    }
    return cfg._replace(**(plain | changes))


def with_subset(family, **changes):
    plain = member(family)
    return plain._replace(subset=plain.subset.replace(**changes))


@jax.jit
def draw_train(family, cfg, keys):
    return jax.vmap(lambda key: family.batch(key, cfg, "train"))(keys)


@jax.jit
def draw_valid(family, cfg, keys):
    return jax.vmap(lambda key: family.batch(key, cfg, "valid"))(keys)


def examples(family, batches):
    """{bytes of a stored image: set of the labels it came with}."""
    data, found = jax.tree.map(np.asarray, family.task.data), {}
    images = np.rint((np.asarray(batches["image"]) - data.offset) / data.scale).astype(np.uint8)
    labels = np.asarray(batches["label"])
    for image, label in zip(images.reshape(-1, images.shape[-1]), labels.ravel(), strict=True):
        found.setdefault(image.tobytes(), set()).add(int(label))
    return found


def true_labels(family, split):
    start, stop = family.task.data.bounds(split)
    data = family.task.data
    images, labels = (np.asarray(x[start:stop]) for x in (data.images, data.labels))
    return {x.tobytes(): int(y) for x, y in zip(images, labels, strict=True)}


def test_samples_cover_their_ranges(family):
    cfgs = jax.jit(jax.vmap(family.sample))(jax.random.split(KEY(0), 500))
    count = np.asarray(cfgs.subset.count)
    num_train = family.task.data.num_train
    assert 200 <= count.min() < 220
    assert num_train * 0.97 < count.max() <= num_train
    assert abs(np.mean(np.log(count)) - np.log(200 * num_train) / 2) < 0.1
    assert 0 <= cfgs.subset.noise.min() < 0.01 < 0.49 < cfgs.subset.noise.max() <= 0.5
    assert set(np.unique(cfgs.distinct)) == {16, 32, 64}
    assert 0.5 <= cfgs.init_scale.min() < 0.52 < 1.9 < cfgs.init_scale.max() <= 2.0001
    assert 0.4999 <= cfgs.reparam.min() < 0.51 < 1.96 < cfgs.reparam.max() <= 2.0001
    assert len(np.unique(cfgs.subset.first % np.uint32(num_train))) > 300


# The last one wraps around the end of the train split.
@pytest.mark.parametrize(("count", "first"), [(1, 3), (40, 0), (40, 1190)])
def test_training_draws_only_and_all_of_its_examples(family, count, first):
    cfg = with_subset(family, count=jnp.uint32(count), first=jnp.uint32(first))
    keys = jax.random.split(KEY(1), 20)
    drawn = examples(family, draw_train(family, cfg, keys))
    known = true_labels(family, "train")
    assert len(drawn) == count
    assert all(drawn[image] == {known[image]} for image in drawn)
    assert not set(drawn) & set(examples(family, draw_valid(family, cfg, keys)))


def test_more_examples_than_there_are_are_all(family):
    drawn = examples(family, draw_train(family, member(family), jax.random.split(KEY(1), 300)))
    assert len(drawn) == len(true_labels(family, "train"))


def test_a_share_of_training_labels_is_always_wrong(family):
    cfg = with_subset(family, noise=jnp.float32(0.3))
    keys = jax.random.split(KEY(1), 300)
    known = true_labels(family, "train")
    drawn = examples(family, draw_train(family, cfg, keys))
    # The same example has the same label at every step.
    assert {len(labels) for labels in drawn.values()} == {1}
    shifts = np.array([(min(labels) - known[image]) % 10 for image, labels in drawn.items()])
    deviation = np.sqrt(0.3 * 0.7 / len(shifts))
    assert abs(np.mean(shifts != 0) - 0.3) < 4 * deviation
    wrong = np.bincount(shifts[shifts != 0], minlength=10)[1:]
    assert wrong.min() > wrong.mean() - 4 * np.sqrt(wrong.mean())
    other = with_subset(family, noise=jnp.float32(0.3), salt=cfg.subset.salt ^ np.uint32(1))
    again = examples(family, draw_train(family, other, keys))
    assert 0.3 < np.mean([again[image] != drawn[image] for image in drawn]) < 0.7
    valid = true_labels(family, "valid")
    clean = examples(family, draw_valid(family, cfg, keys))
    assert all(clean[image] == {valid[image]} for image in clean)


def test_noise_of_numbers_has_its_standard_deviation():
    family = tasks.make("diabetes_mlp_family")
    keys = jax.random.split(KEY(1), 100)
    quiet, noisy = (
        draw_train(family, with_subset(family, noise=jnp.float32(noise)), keys)
        for noise in (0.0, 0.7)
    )
    np.testing.assert_array_equal(quiet["features"], noisy["features"])
    error = np.unique(np.asarray(noisy["target"] - quiet["target"]).round(4))
    assert len(error) > 200
    assert abs(error.mean()) < 4 * 0.7 / np.sqrt(len(error))
    np.testing.assert_allclose(error.std(), 0.7, rtol=4 / np.sqrt(2 * len(error)))


def test_a_halved_batch_repeats_its_examples(family):
    cfg = member(family, distinct=jnp.int32(16))
    keys = jax.random.split(KEY(2), 1)
    small, full = (
        np.asarray(draw_train(family, c, keys)["image"][0]) for c in (cfg, member(family))
    )
    np.testing.assert_array_equal(small.reshape(4, 16, -1), np.stack([full[:16]] * 4))
    valid = draw_valid(family, cfg, keys)["image"][0]
    assert len(np.unique(valid, axis=0)) > 48


@jax.jit
def value_and_grad(family, cfg):
    params = family.init(KEY(1), cfg)
    batch = family.batch(KEY(2), member(family), "train")
    loss = lambda p: family.loss(KEY(3), cfg, p, batch)[0]  # noqa: E731
    return params, *jax.value_and_grad(loss)(params)


def test_reparametrisation_keeps_the_function_and_scales_the_gradient(family):
    plain = member(family)
    scaled = plain._replace(reparam=family.sample(KEY(9)).reparam ** 4)
    (params, loss, grad), (params_r, loss_r, grad_r) = (
        value_and_grad(family, cfg) for cfg in (plain, scaled)
    )
    np.testing.assert_allclose(loss_r, loss, rtol=1e-5)
    for i, (p, g, p_r, g_r) in enumerate(
        zip(*map(jax.tree.leaves, (params, grad, params_r, grad_r)), strict=True)
    ):
        np.testing.assert_allclose(p_r * scaled.reparam[i], p, rtol=1e-6)
        expected = g * scaled.reparam[i]
        largest = np.max(np.abs(expected))
        np.testing.assert_allclose(g_r / largest, expected / largest, atol=1e-4)


def test_initial_scale_is_that_of_kernels():
    family = tasks.make("digits_vit_family", width=8)
    plain, wide = (
        jax.jit(family.init)(KEY(1), member(family, init_scale=jnp.float32(scale)))
        for scale in (1, 1.5)
    )
    for (path, a), b in zip(jax.tree.leaves_with_path(plain), jax.tree.leaves(wide), strict=True):
        drawn = path[-1].key in ("kernel", "embedding")
        np.testing.assert_allclose(b, a * (1.5 if drawn else 1), rtol=1e-6)


def test_fields_are_those_of_the_task_and_of_the_augmentation():
    fields = inspect.signature(tasks.TASKS["digits_conv_family"]).parameters
    assert {"channels", "data_seed", "num_examples", "label_noise", "init_scale"} <= set(fields)
    assert fields["init_scale"].default == (0.5, 2.0)
    assert fields["channels"].default == (8, 16)
    assert "label_noise" not in inspect.signature(tasks.TASKS["induction_family"]).parameters


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_examples": (0, 10)}, "each entry of num_examples must be .* at least 1"),
        ({"num_examples": (20, 10)}, "num_examples must be .* smallest before largest"),
        ({"halvings": 3, "batch_size": 12}, "batch_size = 12 cannot be halved 3 times"),
        ({"reparam": (0, 1)}, "reparam must be finite"),
        ({"num_example": (1, 2)}, "Did you mean num_examples"),
    ],
)
def test_bad_fields_name_value_and_remedy(fields, message):
    with pytest.raises(ValueError, match=message):
        tasks.make("digits_conv_family", **fields)


def test_few_examples_are_no_more_than_there_are():
    family = tasks.make("iris_mlp_family", num_examples=(5000, 9000))
    assert family.num_examples == (90, 90)
