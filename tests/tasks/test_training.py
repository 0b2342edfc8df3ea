"""Adam learns every task that needs no download."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tasks

# The training loss after 300 steps, as a share of the first.
SHARES = {
    "digits_mlp": 0.3,
    "digits_conv": 0.3,
    "digits_resnet": 0.1,
    "digits_vit": 0.3,
    "digits_autoencoder": 0.3,
    "digits_vae": 0.6,
    "breast_cancer_mlp": 0.2,
    "wine_mlp": 0.2,
    "diabetes_mlp": 0.6,
    "text_lstm": 0.7,
    "text_transformer": 0.6,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SHARES))
def test_adam_lowers_the_training_loss(name):
    task, adam = tasks.make(name), optax.adam(3e-3)

    @jax.jit
    def train(task, key):
        def step(carry, t):
            params, state = carry
            key_t = jax.random.fold_in(key, t)
            batch = task.batch(key_t, (), "train")
            loss, grad = jax.value_and_grad(lambda p: task.loss(key_t, (), p, batch)[0])(params)
            updates, state = adam.update(grad, state, params)
            return (optax.apply_updates(params, updates), state), loss

        params = task.init(key, ())
        return jax.lax.scan(step, (params, adam.init(params)), jnp.arange(300))[1]

    losses = np.asarray(train(task, jax.random.key(0)))
    assert losses[-30:].mean() < SHARES[name] * losses[0]
