"""Schedule-free Adam on whitened gradients, with learned step sizes and a network per parameter.

Gradients are taken at the parameters y, which run ahead of their average x. Per tensor, where g is
the gradient whitened over the tensor's short sides (``whitening``), v its second moment, corrected
for its start at zero, and d = g / sqrt(v):

    q <- min(q, log(max(4, 2 sqrt(fan_in) RMS(x)) / RMS(A d)))
    z <- z - eta (d + RMS(d) B tanh(MLP(5 features of every parameter | f) / B) + lambda y)
    x <- (1 - c) x + c z,   y <- beta x + (1 - beta) z
    eta = learning_rate warm / max(fan_in / 32, 1) exp(q) A
    q <- q - (gain + early_gain / (t + 1)) h (D if h < 0 else 1 / D)
    h = mean(d (y - x)) / RMS(y - x),   log(A) = 5 (a_0 + a f),   within +-1 and +-4
    c = w / (sum of all w so far),   w = (t + 1)^r warm^2,   warm = 1 - exp(-(t + 1) / W)

where f are 10 features: q, sizes of the tensor, of all tensors and of the tensor's parameters, how
well the steps of the recent past agree, the progress t / T and the trend of the training loss.

q, within +-6, makes steps longer while gradients still point where the parameters y have run ahead
of x, and shorter once they point back: hypergradient descent [4] on the logarithm of the step size,
for each tensor. It moves fast at first, when nothing is known of the step size. No step is longer
than four first ones, or than what is usual for parameters that have grown: once all data are
memorised, gradients are so small that q would grow until a single batch threw the parameters off.

The meta-parameters "scalars" are a and what moves the logit of beta, r, and the logarithms of W, D,
gain, early_gain, lambda and the whitening's damping, divided by 5, so that perturbations of one
size suit them all. They start at zero, and so does the last layer of the MLP, "network": the first
theta is schedule-free AdamW on whitened gradients, whose step sizes adapt themselves.

The steps do not depend on the unit of the gradients, from 1e-15 to 1e15. Of x, y and z only y - x
is kept. Steps are proportional to eta, and y - x is zero at first; so a factor on the steps
(``lopt.with_options``) is one on the learning rate.

References:
    [1] Defazio et al. 2024, "The road less scheduled", https://arxiv.org/abs/2405.15682
    [2] Gupta, Koren and Singer 2018, "Shampoo", https://arxiv.org/abs/1802.09568
    [3] Metz et al. 2022, "Practical tradeoffs between memory, compute, and performance in learned
        optimizers", https://arxiv.org/abs/2203.11860
    [4] Baydin et al. 2018, "Online learning rate adaptation with hypergradient descent",
        https://arxiv.org/abs/1703.04782
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lopt import loss_features, per_parameter, per_tensor, transform, whitening
from lopt import schedule_free_passes as passes
from lopt.base import LearnedOptimizer, StepInputs, Theta
from lopt.kernels import Fields
from lopt.loss_features import LossAverages

LOG_DECAYS = np.log([whitening.DECAY, passes.DECAY]).astype(np.float32)
THETA_SCALE = 5.0
MAX_GRADIENT = 1e15
"""Gradients are clipped to this size, so that sums of their squares stay finite."""
SMALLEST_PARAMETERS = 1e-4
"""An RMS of parameters below this counts as this: biases start at zero."""
SMALLEST_RATIO = 1e-8
"""Of mean squares, where its logarithm is a feature."""
USUAL_FAN_IN = 32
"""First steps of layers with more inputs are smaller, for the same change of their outputs."""
MAX_LOG_FACTOR = 4.0
"""What theta and the features can make of a first hyperparameter: 55 times it, or a 55th."""
MAX_SEARCHED = 6.0
"""Bound of q."""
MAX_LENGTH = 4.0
"""Of the steps of a tensor, in units of its first ones."""
MAX_RELATIVE = 2.0
"""Likewise, times RMS(x) sqrt(fan_in), which is about one at first."""
FIELDS = ("gain", "early_gain", "tilt", "weight_decay", "damping", "warmup_steps")
"""Positive numbers whose logarithms are learned."""
NUM_FEATURES = 10
PARAMETER_FEATURES = 5


class ScheduleFreeMLPState(NamedTuple):
    """State of ``schedule_free_mlp``: two float32 numbers per parameter, and the whitening's."""

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    whitening: Any
    """Per tensor ``[2, numbers]``, see ``whitening.init``."""
    second_moment: Any
    """Of the whitened gradients, a tree like the parameters."""
    lead: Any
    """Likewise: parameters minus their average, y - x."""
    path: Any
    """Per tensor a scalar: x - z as it would be if every d had been one."""
    sizes: Any
    """Per tensor a scalar: the average of the mean square of the whitened gradients."""
    searched: Any
    """Per tensor a scalar, q."""
    weight_sum: Float[Array, ""]
    """Of the average's weights w."""
    loss: LossAverages


