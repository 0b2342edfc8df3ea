"""Adam learns several members of every new task that needs no download."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tasks

# Learning rate, and the share of its first loss that the median member has left after 300 steps.
SETTINGS = {
    "patches_mlp_family": (1e-2, 0.8),
    "patches_conv_family": (1e-2, 0.85),
    "patches_resnet_family": (1e-2, 0.85),
    "patches_vit_family": (3e-3, 0.8),
    "patches_autoencoder_family": (3e-3, 0.2),
    "patches_vae_family": (3e-3, 0.95),
    "memorization_family": (1e-2, 0.8),
    "patches_linear_family": (1e-2, 0.9),
    "digits_conv_family": (1e-2, 0.5),
    "digits_resnet_family": (1e-2, 0.5),
    "digits_vit_family": (1e-2, 0.5),
    "digits_autoencoder_family": (3e-3, 0.4),
    "diabetes_mlp_family": (1e-2, 0.5),
    "iris_mlp_family": (1e-2, 0.4),
    "teacher_regression_family": (1e-2, 0.3),
    "sine_regression_family": (1e-2, 0.5),
    "deep_linear_family": (3e-3, 0.8),
    "induction_family": (3e-3, 0.7),
    "copy_lstm_family": (1e-2, 0.7),
    "sort_rnn_family": (1e-2, 0.7),
    "bigram_family": (1e-2, 0.95),
    "least_squares_family": (3e-2, 0.3),
    "logistic_regression_family": (3e-2, 0.8),
    "least_absolute_family": (3e-2, 0.7),
    "matrix_factorization_family": (3e-2, 0.3),
    "tensor_factorization_family": (3e-2, 0.3),
    "digits_mixer": (3e-3, 0.2),
    "iris_mlp": (1e-2, 0.2),
    "text_rnn": (1e-2, 0.75),
    "breast_cancer_mixture": (3e-2, 0.8),
    "wine_mixture": (3e-2, 0.8),
    "heat_equation": (1e-2, 0.3),
}


def test_every_family_that_needs_no_download_is_here():
    prepared = ("mnist", "fashion_mnist", "cifar10")
    embedded = [
        name for name in tasks.TASKS if name.endswith("_family") and not name.startswith(prepared)
    ]
    # Those of quadratics and MLPs on digits have tests of their own.
    assert set(embedded) - {"quadratic_family", "digits_mlp_family"} <= set(SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_adam_lowers_the_loss_of_several_members(name):
    rate, share = SETTINGS[name]
    task, adam = tasks.make(name), optax.adam(rate)

    @jax.jit
    def train(task, key):
        key_sample, key_init, key_steps = jax.random.split(key, 3)
        cfg = task.sample(key_sample)

        def step(carry, t):
            params, state = carry
            key_t = jax.random.fold_in(key_steps, t)
            batch = task.batch(key_t, cfg, "train")
            loss, grad = jax.value_and_grad(lambda p: task.loss(key_t, cfg, p, batch)[0])(params)
            updates, state = adam.update(grad, state, params)
            return (optax.apply_updates(params, updates), state), loss

        params = task.init(key_init, cfg)
        return jax.lax.scan(step, (params, adam.init(params)), jnp.arange(300))[1]

    losses = np.stack([train(task, jax.random.key(member)) for member in range(6)])
    first, last = losses[:, :5].mean(axis=1), losses[:, -30:].mean(axis=1)
    assert np.median(last / first) < share
    assert np.sum(last < first) >= 5
