"""A learned optimizer in a plain JAX loop, on handwritten digits.

python examples/plain_jax.py                               # with one that comes with lopt
python examples/plain_jax.py runs/digits_mlp_pes/bundle    # with one of your own
"""

import sys

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

import lopt

NUM_STEPS = 200
BATCH_SIZE = 64


def init(key):
    """Parameters of a network 64-32-10."""
    key_hidden, key_output = jax.random.split(key)
    return {
        "hidden": {"w": jax.random.normal(key_hidden, (64, 32)) / 8, "b": jnp.zeros(32)},
        "output": {"w": jax.random.normal(key_output, (32, 10)) / 6, "b": jnp.zeros(10)},
    }


def loss_of(params, images, labels):
    """Mean cross entropy of a batch."""
    hidden = jax.nn.relu(images @ params["hidden"]["w"] + params["hidden"]["b"])
    logits = hidden @ params["output"]["w"] + params["output"]["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def main(bundle="general"):
    """Train with a bundle that comes with lopt, or that of a folder, and print the loss."""
    images, labels = load_digits(return_X_y=True)
    images, labels = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels)
    optimizer = lopt.load(bundle, num_steps=NUM_STEPS)  # the only line about learned optimizers

    @jax.jit
    def step(key, params, state):
        rows = jax.random.randint(key, (BATCH_SIZE,), 0, len(images))
        loss, grads = jax.value_and_grad(loss_of)(params, images[rows], labels[rows])
        # Some optimizers look at the loss; the others ignore it.
        updates, state = optimizer.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    params = init(jax.random.key(0))
    state = optimizer.init(params)
    for i in range(NUM_STEPS + 1):
        params, state, loss = step(jax.random.fold_in(jax.random.key(1), i), params, state)
        if i % 50 == 0:
            print(f"step {i}  loss {loss:.4f}")
    # A schedule-free optimizer keeps an average of the parameters, which is what to judge and use.
    params = lopt.evaluation_params(state, params)
    print(f"trained  loss {loss_of(params, images, labels):.4f}")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
