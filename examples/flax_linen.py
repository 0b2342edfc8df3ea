"""A learned optimizer in a Flax linen ``TrainState``, on handwritten digits.

    python examples/flax_linen.py                               # with one that comes with lopt
    python examples/flax_linen.py runs/digits_mlp_pes/bundle    # with one of your own

Flax's own ``TrainState.apply_gradients`` works too, but cannot tell the optimizer the loss, at
which some learned optimizers look. That of the ``TrainState`` below can.
"""

import sys

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state
from sklearn.datasets import load_digits

import lopt

NUM_STEPS = 200
BATCH_SIZE = 64


class TrainState(train_state.TrainState):
    """Flax's, whose ``apply_gradients`` also takes the loss."""

    def apply_gradients(self, *, grads, value, **changes):
        """The state after one step; ``changes`` replace further fields of the state."""
        tx = optax.with_extra_args_support(self.tx)
        updates, state = tx.update(grads, self.opt_state, self.params, value=value)
        params = optax.apply_updates(self.params, updates)
        return self.replace(step=self.step + 1, params=params, opt_state=state, **changes)


class Classifier(nn.Module):
    """A network 64-32-10."""

    @nn.compact
    def __call__(self, images):
        """Logits of a batch of images."""
        return nn.Dense(10)(nn.relu(nn.Dense(32)(images)))


def loss_of(params, apply_fn, images, labels):
    """Mean cross entropy of a batch."""
    logits = apply_fn({"params": params}, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@jax.jit
def step(state, images, labels):
    """The state after one batch, and the batch's loss."""
    loss, grads = jax.value_and_grad(loss_of)(state.params, state.apply_fn, images, labels)
    return state.apply_gradients(grads=grads, value=loss), loss


def main(bundle="general"):
    """Train with a bundle that comes with lopt, or that of a folder, and print the loss."""
    images, labels = load_digits(return_X_y=True)
    images, labels = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels)
    model = Classifier()
    state = TrainState.create(
        apply_fn=model.apply,
        params=model.init(jax.random.key(0), images[:1])["params"],
        tx=lopt.load(bundle, num_steps=NUM_STEPS),
    )
    for i in range(NUM_STEPS + 1):
        key = jax.random.fold_in(jax.random.key(1), i)
        rows = jax.random.randint(key, (BATCH_SIZE,), 0, len(images))
        state, loss = step(state, images[rows], labels[rows])
        if i % 50 == 0:
            print(f"step {i}  loss {loss:.4f}")
    # A schedule-free optimizer keeps an average of the parameters, which is what to judge and use.
    params = lopt.evaluation_params(state.opt_state, state.params)
    print(f"trained  loss {loss_of(params, state.apply_fn, images, labels):.4f}")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
