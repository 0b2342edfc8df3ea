"""A learned optimizer in PyTorch, on handwritten digits.

    python examples/pytorch_digits.py                # with one that comes with lopt
    python examples/pytorch_digits.py my_optimizer   # with one of your own

Needs ``pip install 'lopt[torch]' scikit-learn``.
"""

import sys

import torch
from sklearn.datasets import load_digits

from lopt.torch import LearnedOptimizer

NUM_STEPS = 200
BATCH_SIZE = 64


def main(bundle="general"):
    """Train with a bundle, given by its folder or its name, and print the loss."""
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = LearnedOptimizer(model.parameters(), bundle, num_steps=NUM_STEPS)
    for i in range(NUM_STEPS + 1):
        rows = torch.randint(len(images), (BATCH_SIZE,))
        loss = torch.nn.functional.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(value=loss)
        if i % 50 == 0:
            print(f"step {i}  loss {loss:.4f}")
    with optimizer.evaluation():  # with the average that a schedule-free optimizer keeps
        loss = torch.nn.functional.cross_entropy(model(images), labels)
    print(f"trained  loss {loss:.4f}")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
