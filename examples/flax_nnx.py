"""A learned optimizer in Flax NNX, on handwritten digits.

python examples/flax_nnx.py                               # with one that comes with lopt
python examples/flax_nnx.py runs/digits_mlp_pes/bundle    # with one of your own
"""

import sys

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from sklearn.datasets import load_digits

import lopt

NUM_STEPS = 200
BATCH_SIZE = 64


class Classifier(nnx.Module):
    """A network 64-32-10."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 32, rngs=rngs)
        self.output = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, images):
        """Logits of a batch of images."""
        return self.output(nnx.relu(self.hidden(images)))


def loss_of(model, images, labels):
    """Mean cross entropy of a batch."""
    logits = model(images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@nnx.jit
def step(model, optimizer, images, labels):
    """Train on one batch; returns its loss."""
    loss, grads = nnx.value_and_grad(loss_of)(model, images, labels)
    # Keyword arguments reach the Optax optimizer: some learned ones look at the loss.
    optimizer.update(model, grads, value=loss)
    return loss


def main(bundle="general"):
    """Train with a bundle that comes with lopt, or that of a folder, and print the loss."""
    images, labels = load_digits(return_X_y=True)
    images, labels = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels)
    model = Classifier(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, lopt.load(bundle, num_steps=NUM_STEPS), wrt=nnx.Param)
    for i in range(NUM_STEPS + 1):
        key = jax.random.fold_in(jax.random.key(1), i)
        rows = jax.random.randint(key, (BATCH_SIZE,), 0, len(images))
        loss = step(model, optimizer, images[rows], labels[rows])
        if i % 50 == 0:
            print(f"step {i}  loss {loss:.4f}")
    # A schedule-free optimizer keeps an average of the parameters, which is what to judge and use.
    params, state = nnx.as_pure((nnx.state(model, nnx.Param), optimizer.opt_state))
    nnx.update(model, lopt.evaluation_params(state, params))
    print(f"trained  loss {loss_of(model, images, labels):.4f}")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
