"""Networks over images against what they claim to compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tasks.convolution import Conv
from tasks.image_autoencoder import kl_from_standard_normal
from tasks.image_resnet import ResidualBlock
from tasks.image_vit import split_patches
from tasks.networks import parameter_shapes
from tests import rounding

KEY = jax.random.key


@pytest.mark.parametrize(
    ("shape", "size", "stride"),
    [((8, 8, 1), 3, 2), ((7, 5, 3), 3, 1), ((7, 5, 3), 3, 2), ((6, 6, 2), 1, 2), ((1, 2, 2), 3, 2)],
)
def test_convolution_equals_that_of_xla(shape, size, stride):
    rng = np.random.default_rng(0)
    image, kernel, bias = (
        rng.normal(size=s).astype(np.float32) for s in ((2, *shape), (size, size, shape[-1], 4), 4)
    )

    @jax.jit
    def both(image, kernel, bias):
        params = {"params": {"kernel": kernel, "bias": bias}}
        ours = Conv(4, size=size, stride=stride).apply(params, image)
        theirs = jax.lax.conv_general_dilated(
            image, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return ours, theirs + bias[None, None, None]

    ours, theirs = both(image, kernel, bias)
    absolute, _ = both(*map(np.abs, (image, kernel, bias)))
    bound = 2 * rounding.of_sum(size * size * shape[-1] + 1) * absolute
    assert np.all(np.abs(ours - theirs) <= bound)


def test_residual_block_whose_branch_is_zero_is_the_identity():
    block = ResidualBlock(channels=4, stride=1, groups=2)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 4)), jnp.float32)

    params = jax.tree.map(lambda x: jnp.ones(x.shape), parameter_shapes(block, image))
    silent = {**params, "Conv_1": jax.tree.map(jnp.zeros_like, params["Conv_1"])}
    apply = jax.jit(lambda params, image: block.apply({"params": params}, image))
    np.testing.assert_array_equal(apply(silent, image), image)
    assert float(jnp.max(jnp.abs(apply(params, image) - image))) > 0.1


def test_patches_are_the_squares_of_the_image():
    images = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    patches = split_patches(jnp.asarray(images.reshape(2, -1), jnp.float32), (4, 6, 3), 2)
    assert patches.shape == (2, 6, 12)
    np.testing.assert_array_equal(patches[1, 0], images[1, :2, :2].ravel())
    np.testing.assert_array_equal(patches[1, 4], images[1, 2:4, 2:4].ravel())


def test_autoencoder_that_says_nothing_has_the_loss_of_a_grey_image():
    task = tasks.make("digits_autoencoder", batch_size=1000)
    params = jax.tree.map(lambda x: jnp.zeros(x.shape), jax.eval_shape(task.init, KEY(0), ()))
    # Parameters are arguments: where they are constant zeros, XLA's CPU code sometimes gives NaN.
    loss = jax.jit(lambda key, p: task.loss(key, (), p, task.batch(key, (), "train"))[0])
    np.testing.assert_allclose(loss(KEY(0), params), 1, atol=0.01)


@pytest.fixture(scope="module")
def vae():
    task = tasks.make("digits_vae", batch_size=20)
    params, batch = jax.jit(lambda key: (task.init(key, ()), task.batch(key, (), "train")))(KEY(0))
    return task, params, batch, jax.jit(task.loss)


def test_vae_that_says_nothing_codes_bernoulli_halves(vae):
    task, params, batch, loss = vae
    silent = jax.tree.map(jnp.zeros_like, params)
    value, metrics = loss(KEY(0), (), silent, batch)
    rtol = rounding.of_sum(batch["image"].size)
    np.testing.assert_allclose(value, np.log(2), rtol=rtol)
    assert metrics["kl"] == 0
    logit = np.linspace(-3, 3, 64, dtype=np.float32)
    silent["decoder"]["Dense_1"]["bias"] = jnp.asarray(logit)
    stored = (batch["image"] - task.data.offset[None]) / task.data.scale[None]
    intensity = np.rint(np.asarray(stored)) / 16  # the digits' pixels are 0 to 16
    p = 1 / (1 + np.exp(-logit.astype(np.float64)))
    expected = -np.mean(intensity * np.log(p) + (1 - intensity) * np.log(1 - p))
    # Its terms are differences, of numbers that are less than four times as large on average.
    np.testing.assert_allclose(loss(KEY(0), (), silent, batch)[0], expected, rtol=4 * rtol)


def test_vae_loss_is_the_sum_of_its_terms_and_the_key_draws_the_codes(vae):
    _, params, batch, loss = vae
    first, metrics = loss(KEY(0), (), params, batch)
    again, other = loss(KEY(0), (), params, batch)[0], loss(KEY(1), (), params, batch)[0]
    np.testing.assert_allclose(first, metrics["kl"] + metrics["reconstruction"], rtol=1e-6)
    assert first == again != other


def test_kl_is_the_mean_log_ratio_of_the_densities():
    mean, std = np.array([0.5, -1.0, 0.0]), np.array([0.5, 1.5, 1.0])
    draws = mean + std * np.random.default_rng(0).normal(size=(400_000, 3))
    ratio = -np.log(std) - 0.5 * ((draws - mean) / std) ** 2 + 0.5 * draws**2
    expected = ratio.sum(axis=1)
    inputs = (jnp.asarray(x[None], jnp.float32) for x in (mean, 2 * np.log(std)))
    error = abs(float(kl_from_standard_normal(*inputs)[0]) - expected.mean())
    assert error < 4 * expected.std() / np.sqrt(len(draws))
