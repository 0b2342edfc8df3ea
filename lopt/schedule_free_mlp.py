"""Schedule-free Adam with a learned step size per tensor and a network per parameter.

Gradients g are taken at the parameters y, which run ahead of their average x. Per tensor, with
momenta m_k and second moment v, all corrected for their start at zero, and s = 1 / sqrt(v):

    d = g s + RMS(g s) B tanh(MLP(7 features of every parameter | f) / B)
    z <- z - eta (d + lambda y),   x <- (1 - c) x + c z,   y <- beta x + (1 - beta) z
    log(eta) = log(learning_rate) + log(warm) + 5 (a_0 + a f)
    log(lambda) = log(weight_decay) + 5 (b_0 + b f)
    c = w / (sum of all w so far),   w = (t + 1)^r warm^2,   warm = 1 - exp(-(t + 1) / W)

where f are 16 features: sizes of the tensor, of all tensors and of the tensor's parameters, how
well the gradients of the last 10 and 100 and of all steps agree, how large the recent ones are
beside all, the progress t / T and the trend of the training loss. a f and b f stay within +-4.

The meta-parameters "scalars" are a, b and what moves the logit of beta, r and log(W), divided by 5,
so that perturbations of one size suit them all. They start at zero, and so does the last layer of
the MLP, "network": the first theta is schedule-free AdamW as the fields say.

The steps do not depend on the unit of the gradients, from 1e-15 to 1e15. Of x, y and z only y - x
is kept. Steps are proportional to eta, and y - x is zero at first; so a factor on the steps
(``lopt.with_options``) is one on the learning rate.

References:
    [1] Defazio et al. 2024, "The road less scheduled", https://arxiv.org/abs/2405.15682
    [2] Metz et al. 2022, "Practical tradeoffs between memory, compute, and performance in learned
        optimizers", https://arxiv.org/abs/2203.11860
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lopt import loss_features, per_parameter, per_tensor, transform
from lopt.base import LearnedOptimizer, StepInputs, Theta
from lopt.loss_features import LossAverages

DECAYS = np.array([0.9, 0.99, 0.999])
"""Of the two momenta and of the second moment."""
RATES = (1.0 - DECAYS).astype(np.float32)
LOG_DECAYS = np.log(DECAYS).astype(np.float32)
THETA_SCALE = 5.0
MAX_RESIDUAL = 3.0
"""B. XLA on CPU would evaluate the MLP twice, did it not end in a function as costly as tanh."""
MAX_GRADIENT = 1e15
"""Gradients are clipped to this size, so that sums of their squares stay finite."""
SMALLEST_SQUARE = 1e-30
"""Second moments of a tensor whose mean is below this count as zero."""
RELATIVE_EPSILON = 1e-6
"""Gradients far below this part of their tensor's RMS make small steps."""
SMALLEST_PARAMETERS = 1e-4
"""An RMS of parameters below this counts as this: biases start at zero."""
SMALLEST_RATIO = 1e-8
"""Of mean squares, where its logarithm is a feature."""
MAX_LOG_FACTOR = 4.0
"""What theta and the features can make of the first step size and weight decay: 55 times either."""
NUM_FEATURES = 13 + loss_features.NUM_FEATURES
PARAMETER_FEATURES = 7


class ScheduleFreeMLPState(NamedTuple):
    """State of ``schedule_free_mlp``: four float32 numbers per parameter."""

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    momenta: Any
    """Tree like the parameters with leaves ``[2, *shape]``."""
    second_moment: Any
    """Likewise ``[*shape]``."""
    lead: Any
    """Likewise ``[*shape]``: parameters minus their average, y - x."""
    path: Any
    """Per tensor a scalar: x - z as it would be if every d had been one."""
    recent: Any
    """Per tensor ``[2]``: averages of the mean square of the gradients."""
    weight_sum: Float[Array, ""]
    """Of the average's weights w."""
    loss: LossAverages


class Shared(NamedTuple):
    """What all tensors have in common in one step."""

    features: Float[Array, " 7"]
    lag: Float[Array, ""]
    """1 - beta."""
    warm: Float[Array, ""]
    mix: Float[Array, ""]
    """c."""
    corrections: Float[Array, " 3"]
    """One over the sums of the weights in the momenta and in the second moment."""


