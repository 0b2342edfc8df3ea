"""Bundles of lopt as PyTorch optimizers: the rules ``mlp`` and ``adafac_mlp``, without JAX.

    optimizer = LearnedOptimizer(model.parameters(), "my_optimizer")

Copy this file into your project. The steps are those of ``lopt.load`` up to rounding
(tests/examples/test_torch_optimizer.py); ``lopt/mlp.py`` and ``lopt/accumulators.py`` say where
the rules come from.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load

TIMESCALES = (1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5)


class LearnedOptimizer(torch.optim.Optimizer):
    """A learned optimizer; there is nothing to tune.

    Args:
        params: parameters, or groups of them, of floating point.
        bundle: folder that ``lopt export`` or ``lopt.save`` has written.

    Raises:
        ValueError: the folder holds no bundle, a damaged one, or one of another rule.
    """

    def __init__(self, params, bundle):
        rule, self.fields, self.theta = read_bundle(Path(bundle))
        self.init_averages, self.features, self.square_scale = RULES[rule]
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step; returns the loss if there is a closure that computes it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None and param.numel():
                    self._move(param)
        return loss

    def _move(self, param):
        """Add the step: -d exp(exp_mult a) step_mult, with (d, a) = MLP(features, time)."""
        theta = {name: x.to(param.device) for name, x in self.theta.items()}
        state, grad = self.state[param], param.grad.float()
        if not state:
            state["step"] = 0
            state.update(self.init_averages(grad))
        features = self.features(theta, grad, param.float(), state)
        inputs = torch.cat([x.expand(len(x), *grad.shape).reshape(len(x), -1) for x in features])
        direction, magnitude = self._apply_net(theta, inputs, state["step"])
        size = torch.exp(magnitude * self.fields["exp_mult"]) * self.fields["step_mult"]
        param.add_((-direction * size).reshape(param.shape).to(param.dtype))
        state["step"] += 1

    def _apply_net(self, theta, inputs, step):
        """The network once per parameter: inputs [features, parameters] to outputs [2, ...].

        Inputs are divided by their root mean square over the tensor; functions of the time, the
        same for all parameters, are a part of the first bias.
        """
        mean_square = (inputs * self.square_scale).square().mean(1)
        rms = (mean_square + 1e-5 * self.square_scale**2).sqrt() / self.square_scale
        timescales = torch.tensor(TIMESCALES, device=inputs.device)
        first = theta["mlp/w0"].split([len(inputs), len(timescales)])
        bias = theta["mlp/b0"] + torch.tanh(step / timescales - 1) @ first[1]
        units = (first[0] / rms[:, None]).T @ inputs + bias[:, None]
        for i in range(1, len(self.fields["hidden"]) + 1):
            weights, bias = theta[f"mlp/w{i}"], theta[f"mlp/b{i}"]
            units = weights.T @ units.relu() + bias[:, None]
        return units


def read_bundle(folder):
    """Name of the rule, its fields and its meta-parameters by name."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        weights = (folder / "theta.safetensors").read_bytes()
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is no bundle: {error}") from error
    if config.get("format") != "lopt-bundle" or config["format_version"] not in (1, 2, 3):
        raise ValueError(f"{folder} is no bundle of format version 1 to 3")
    name = "weights_sha256" if config["format_version"] >= 3 else "theta_sha256"
    if hashlib.sha256(weights).hexdigest() != config[name]:
        raise ValueError(f"{folder / 'theta.safetensors'} is damaged: another SHA-256")
    optimizer = config["optimizer"]
    rule, version = optimizer["name"], optimizer.get("feature_version", 1)
    if rule not in RULES or version != 1:
        raise ValueError(f"{folder} holds {rule!r}, version {version}; known are {list(RULES)}, 1")
    return rule, optimizer["fields"], load(weights)


def move_averages(old, new, rates):
    """Move averages [k, ...] towards a new value, by k rates."""
    rates = rates.reshape(-1, *[1] * new.dim())
    old.mul_(1 - rates).add_(rates * new)


def mlp_averages(grad):
    """State of ``mlp``: six momenta."""
    return {"momenta": grad.new_zeros(6, *grad.shape)}


def mlp_features(theta, grad, param, state):
    """The eight features of ``mlp``."""
    decays = torch.tensor((0.1, 0.5, 0.9, 0.99, 0.999, 0.9999), dtype=torch.float64)
    move_averages(state["momenta"], grad, (1 - decays).to(grad))
    return [grad[None], param[None], state["momenta"]]


def adafac_averages(grad):
    """State of ``adafac_mlp``: momenta, second moments, and those of rows and columns."""
    row = [1 if axis == factored_axes(grad)[0] else n for axis, n in enumerate(grad.shape)]
    col = [1 if axis == factored_axes(grad)[1] else n for axis, n in enumerate(grad.shape)]
    return {
        "momenta": grad.new_zeros(3, *grad.shape),
        "second": grad.new_zeros(1, *grad.shape),
        "row": grad.new_zeros(3, *row),
        "col": grad.new_zeros(3, *col),
    }


def factored_axes(grad):
    """The longest axis and the second-longest; of equals the later is longer."""
    order = sorted(range(grad.dim()), key=lambda axis: grad.shape[axis])
    return (order[-1], order[-2]) if len(order) > 1 else (None, None)


def adafac_features(theta, grad, param, state):
    """The 28 features of ``adafac_mlp``."""

    def rates(decays, name):
        decays = torch.tensor(decays, dtype=torch.float64)
        return (1 - decays).to(grad) * torch.exp(10 * theta[name])

    factored_rates = rates((0.9, 0.99, 0.999), "adafactor_decays").clamp(max=1)
    square, (longest, second_longest) = grad.square(), factored_axes(grad)
    momenta, second, row, col = (state[name] for name in ("momenta", "second", "row", "col"))
    move_averages(momenta, grad, rates((0.9, 0.99, 0.999), "momentum_decays"))
    move_averages(second, square, rates((0.999,), "rms_decays").clamp(max=1))
    if longest is None:
        move_averages(row, square + 1e-30, factored_rates)
        col = row
        by_gradient, by_momentum = safe_rsqrt(row + 1e-9), (row + 1e-6).rsqrt()
    else:
        move_averages(row, square.mean(longest, keepdim=True) + 1e-30, factored_rates)
        move_averages(col, square.mean(second_longest, keepdim=True) + 1e-30, factored_rates)
        mean = row.mean(1 + second_longest, keepdim=True)
        by_gradient = by_momentum = safe_rsqrt(row / (mean + 1e-9)) * safe_rsqrt(col)
    rsqrt = (second + 1e-6).rsqrt()
    return [
        grad[None], param[None], momenta, second, momenta * rsqrt, rsqrt, grad * by_gradient,
        row, col, (row + 1e-8).rsqrt(), (col + 1e-8).rsqrt(), momenta * by_momentum,
    ]  # fmt: skip


def safe_rsqrt(x):
    """One over the root, for numbers down to zero."""
    return x.clamp(min=1e-9).rsqrt()


RULES = {
    "mlp": (mlp_averages, mlp_features, 2.0**-32),
    "adafac_mlp": (adafac_averages, adafac_features, 1.0),
}
"""Rule -> first averages, features, and a factor with which squares of features stay finite."""
