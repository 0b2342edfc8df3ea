"""A learned optimizer in PyTorch, on handwritten digits; JAX is not needed.

    lopt meta-train --config=digits_mlp_pes --config.optimizer.name=mlp --workdir=runs/digits_mlp
    python examples/pytorch_digits.py runs/digits_mlp/bundle

The bundle is one of `mlp` or `adafac_mlp`. Needs torch, safetensors and scikit-learn, and
torch_optimizer.py beside this file.
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch_optimizer import LearnedOptimizer

NUM_STEPS = 200
BATCH_SIZE = 64


def main(bundle):
    """Train, and print the loss."""
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = LearnedOptimizer(model.parameters(), bundle)
    for i in range(NUM_STEPS + 1):
        rows = torch.randint(len(images), (BATCH_SIZE,))
        loss = torch.nn.functional.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 50 == 0:
            print(f"step {i}  loss {loss:.4f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