class Shared(NamedTuple):
    """What all tensors have in common in one step."""

    weights: Float[Array, " weights"]
    """5 a_0 and 5 a."""
    features: Float[Array, " 4"]
    gain: Float[Array, ""]
    """Of this step."""
    tilt: Float[Array, ""]
    """D."""
    weight_decay: Float[Array, ""]
    damping: Float[Array, ""]
    lag: Float[Array, ""]
    """1 - beta."""
    warm: Float[Array, ""]
    mix: Float[Array, ""]
    """c."""
    rate: Float[Array, ""]
    """Of averages that are plain means at first."""
    corrections: Float[Array, " 2"]
    """One over the sums of the weights in the averages of the whitening and the second moment."""


class Means(NamedTuple):
    """Means over each tensor."""

    lead: Float[Array, " tensors"]
    """Of (y - x)^2."""
    average: Float[Array, " tensors"]
    """Of x^2."""
    direction: Float[Array, " tensors"]
    """Of d^2."""
    along: Float[Array, " tensors"]
    """Of d (y - x)."""


class Tensors(NamedTuple):
    """What has one value for each tensor; stacked: of all of them."""

    features: Float[Array, "*tensors 10"]
    units: Float[Array, "*tensors 2"]
    """One over the root mean square of the gradients, and its square, which also corrects the
    second moment."""
    size: Float[Array, "*tensors"]
    """RMS(x)."""
    over_lead: Float[Array, "*tensors"]
    """1 / RMS(y - x)."""
    rms: Float[Array, "*tensors"]
    """RMS(d)."""
    pace: Float[Array, "*tensors"]
    """eta (1 - beta)."""


