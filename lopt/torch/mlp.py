"""The rules ``mlp`` and ``adafac_mlp`` in PyTorch; see ``lopt/mlp.py`` and ``lopt/adafac_mlp.py``.

A network gives the step of every parameter from features of it, [features, parameters].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lopt import accumulators, mlp, per_parameter


class _MLP:
    """What the two rules share; they differ in their features."""

    square_scale: float

    def __init__(self, fields: Any, theta: Mapping[str, Tensor], num_steps: int | None) -> None:
        self.fields, self.theta = fields, theta

    def features(
        self, theta: Mapping[str, Tensor], grad: Tensor, param: Tensor, state: dict[str, Any]
    ) -> list[Tensor]:
        """Arrays [k, ...] that broadcast to the parameter's shape; moves the state."""
        raise NotImplementedError

    def step(
        self, grad: Tensor, param: Tensor, state: dict[str, Any], value: float | None
    ) -> Tensor:
        """The step: -d exp(exp_mult a) step_mult, with (d, a) = MLP(features, time)."""
        theta = {name: x.to(grad.device) for name, x in self.theta.items()}
        features = self.features(theta, grad, param, state)
        inputs = torch.cat([x.expand(len(x), *grad.shape).reshape(len(x), -1) for x in features])
        direction, magnitude = self._apply_net(theta, inputs, state["step"])
        size = torch.exp(magnitude * self.fields.exp_mult) * self.fields.step_mult
        return (-direction * size).reshape(grad.shape)

    def _apply_net(self, theta: Mapping[str, Tensor], inputs: Tensor, step: int) -> Tensor:
        """The network once per parameter: inputs [features, parameters] to outputs [2, ...].

        Inputs are divided by their root mean square over the tensor; functions of the time, the
        same for all parameters, are a part of the first bias.
        """
        mean_square = (inputs * self.square_scale).square().mean(1)
        epsilon = per_parameter.NORMALISER_EPSILON * self.square_scale**2
        rms = (mean_square + epsilon).sqrt() / self.square_scale
        timescales = torch.tensor(per_parameter.TIMESCALES, device=inputs.device)
        first = theta["mlp/w0"].split([len(inputs), len(timescales)])
        bias = theta["mlp/b0"] + torch.tanh(step / timescales - 1) @ first[1]
        units = (first[0] / rms[:, None]).T @ inputs + bias[:, None]
        for i in range(1, len(self.fields.hidden) + 1):
            weights, bias = theta[f"mlp/w{i}"], theta[f"mlp/b{i}"]
            units = weights.T @ units.relu() + bias[:, None]
        return units


class PlainMLP(_MLP):
    """``mlp``: eight features of every parameter, with six momenta."""

    square_scale = mlp.SQUARE_SCALE

    def init(self, grad: Tensor) -> dict[str, Tensor]:
        """First averages."""
        return {"momenta": grad.new_zeros(len(mlp.MOMENTUM_RATES), *grad.shape)}

    def features(
        self, theta: Mapping[str, Tensor], grad: Tensor, param: Tensor, state: dict[str, Any]
    ) -> list[Tensor]:
        _move_averages(state["momenta"], grad, torch.tensor(mlp.MOMENTUM_RATES).to(grad))
        return [grad[None], param[None], state["momenta"]]


class AdafacMLP(_MLP):
    """``adafac_mlp``: 28 features, with momenta, second moments, and those of rows and columns."""

    square_scale = 1.0

    def init(self, grad: Tensor) -> dict[str, Tensor]:
        """First averages."""
        row = [1 if axis == _factored_axes(grad)[0] else n for axis, n in enumerate(grad.shape)]
        col = [1 if axis == _factored_axes(grad)[1] else n for axis, n in enumerate(grad.shape)]
        return {
            "momenta": grad.new_zeros(3, *grad.shape),
            "second": grad.new_zeros(1, *grad.shape),
            "row": grad.new_zeros(3, *row),
            "col": grad.new_zeros(3, *col),
        }

    def features(
        self, theta: Mapping[str, Tensor], grad: Tensor, param: Tensor, state: dict[str, Any]
    ) -> list[Tensor]:
        def rates(published: np.ndarray, name: str) -> Tensor:
            return torch.tensor(published).to(grad) * torch.exp(10 * theta[name])

        published = accumulators.RATES
        factored_rates = rates(published.row, "adafactor_decays").clamp(max=1)
        square, (longest, second_longest) = grad.square(), _factored_axes(grad)
        momenta, second, row, col = (state[name] for name in ("momenta", "second", "row", "col"))
        _move_averages(momenta, grad, rates(published.momenta, "momentum_decays"))
        of_square = rates(published.second_moment, "rms_decays").clamp(max=1)
        _move_averages(second, square, of_square)
        if longest is None or second_longest is None:
            _move_averages(row, square + 1e-30, factored_rates)
            col = row
            by_gradient, by_momentum = _safe_rsqrt(row + 1e-9), (row + 1e-6).rsqrt()
        else:
            _move_averages(row, square.mean(longest, keepdim=True) + 1e-30, factored_rates)
            _move_averages(col, square.mean(second_longest, keepdim=True) + 1e-30, factored_rates)
            mean = row.mean(1 + second_longest, keepdim=True)
            by_gradient = by_momentum = _safe_rsqrt(row / (mean + 1e-9)) * _safe_rsqrt(col)
        rsqrt = (second + 1e-6).rsqrt()
        return [
            grad[None], param[None], momenta, second, momenta * rsqrt, rsqrt, grad * by_gradient,
            row, col, (row + 1e-8).rsqrt(), (col + 1e-8).rsqrt(), momenta * by_momentum,
        ]  # fmt: skip


def _move_averages(old: Tensor, new: Tensor, rates: Tensor) -> None:
    """Move averages [k, ...] towards a new value, by k rates."""
    rates = rates.reshape(-1, *[1] * new.dim())
    old.mul_(1 - rates).add_(rates * new)


def _factored_axes(grad: Tensor) -> tuple[int, int] | tuple[None, None]:
    """The longest axis and the second-longest; of equals the later is longer."""
    order = sorted(range(grad.dim()), key=lambda axis: grad.shape[axis])
    return (order[-1], order[-2]) if len(order) > 1 else (None, None)


def _safe_rsqrt(x: Tensor) -> Tensor:
    """One over the root, for numbers down to zero."""
    return x.clamp(min=1e-9).rsqrt()
