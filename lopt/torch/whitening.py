"""The whitening of ``lopt/whitening.py`` in PyTorch, of a tensor laid out as JAX has it."""

from typing import Any

import torch
from torch import Tensor

from lopt.whitening import DECAY, MAX_SIDE, MAX_TURN, SMALLEST

Sides = dict[int, list[Any]]
"""By axis of the folded shape: its covariance, and a basis in which that becomes diagonal."""


def first_sides(weight: Tensor) -> Sides:
    """The state of one tensor before its first gradient; empty where no axis is short."""
    shape = _folded_shape(weight) if weight.dim() > 1 else (1,)
    short = {axis: n for axis, n in enumerate(shape) if len(shape) > 1 and 1 < n <= MAX_SIDE}
    return {axis: [weight.new_zeros(n, n), torch.eye(n).to(weight)] for axis, n in short.items()}


def whiten(grad: Tensor, sides: Sides, damping: float, correction: float) -> Tensor:
    """The gradient with its slices along short axes made nearly uncorrelated; moves the state."""
    folded = grad.reshape(_folded_shape(grad)) if sides else grad
    white = folded
    for axis, (covariance, basis) in sides.items():
        slices = folded.unflatten(axis, (1, -1, 1)).flatten(0, axis).flatten(2).movedim(1, 0)
        slices = slices.movedim(2, 1) if slices.shape[2] == 1 else slices
        rows = slices[:, :, :: max(grad.numel() // len(slices) ** 2, 1)].flatten(1)
        covariance += (1 - DECAY) * (rows @ rows.T / rows.shape[1] - covariance)
        mean = correction * covariance.trace() / len(rows)
        relative = covariance * (correction / torch.where(mean > SMALLEST, mean, 1.0))
        turned = basis.T @ relative @ basis
        diagonal = turned.diagonal()
        root = basis * (diagonal.clamp(min=0.0) + damping).rsqrt() @ basis.T
        white = torch.tensordot(root, white, dims=([1], [axis])).movedim(0, axis)
        gaps = diagonal[None] - diagonal[:, None]
        turns = turned * gaps / (gaps.square() + 2 * turned.square() + SMALLEST)
        turns *= MAX_TURN / turns.abs().sum(1).max().clamp(min=MAX_TURN)
        basis = basis + basis @ turns
        sides[axis] = [covariance, 1.5 * basis - 0.5 * basis @ (basis.T @ basis)]
    return white.reshape(grad.shape)


def _folded_shape(weight: Tensor) -> tuple[int, ...]:
    """The shape with leading axes multiplied as long as they make a short one."""
    folded = [1]
    for n in weight.shape[:-1]:
        fits = folded[-1] * n <= MAX_SIDE
        folded = [*folded[:-1], folded[-1] * n] if fits else [*folded, n]
    return (*(n for n in folded if n > 1), weight.shape[-1])