@dataclasses.dataclass(frozen=True)
class ScheduleFreeMLPLopt(LearnedOptimizer):
    """Schedule-free AdamW with learned step sizes and a learned residual.

    Attributes:
        hidden: widths of the MLP's hidden layers; up to 8 is much faster than more. ``()`` leaves
            the MLP out, and theta is the scalars alone.
        learning_rate: of the first theta.
        beta: likewise, in (0, 1).
        warmup_steps: likewise, W, after which warm is 0.63.
        weight_decay: likewise, lambda; what is learned of it moves it by a factor.
    """

    hidden: tuple[int, ...] = (8, 8)
    learning_rate: float = 0.046
    beta: float = 0.9
    warmup_steps: float = 2.0
    weight_decay: float = 3e-3

    def __post_init__(self) -> None:
        hidden = transform.check_widths("hidden", self.hidden) if len(self.hidden) else ()
        object.__setattr__(self, "hidden", hidden)
        for name in ("learning_rate", "warmup_steps", "weight_decay"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(
                    f"{name} = {value} must be positive and finite, because its log is learned."
                )
        if not 0 < self.beta < 1:
            raise ValueError(
                f"beta = {self.beta} must be above 0 and below 1, because its logit is learned."
            )

    @property
    def needs_num_steps(self) -> bool:
        return True

    def init(self, key: jax.Array) -> Theta:
        """Draw theta: ``{"scalars": {...}}`` of zeros and, where there is an MLP, ``"network"``."""
        shapes = dict.fromkeys(("beta", "weight_power", "warmup_steps"), ())
        shapes |= dict.fromkeys(("step_size", "weight_decay"), (1 + NUM_FEATURES,))
        scalars = {name: jnp.zeros(shape, jnp.float32) for name, shape in shapes.items()}
        if not self.hidden:
            return {"scalars": scalars}
        sizes = (PARAMETER_FEATURES + NUM_FEATURES, *self.hidden, 1)
        net, last = per_parameter.init_net(key, sizes), f"w{len(self.hidden)}"
        return {"scalars": scalars, "network": {**net, last: jnp.zeros_like(net[last])}}

    def init_state(self, theta: Theta, params: Any) -> ScheduleFreeMLPState:
        return ScheduleFreeMLPState(
            count=transform.zero_count(),
            momenta=transform.zeros_like(params, 2),
            second_moment=transform.zeros_like(params),
            lead=transform.zeros_like(params),
            path=per_tensor.zeros(params),
            recent=per_tensor.zeros(params, 2),
            weight_sum=jnp.zeros((), jnp.float32),
            loss=loss_features.init(),
        )

    def step(
        self, theta: Theta, state: ScheduleFreeMLPState, inputs: StepInputs
    ) -> tuple[Any, ScheduleFreeMLPState]:
        """Take one inner step; without ``value`` the features of the training loss are zero."""
        scalars = jax.tree.map(lambda x: THETA_SCALE * x, theta["scalars"])
        loss = loss_features.update(state.loss, inputs.value)
        progress = transform.progress(state.count, inputs.num_steps)
        time = state.count.astype(jnp.float32)
        warmup_steps = self.warmup_steps * jnp.exp(scalars["warmup_steps"])
        warm = -jnp.expm1(-(time + 1.0) / warmup_steps)
        weight = jnp.exp(scalars["weight_power"] * jnp.log1p(time)) * jnp.square(warm)
        weight_sum = state.weight_sum + weight
        logit = math.log(self.beta) - math.log1p(-self.beta)
        shared = Shared(
            features=_shared_features(inputs.params, progress, time, loss),
            lag=jax.nn.sigmoid(-(logit + scalars["beta"])),
            warm=warm,
            mix=weight / weight_sum,
            corrections=-1.0 / jnp.expm1((time + 1.0) * LOG_DECAYS),
        )

        params = inputs.params
        update = functools.partial(self._update_leaf, theta, shared)
        new = jax.tree.map(update, params, inputs.grads, *state[1:6])
        steps, momenta, second_moment, lead, path, recent = (
            jax.tree.map(lambda _, leaf, i=i: leaf[i], params, new) for i in range(6)
        )
        count = transform.increment(state.count)
        return steps, ScheduleFreeMLPState(
            count, momenta, second_moment, lead, path, recent, weight_sum, loss
        )

    def _update_leaf(
        self,
        theta: Theta,
        shared: Shared,
        param: jax.Array,
        grad: jax.Array,
        momenta: jax.Array,
        second_moment: jax.Array,
        lead: jax.Array,
        path: jax.Array,
        recent: jax.Array,
    ) -> tuple[jax.Array, ...]:
        """The step of one tensor, and its part of the next state."""
        grad = jnp.clip(grad, -MAX_GRADIENT, MAX_GRADIENT)
        momenta = transform.moving_averages(momenta, grad, RATES[:2])
        second_moment = second_moment + RATES[2] * (jnp.square(grad) - second_moment)

        square = per_tensor.mean(second_moment) * shared.corrections[2]
        # In this unit gradients have the root mean square one, so that no epsilon depends on it.
        unit = jax.lax.rsqrt(jnp.where(square > SMALLEST_SQUARE, square, 1.0))
        v = second_moment * (shared.corrections[2] * jnp.square(unit))
        rsqrt = jax.lax.rsqrt(v + RELATIVE_EPSILON**2)
        direction = grad * unit * rsqrt

        momenta_units = shared.corrections[:2] * unit
        mean_lead = _mean_squares(lead)
        size = jnp.sqrt(_mean_squares(param - lead) + SMALLEST_PARAMETERS**2)
        of_momenta = jax.vmap(_mean_squares)(momenta) * jnp.square(momenta_units)
        walked = jnp.where(path > 0.0, shared.lag * path, 1.0)
        of_lead = jnp.where(path > 0.0, mean_lead / jnp.square(walked), 1.0)
        agreements = jnp.maximum(jnp.append(of_momenta, of_lead), SMALLEST_RATIO)
        recent = recent + RATES[:2] * (_mean_squares(grad) - recent)
        sizes = recent * (shared.corrections[:2] * jnp.square(unit))
        own = _tensor_features(param, size, agreements, jnp.maximum(sizes, SMALLEST_RATIO))
        features = jnp.concatenate([own, shared.features])
        step_size = self.learning_rate * shared.warm * _factor(theta, "step_size", features)
        weight_decay = self.weight_decay * _factor(theta, "weight_decay", features)

        if self.hidden:
            to_one = momenta_units * jax.lax.rsqrt(agreements[:2])
            pace = shared.lag * step_size
            scales = [1.0, *to_one, to_one[1], 1.0, jax.lax.rsqrt(mean_lead + 1e-6 * pace**2)]
            net = per_parameter.fold_constants(theta["network"], features)
            net |= {"w0": net["w0"] * jnp.stack([*scales, 1.0 / size])[:, None]}
            inputs = [direction, momenta[0] * rsqrt, momenta[1] * rsqrt, momenta[1], v * rsqrt]
            inputs = [x[None] for x in (*inputs, lead, param - lead)]
            residual = per_parameter.evaluate_net(net, inputs, param.shape, _bound)
            direction = direction + jnp.sqrt(_mean_squares(direction) + 1e-12) * residual

        ahead = lead - shared.lag * step_size * (direction + weight_decay * param)
        step = (1.0 + shared.mix * (1.0 / shared.lag - 1.0)) * ahead - lead
        rest = 1.0 - shared.mix
        return step, momenta, second_moment, rest * ahead, rest * (path + step_size), recent


def _factor(theta: Theta, name: str, features: Float[Array, " F"]) -> Float[Array, ""]:
    """What the features make of a hyperparameter of the first theta."""
    weights = THETA_SCALE * theta["scalars"][name]
    log = weights[0] + weights[1:] @ features
    return jnp.exp(jnp.clip(log, -MAX_LOG_FACTOR, MAX_LOG_FACTOR))


def _bound(output: jax.Array) -> jax.Array:
    return MAX_RESIDUAL * jnp.tanh(output / MAX_RESIDUAL)


def _mean_squares(x: jax.Array) -> Float[Array, ""]:
    return per_tensor.mean(jnp.square(x))


def _shared_features(
    params: Any, progress: Float[Array, ""], time: Float[Array, ""], loss: LossAverages
) -> Float[Array, " 7"]:
    """How large the network is, how far the training is, and the trend of its loss."""
    progress = jnp.minimum(progress, 1.0)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    clock = [progress - 0.5, 0.5 * jnp.log(1.02 - progress), jnp.exp(-time / 20.0)]
    clock = jnp.stack([_count_feature(num_params, 8.0), *clock])
    return jnp.concatenate([clock, 0.5 * loss_features.features(loss)])


def _count_feature(count: int, usual: float) -> np.float32:
    """A number of parameters as a number of order one, given its usual logarithm."""
    return np.float32(0.15 * (math.log(max(count, 1)) - usual))


def _tensor_features(
    param: jax.Array,
    size: Float[Array, ""],
    agreements: Float[Array, " 3"],
    recent: Float[Array, " 2"],
) -> Float[Array, " 9"]:
    """Of one tensor: shape, size, agreement of gradients (zero for noise alone), their trend."""
    is_vector = param.ndim < 2
    fan_in = 32 if is_vector else max(math.prod(param.shape[:-1]), 1)
    shape = [is_vector, 0.3 * math.log(fan_in / 32), _count_feature(param.size, 6.0)]
    sizes = jnp.append(0.3 * (jnp.log(size) + 2.0), 0.3 * (1.0 + 0.5 * jnp.log(agreements)))
    return jnp.concatenate([np.array(shape, np.float32), sizes, 0.15 * jnp.log(recent)])
