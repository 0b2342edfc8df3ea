"""The rule ``schedule_free_mlp`` without its network in PyTorch; see ``lopt/schedule_free_mlp.py``.

Weights are laid out as PyTorch's layers have them, [outputs, inputs, *window]; the rule sees them
as JAX has them, [*window, inputs, outputs].
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lopt import loss_features, whitening
from lopt import schedule_free_mlp as rule
from lopt import schedule_free_passes as passes
from lopt.torch.whitening import first_sides, whiten

SECOND_RATE = 1 - passes.DECAY
"""At which the second moment moves."""


class ScheduleFree:
    """Schedule-free Adam on whitened gradients.

    Raises:
        ValueError: the rule has a network, or there is no ``num_steps``.
    """

    num_params: int
    """In all tensors."""

    def __init__(self, fields: Any, theta: Mapping[str, Tensor], num_steps: int | None) -> None:
        if fields.hidden:
            raise ValueError(f"hidden = {fields.hidden}: only () is known, without the network")
        if num_steps is None or num_steps < 1:
            raise ValueError(
                f"num_steps = {num_steps} must be how many steps the training will have"
            )
        scalars = {name.split("/")[1]: (rule.THETA_SCALE * x).tolist() for name, x in theta.items()}
        self.num_steps, self.weight_power = num_steps, scalars["weight_power"]
        self.learning_rate, self.weights = fields.learning_rate, scalars["step_size"]
        self.found = {name: getattr(fields, name) * math.exp(scalars[name]) for name in rule.FIELDS}
        logit = math.log(fields.beta) - math.log1p(-fields.beta)
        self.lag = 1 / (1 + math.exp(logit + scalars["beta"]))

    def init(self, grad: Tensor) -> dict[str, Any]:
        """What is kept for one tensor; "lead" is its distance from its average."""
        return {
            "whitening": first_sides(_as_in_jax(grad)),
            "second": torch.zeros_like(grad),
            "lead": torch.zeros_like(grad),
            **{name: grad.new_zeros(()) for name in ("path", "searched", "size")},
            "weight_sum": 0.0,
            "losses": 0,
            "loss_means": [0.0] * len(loss_features.RATES),
            "loss_distances": [0.0] * len(loss_features.RATES),
        }

    def step(
        self, grad: Tensor, param: Tensor, state: dict[str, Any], value: float | None
    ) -> Tensor:
        """The step of one tensor."""
        time, lead, path = state["step"], state["lead"], state["path"]
        _track_loss(state, value)
        warm = -math.expm1(-(time + 1) / self.found["warmup_steps"])
        weight = (time + 1) ** self.weight_power * warm**2
        state["weight_sum"] += weight
        mix = weight / state["weight_sum"]

        direction = self._direction(grad, state)
        mean_lead = lead.square().mean()
        agreement = mean_lead / (self.lag * path).square() if path > 0 else path.new_ones(())
        smallest = rule.SMALLEST_PARAMETERS**2
        size = ((param - lead).square().mean() + smallest).sqrt()
        features = [1, *self._features(param, size, agreement, state)]
        weighed = [w * x for w, x in zip(self.weights, features, strict=True)]
        log_factor = torch.as_tensor(sum(weighed))
        adapted = log_factor.clamp(-rule.MAX_LOG_FACTOR, rule.MAX_LOG_FACTOR).exp()

        limit = rule.MAX_RELATIVE * math.sqrt(_fan_in(param)) * size
        limit = limit.clamp(min=rule.MAX_LENGTH)
        squared = (adapted.square() * direction.square().mean()).clamp(min=1e-12)
        searched = torch.minimum(state["searched"], limit.log() - 0.5 * squared.log())
        usual = self.learning_rate / max(_fan_in(param) / rule.USUAL_FAN_IN, 1)
        step_size = usual * warm * adapted * searched.exp()
        over_lead = (mean_lead + 1e-6 * (self.lag * step_size).square()).rsqrt()
        cosine = ((direction * lead).mean() * over_lead).clamp(-1.0, 1.0)
        gain = self.found["gain"] + self.found["early_gain"] / (time + 1)
        turn = gain * cosine * self.found["tilt"] ** (1 if cosine < 0 else -1)
        state["searched"] = (searched - turn).clamp(-rule.MAX_SEARCHED, rule.MAX_SEARCHED)

        ahead = lead - self.lag * step_size * (direction + self.found["weight_decay"] * param)
        move = (1 + mix * (1 / self.lag - 1)) * ahead - lead
        state["lead"], state["path"] = (1 - mix) * ahead, (1 - mix) * (path + step_size)
        return move

    def _direction(self, grad: Tensor, state: dict[str, Any]) -> Tensor:
        """The whitened gradient over the root of its second moment; moves both averages."""
        time = state["step"]
        by_whitening, by_second = (
            1 / (1 - decay ** (time + 1)) for decay in (whitening.DECAY, passes.DECAY)
        )
        grad = grad.clamp(-rule.MAX_GRADIENT, rule.MAX_GRADIENT)
        sides, damping = state["whitening"], self.found["damping"]
        white = _as_in_torch(whiten(_as_in_jax(grad), sides, damping, by_whitening))
        state["second"] += SECOND_RATE * (white.square() - state["second"])
        rate = max(SECOND_RATE, 1 / (time + 1))
        state["size"] += rate * (white.square().mean() - state["size"])
        unit = torch.where(state["size"] > 1e-30, state["size"], 1.0).rsqrt()
        second = state["second"] * (by_second * unit.square())
        return white * unit * (second + passes.RELATIVE_EPSILON**2).rsqrt()

    def _features(
        self, param: Tensor, size: Tensor, agreement: Tensor, state: dict[str, Any]
    ) -> list[Any]:
        """The numbers at which the step size looks, in the order of their weights."""
        progress = min(state["step"] / self.num_steps, 1.0)
        return [
            float(param.dim() < 2),
            0.3 * math.log(_fan_in(param) / rule.USUAL_FAN_IN),
            0.15 * (math.log(param.numel()) - 6),
            0.3 * (size.log() + 2),
            0.3 * (1 + 0.5 * agreement.clamp(min=rule.SMALLEST_RATIO).log()),
            0.3 * state["searched"],
            0.15 * (math.log(self.num_params) - 8),
            0.5 * math.log(1.02 - progress),
            *(0.5 * trend for trend in _loss_trends(state)[1:]),
        ]


def _fan_in(param: Tensor) -> int:
    """Inputs of every output of a layer; a usual number for vectors."""
    return rule.USUAL_FAN_IN if param.dim() < 2 else param[0].numel()


def _as_in_jax(weight: Tensor) -> Tensor:
    """[outputs, inputs, *window] as [*window, inputs, outputs]; vectors are the same."""
    return weight.movedim((1, 0), (-2, -1)) if weight.dim() > 1 else weight


def _as_in_torch(weight: Tensor) -> Tensor:
    """The way back."""
    return weight.movedim((-2, -1), (1, 0)) if weight.dim() > 1 else weight


def _track_loss(state: dict[str, Any], value: float | None) -> None:
    """Take a loss into its averages over 1, 10, 100 and 1000 steps, if it is known and finite."""
    if value is None or not math.isfinite(value):
        return
    state["losses"] += 1
    value = min(max(value, -loss_features.MAX_LOSS), loss_features.MAX_LOSS)
    for i, rate in enumerate(loss_features.RATES.tolist()):
        rate = max(rate, 1 / state["losses"])
        state["loss_means"][i] += rate * (value - state["loss_means"][i])
        distance = abs(value - state["loss_means"][i])
        state["loss_distances"][i] += rate * (distance - state["loss_distances"][i])


def _loss_trends(state: dict[str, Any]) -> list[float]:
    """Short averages against longer ones: negative while the loss falls."""
    means, distances = state["loss_means"], state["loss_distances"]
    floors = [loss_features.RELATIVE_FLOOR * abs(mean) + 1e-30 for mean in means]
    trends = [(means[i - 1] - means[i]) / (distances[i] + floors[i]) for i in range(1, len(means))]
    limit = loss_features.MAX_FEATURE
    return [min(max(trend, -limit), limit) for trend in trends]