@dataclasses.dataclass(frozen=True)
class ScheduleFreeMLPLopt(LearnedOptimizer):
    """Schedule-free AdamW on whitened gradients, with learned step sizes and a learned residual.

    Attributes:
        hidden: widths of the MLP's hidden layers; up to 8 is much faster than more. ``()`` leaves
            the MLP out, and theta is the scalars alone.
        learning_rate: of the first theta.
        beta: likewise, in (0, 1).
        warmup_steps: likewise, W, after which warm is 0.63.
        weight_decay: likewise, lambda.
        damping: likewise, of the whitening; the larger, the nearer to plain Adam.
        gain: likewise, of the search for the step size.
        early_gain: likewise, what is added to the gain at the first step, and a t-th of it at the
            t-th.
        tilt: likewise, D: above 1 steps become shorter faster than they become longer.
    """

    hidden: tuple[int, ...] = (8, 8)
    learning_rate: float = 0.046
    beta: float = 0.8
    warmup_steps: float = 2.0
    weight_decay: float = 3e-3
    damping: float = 3e-3
    gain: float = 0.3
    early_gain: float = 1.5
    tilt: float = 1.0

    def __post_init__(self) -> None:
        hidden = transform.check_widths("hidden", self.hidden) if len(self.hidden) else ()
        object.__setattr__(self, "hidden", hidden)
        for name in ("learning_rate", *FIELDS):
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
        numbers = ("beta", "weight_power", *FIELDS)
        scalars = {name: jnp.zeros((), jnp.float32) for name in numbers}
        scalars["step_size"] = jnp.zeros(1 + NUM_FEATURES, jnp.float32)
        if not self.hidden:
            return {"scalars": scalars}
        sizes = (PARAMETER_FEATURES + NUM_FEATURES, *self.hidden, 1)
        net, last = per_parameter.init_net(key, sizes), f"w{len(self.hidden)}"
        return {"scalars": scalars, "network": {**net, last: jnp.zeros_like(net[last])}}

    def init_state(self, theta: Theta, params: Any) -> ScheduleFreeMLPState:
        return ScheduleFreeMLPState(
            count=transform.zero_count(),
            whitening=jax.tree.map(whitening.init, params),
            second_moment=transform.zeros_like(params),
            lead=transform.zeros_like(params),
            path=per_tensor.zeros(params),
            sizes=per_tensor.zeros(params),
            searched=per_tensor.zeros(params),
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
        found = {name: getattr(self, name) * jnp.exp(scalars[name]) for name in FIELDS}
        gain = found.pop("gain") + found.pop("early_gain") / (time + 1.0)
        warm = -jnp.expm1(-(time + 1.0) / found.pop("warmup_steps"))
        weight = jnp.exp(scalars["weight_power"] * jnp.log1p(time)) * jnp.square(warm)
        weight_sum = state.weight_sum + weight
        logit = math.log(self.beta) - math.log1p(-self.beta)
        shared = Shared(
            weights=scalars["step_size"],
            features=_shared_features(inputs.params, progress, loss),
            gain=gain,
            **found,
            lag=jax.nn.sigmoid(-(logit + scalars["beta"])),
            warm=warm,
            mix=weight / weight_sum,
            rate=jnp.maximum(1.0 - passes.DECAY, 1.0 / (time + 1.0)),
            corrections=-1.0 / jnp.expm1((time + 1.0) * LOG_DECAYS),
        )

        params, lead = inputs.params, state.lead
        grads = jax.tree.map(lambda g: jnp.clip(g, -MAX_GRADIENT, MAX_GRADIENT), inputs.grads)
        white, kept = whitening.whiten(
            grads, state.whitening, shared.damping, shared.corrections[0]
        )
        found = per_tensor.stack(jax.tree.map(passes.measure, params, white, lead), 3)
        mean_white, mean_lead, mean_average = (found[:, i] for i in range(3))
        sizes = per_tensor.stack(state.sizes)
        sizes = sizes + shared.rate * (mean_white - sizes)
        # In this unit gradients have the root mean square one, so that no epsilon depends on it.
        unit = jax.lax.rsqrt(jnp.where(sizes > whitening.SMALLEST, sizes, 1.0))
        units = jnp.stack([unit, shared.corrections[1] * jnp.square(unit)], axis=1)
        each = per_tensor.unstack(units, params)
        found = jax.tree.map(passes.measure_direction, white, state.second_moment, lead, each)
        found = per_tensor.stack(found, 2)
        means = Means(mean_lead, mean_average, found[:, 0], found[:, 1])
        tensors, path, searched = self._scale(shared, state, params, means, units)
        told = per_tensor.unstack(tensors, params)
        update = functools.partial(self._update_leaf, theta, shared)
        new = jax.tree.map(update, params, white, state.second_moment, lead, told)
        steps, moments = (jax.tree.map(lambda _, x, i=i: x[i], params, new) for i in range(2))
        second_moment, lead = (
            jax.tree.map(lambda _, x, i=i: x[i][0], params, moments) for i in range(2)
        )
        path, sizes, searched = (per_tensor.unstack(x, params) for x in (path, sizes, searched))
        count = transform.increment(state.count)
        moved = (kept, second_moment, lead, path, sizes, searched)
        return steps, ScheduleFreeMLPState(count, *moved, weight_sum=weight_sum, loss=loss)

    def _scale(
        self,
        shared: Shared,
        state: ScheduleFreeMLPState,
        params: Any,
        means: Means,
        units: Float[Array, "tensors 2"],
    ) -> tuple[Tensors, Float[Array, " tensors"], Float[Array, " tensors"]]:
        """How long the steps of every tensor are; with the next path and the next q."""
        path, searched = per_tensor.stack(state.path), per_tensor.stack(state.searched)
        walked = jnp.where(path > 0.0, shared.lag * path, 1.0)
        agreement = jnp.where(path > 0.0, means.lead / jnp.square(walked), 1.0)
        size = jnp.sqrt(means.average + SMALLEST_PARAMETERS**2)
        own = _tensor_features(params, size, agreement, searched)
        common = jnp.broadcast_to(shared.features[None], (len(own), len(shared.features)))
        features = jnp.concatenate([own, common], axis=1)
        log_factor = shared.weights[0] + features @ shared.weights[1:]
        adapted = jnp.exp(jnp.clip(log_factor, -MAX_LOG_FACTOR, MAX_LOG_FACTOR))

        # The logarithm is of a bounded number, because it has no gradient at zero.
        fan_in = _fan_ins(params)
        limit = jnp.maximum(MAX_LENGTH, MAX_RELATIVE * np.sqrt(fan_in) * size)
        squared = jnp.maximum(means.direction * jnp.square(adapted), 1e-12)
        searched = jnp.minimum(searched, jnp.log(limit) - 0.5 * jnp.log(squared))
        usual = np.float32(self.learning_rate) / np.maximum(fan_in / USUAL_FAN_IN, 1.0)
        step_size = usual * shared.warm * jnp.exp(searched) * adapted
        pace = shared.lag * step_size
        over_lead = jax.lax.rsqrt(means.lead + 1e-6 * jnp.square(pace))
        along = jnp.clip(means.along * over_lead, -1.0, 1.0)
        turn = shared.gain * along * jnp.where(along < 0.0, shared.tilt, 1.0 / shared.tilt)
        searched = jnp.clip(searched - turn, -MAX_SEARCHED, MAX_SEARCHED)
        rms = jnp.sqrt(means.direction + 1e-12)
        path = (1.0 - shared.mix) * (path + step_size)
        return Tensors(features, units, size, over_lead, rms, pace), path, searched

    def _update_leaf(
        self,
        theta: Theta,
        shared: Shared,
        param: jax.Array,
        white: jax.Array,
        second_moment: jax.Array,
        lead: jax.Array,
        tensor: Tensors,
    ) -> tuple[jax.Array, Fields]:
        """The step of one tensor, and its next second moment and lead, as fields."""
        net = {}
        if self.hidden:
            ones = jnp.ones((), jnp.float32)
            scales = jnp.stack([ones, tensor.units[0], ones, tensor.over_lead, 1.0 / tensor.size])
            net = per_parameter.fold_constants(theta["network"], tensor.features)
            net |= {"w0": net["w0"] * scales[:, None]}
        stretch = 1.0 + shared.mix * (1.0 / shared.lag - 1.0)
        numbers = (tensor.rms, tensor.pace, shared.weight_decay, shared.mix, stretch)
        state = (second_moment[None], lead[None])
        return passes.update(net, state, param, white, (*tensor.units, *numbers))


def _shared_features(
    params: Any, progress: Float[Array, ""], loss: LossAverages
) -> Float[Array, " 4"]:
    """How large the network is, how far the training is, and the trend of its loss."""
    progress = jnp.minimum(progress, 1.0)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    known = jnp.stack([_count_feature(num_params, 8.0), 0.5 * jnp.log(1.02 - progress)])
    return jnp.concatenate([known, 0.5 * loss_features.features(loss)[1:]])


def _fan_in(param: jax.Array) -> int:
    """Inputs of every output of a layer; the usual number for vectors."""
    return USUAL_FAN_IN if param.ndim < 2 else max(math.prod(param.shape[:-1]), 1)


def _fan_ins(params: Any) -> Float[np.ndarray, " tensors"]:
    return np.array([_fan_in(leaf) for leaf in jax.tree.leaves(params)], np.float32)


def _count_feature(count: int, usual: float) -> np.float32:
    """A number of parameters as a number of order one, given its usual logarithm."""
    return np.float32(0.15 * (math.log(max(count, 1)) - usual))


def _tensor_features(
    params: Any,
    size: Float[Array, " tensors"],
    agreement: Float[Array, " tensors"],
    searched: Float[Array, " tensors"],
) -> Float[Array, "tensors 6"]:
    """Shape and size of every tensor, how well its steps agree (zero for noise), and q."""
    leaves = jax.tree.leaves(params)
    vector = np.array([leaf.ndim < 2 for leaf in leaves], np.float32)
    fan_in = 0.3 * np.log(_fan_ins(params) / USUAL_FAN_IN)
    count = np.array([_count_feature(leaf.size, 6.0) for leaf in leaves], np.float32)
    agree = 0.3 * (1.0 + 0.5 * jnp.log(jnp.maximum(agreement, SMALLEST_RATIO)))
    moving = [0.3 * (jnp.log(size) + 2.0), agree, 0.3 * searched]
    return jnp.stack([vector, fan_in, count, *moving], axis=1)
