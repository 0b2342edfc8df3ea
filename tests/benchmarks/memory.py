"""Memory of a PES meta-step on one device, by optimizer, pairs and width of an MNIST MLP.

    python tests/benchmarks/memory.py

Nothing is trained: the state is that of the shapes, the whole is what XLA says of the compiled
program, with its temporaries and the data (10,000 images).
"""

import os
import sys

CASES = (("mlp", 4, 32), ("mlp", 16, 32), ("mlp", 4, 512), ("adafac_mlp", 4, 512), ("lstm", 4, 512))


def num_bytes(tree) -> int:
    import jax

    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def main() -> None:
    import jax
    import jax.numpy as jnp
    import optax

    import lopt
    import meta_train
    from tasks.image_classifier import ImageClassifier
    from tasks.networks import MLP
    from tests.benchmarks.meta_step import random_dataset

    data = jax.tree.map(jnp.asarray, random_dataset((28, 28, 1)))
    for name, pairs, width in CASES:
        task = ImageClassifier(data, MLP((width,), 10), 128, 1.0)
        system = meta_train.LoptSystem(lopt.LOPTS[name](), task)
        estimator = meta_train.PES(1000, 20, num_pairs=pairs, std=0.01)
        trainer = meta_train.MetaTrainer([system], estimator, optax.adam(1e-4))
        parameters = 784 * width + width + width * 10 + 10
        state = num_bytes(trainer.abstract_state().estimator_states) / (2 * pairs)
        print(
            f"{name:10} {pairs:3} pairs, 784-{width}-10: {state / parameters:6.1f} bytes per "
            f"parameter and particle, {trainer.compile() / 1e6:8.1f} MB in all"
        )


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    main()
