"""Bundles of lopt as PyTorch optimizers, without JAX.

    optimizer = LearnedOptimizer(model.parameters(), "my_optimizer", num_steps=1000)
    ...
    with optimizer.evaluation():  # of a schedule-free rule: with the average of the parameters
        torch.save(model.state_dict(), "model.pt")

Reads the rules ``mlp``, ``adafac_mlp``, and ``schedule_free_mlp`` without its network, which that
of "general" is (``lopt export general my_optimizer``). Copy this file into your project. The steps
are those of ``lopt.load`` up to rounding (tests/examples/test_torch_optimizer.py); ``lopt/mlp.py``,
``lopt/accumulators.py`` and ``lopt/schedule_free_mlp.py`` say where the rules come from.
"""

import contextlib
import hashlib
import json
import math
from pathlib import Path

import torch
from safetensors.torch import load

TIMESCALES = (1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5)
FIELDS = ("gain", "early_gain", "tilt", "weight_decay", "damping", "warmup_steps")
SCALARS = {**dict.fromkeys(("beta", "weight_power", *FIELDS), 0), "step_size": 11}
"""Numbers in every meta-parameter of ``ScheduleFree``; 0 of a scalar."""


class LearnedOptimizer(torch.optim.Optimizer):
    """A learned optimizer; there is nothing to tune.

    Args:
        params: parameters, or groups of them, of floating point.
        bundle: folder that ``lopt export`` or ``lopt.save`` has written.
        num_steps: of the training to come; by default the horizon in the bundle. ``mlp`` and
            ``adafac_mlp`` do not look at it.

    Raises:
        ValueError: the folder holds no bundle, a damaged one, or one of another rule.
    """

    def __init__(self, params, bundle, num_steps=None):
        name, fields, theta, horizon = read_bundle(Path(bundle))
        self.rule = RULES[name](fields, theta, horizon if num_steps is None else num_steps)
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure=None, value=None):
        """Take one step; returns the loss if there is a closure that computes it.

        ``value`` is the training loss, at which some rules look; by default that of the closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        value = loss if value is None else value
        value = None if value is None else float(value)
        self.rule.num_params = sum(p.numel() for g in self.param_groups for p in g["params"])
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None and param.numel():
                    state, grad = self.state[param], param.grad.float()
                    if not state:
                        state.update(step=0, **self.rule.init(grad))
                    move = self.rule.step(grad, param.float(), state, value)
                    param.add_(move.to(param.dtype))
                    state["step"] += 1
        return loss

    @contextlib.contextmanager
    def evaluation(self):
        """Within this context the parameters are those to validate, test and deploy.

        They are the average that ``schedule_free_mlp`` keeps; other rules keep none.
        """
        kept = {param: param.detach().clone() for param, x in self.state.items() if "lead" in x}
        with torch.no_grad():
            for param in kept:
                param.copy_(param.float() - self.state[param]["lead"])
        try:
            yield
        finally:
            with torch.no_grad():
                for param, trained in kept.items():
                    param.copy_(trained)


class MLP:
    """The rules ``mlp`` and ``adafac_mlp``: a network for every parameter."""

    def __init__(self, fields, theta, num_steps):
        self.fields, self.theta = fields, theta

    def step(self, grad, param, state, value):
        """The step: -d exp(exp_mult a) step_mult, with (d, a) = MLP(features, time)."""
        theta = {name: x.to(grad.device) for name, x in self.theta.items()}
        features = self.features(theta, grad, param, state)
        inputs = torch.cat([x.expand(len(x), *grad.shape).reshape(len(x), -1) for x in features])
        direction, magnitude = self._apply_net(theta, inputs, state["step"])
        size = torch.exp(magnitude * self.fields["exp_mult"]) * self.fields["step_mult"]
        return (-direction * size).reshape(grad.shape)

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


class PlainMLP(MLP):
    """``mlp``: eight features of every parameter, with six momenta."""

    square_scale = 2.0**-32  # squares of features stay finite

    def init(self, grad):
        """First averages."""
        return {"momenta": grad.new_zeros(6, *grad.shape)}

    def features(self, theta, grad, param, state):
        """Arrays [k, ...] that broadcast to the parameter's shape."""
        decays = torch.tensor((0.1, 0.5, 0.9, 0.99, 0.999, 0.9999), dtype=torch.float64)
        move_averages(state["momenta"], grad, (1 - decays).to(grad))
        return [grad[None], param[None], state["momenta"]]


class AdafacMLP(MLP):
    """``adafac_mlp``: 28 features, with momenta, second moments, and those of rows and columns."""

    square_scale = 1.0

    def init(self, grad):
        """First averages."""
        row = [1 if axis == factored_axes(grad)[0] else n for axis, n in enumerate(grad.shape)]
        col = [1 if axis == factored_axes(grad)[1] else n for axis, n in enumerate(grad.shape)]
        return {
            "momenta": grad.new_zeros(3, *grad.shape),
            "second": grad.new_zeros(1, *grad.shape),
            "row": grad.new_zeros(3, *row),
            "col": grad.new_zeros(3, *col),
        }

    def features(self, theta, grad, param, state):
        """Arrays [k, ...] that broadcast to the parameter's shape."""

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


class ScheduleFree:
    """``schedule_free_mlp`` without its network: schedule-free Adam on whitened gradients.

    Weights are laid out as PyTorch's layers have them, [outputs, inputs, *window]; the rule sees
    them as JAX has them, [*window, inputs, outputs].
    """

    def __init__(self, fields, theta, num_steps):
        if fields["hidden"]:
            raise ValueError(f"hidden = {fields['hidden']}: only () is known, without the network")
        found = {name: len(x) if x.dim() else 0 for name, x in theta.items()}
        if found != {f"scalars/{name}": size for name, size in SCALARS.items()}:
            raise ValueError(f"meta-parameters {found} are of another version of this rule")
        if num_steps is None or num_steps < 1:
            raise ValueError(
                f"num_steps = {num_steps} must be how many steps the training will have"
            )
        scalars = {name.split("/")[1]: (5 * x).tolist() for name, x in theta.items()}
        self.num_steps, self.weight_power = num_steps, scalars["weight_power"]
        self.learning_rate, self.weights = fields["learning_rate"], scalars
        self.found = {name: fields[name] * math.exp(scalars[name]) for name in FIELDS}
        logit = math.log(fields["beta"]) - math.log1p(-fields["beta"])
        self.lag = 1 / (1 + math.exp(logit + scalars["beta"]))

    def init(self, grad):
        """What is kept for one tensor; "lead" is its distance from its average."""
        return {
            "whitening": whitening_state(as_in_jax(grad)),
            "second": torch.zeros_like(grad),
            "lead": torch.zeros_like(grad),
            **{name: grad.new_zeros(()) for name in ("path", "searched")},
            "size": grad.new_zeros(()),
            "weight_sum": 0.0,
            "losses": 0,
            "loss_means": [0.0] * 4,
            "loss_distances": [0.0] * 4,
        }

    def step(self, grad, param, state, value):
        """The step of one tensor."""
        time, lead, path = state["step"], state["lead"], state["path"]
        track_loss(state, value)
        warm = -math.expm1(-(time + 1) / self.found["warmup_steps"])
        weight = (time + 1) ** self.weight_power * warm**2
        state["weight_sum"] += weight
        mix = weight / state["weight_sum"]
        by_whitening, by_second = (1 / (1 - decay ** (time + 1)) for decay in (0.99, 0.999))

        grad = grad.clamp(-1e15, 1e15)
        mean_lead = lead.square().mean()
        agreement = mean_lead / (self.lag * path).square() if path > 0 else path.new_ones(())
        size = ((param - lead).square().mean() + 1e-8).sqrt()
        features = self.features(param, size, agreement, state)
        weighed = [w * x for w, x in zip(self.weights["step_size"], [1, *features], strict=True)]
        adapted = torch.exp(sum(weighed).clamp(-4.0, 4.0))

        sides, damping = state["whitening"], self.found["damping"]
        white = as_in_torch(whiten(as_in_jax(grad), sides, damping, by_whitening))
        state["second"] += 0.001 * (white.square() - state["second"])
        state["size"] += max(0.001, 1 / (time + 1)) * (white.square().mean() - state["size"])
        unit = torch.where(state["size"] > 1e-30, state["size"], 1.0).rsqrt()
        v = state["second"] * (by_second * unit.square())
        direction = white * unit * (v + 1e-12).rsqrt()
        limit = (2 * math.sqrt(fan_in(param)) * size).clamp(min=4.0)
        squared = (adapted.square() * direction.square().mean()).clamp(min=1e-12)
        searched = torch.minimum(state["searched"], limit.log() - 0.5 * squared.log())
        usual = self.learning_rate / max(fan_in(param) / 32, 1)
        step_size = usual * warm * adapted * searched.exp()
        over_lead = (mean_lead + 1e-6 * (self.lag * step_size).square()).rsqrt()
        cosine = ((direction * lead).mean() * over_lead).clamp(-1.0, 1.0)
        gain = self.found["gain"] + self.found["early_gain"] / (time + 1)
        turn = gain * cosine * self.found["tilt"] ** (1 if cosine < 0 else -1)
        state["searched"] = (searched - turn).clamp(-6.0, 6.0)

        ahead = lead - self.lag * step_size * (direction + self.found["weight_decay"] * param)
        move = (1 + mix * (1 / self.lag - 1)) * ahead - lead
        state["lead"], state["path"] = (1 - mix) * ahead, (1 - mix) * (path + step_size)
        return move

    def features(self, param, size, agreement, state):
        """The numbers at which the step size looks, in the order of their weights."""
        time = state["step"]
        progress = min(time / self.num_steps, 1.0)
        return [
            float(param.dim() < 2),
            0.3 * math.log(fan_in(param) / 32),
            0.15 * (math.log(param.numel()) - 6),
            0.3 * (size.log() + 2),
            0.3 * (1 + 0.5 * agreement.clamp(min=1e-8).log()),
            0.3 * state["searched"],
            0.15 * (math.log(self.num_params) - 8),
            0.5 * math.log(1.02 - progress),
            *(0.5 * trend for trend in loss_trends(state)[1:]),
        ]


def fan_in(param):
    """Inputs of every output of a layer; 32 for vectors."""
    return 32 if param.dim() < 2 else param[0].numel()


def as_in_jax(weight):
    """[outputs, inputs, *window] as [*window, inputs, outputs]; vectors are the same."""
    return weight.movedim((1, 0), (-2, -1)) if weight.dim() > 1 else weight


def as_in_torch(weight):
    """The way back."""
    return weight.movedim((-2, -1), (1, 0)) if weight.dim() > 1 else weight


def folded_shape(weight):
    """The shape with leading axes multiplied as long as they make at most 64."""
    folded = [1]
    for n in weight.shape[:-1]:
        folded = [*folded[:-1], folded[-1] * n] if folded[-1] * n <= 64 else [*folded, n]
    return (*(n for n in folded if n > 1), weight.shape[-1])


def whitening_state(weight):
    """By axis of the folded shape, its covariance and a basis in which that becomes diagonal."""
    shape = folded_shape(weight) if weight.dim() > 1 else (1,)
    short = {axis: n for axis, n in enumerate(shape) if len(shape) > 1 and 1 < n <= 64}
    return {axis: [weight.new_zeros(n, n), torch.eye(n).to(weight)] for axis, n in short.items()}


def whiten(grad, sides, damping, correction):
    """The gradient with its slices along short axes made nearly uncorrelated; moves the state."""
    folded = grad.reshape(folded_shape(grad)) if sides else grad
    white = folded
    for axis, (covariance, basis) in sides.items():
        slices = folded.unflatten(axis, (1, -1, 1)).flatten(0, axis).flatten(2).movedim(1, 0)
        slices = slices.movedim(2, 1) if slices.shape[2] == 1 else slices
        rows = slices[:, :, :: max(grad.numel() // len(slices) ** 2, 1)].flatten(1)
        covariance += (1 - 0.99) * (rows @ rows.T / rows.shape[1] - covariance)
        mean = correction * covariance.trace() / len(rows)
        relative = covariance * (correction / torch.where(mean > 1e-30, mean, 1.0))
        turned = basis.T @ relative @ basis
        diagonal = turned.diagonal()
        root = basis * (diagonal.clamp(min=0.0) + damping).rsqrt() @ basis.T
        white = torch.tensordot(root, white, dims=([1], [axis])).movedim(0, axis)
        gaps = diagonal[None] - diagonal[:, None]
        turns = turned * gaps / (gaps.square() + 2 * turned.square() + 1e-30)
        turns *= 0.7 / turns.abs().sum(1).max().clamp(min=0.7)
        basis = basis + basis @ turns
        sides[axis] = [covariance, 1.5 * basis - 0.5 * basis @ (basis.T @ basis)]
    return white.reshape(grad.shape)


def track_loss(state, value):
    """Take a loss into its averages over 1, 10, 100 and 1000 steps, if it is known and finite."""
    if value is None or not math.isfinite(value):
        return
    state["losses"] += 1
    value = min(max(value, -1e30), 1e30)
    for i, rate in enumerate((1.0, 0.1, 0.01, 0.001)):
        rate = max(rate, 1 / state["losses"])
        state["loss_means"][i] += rate * (value - state["loss_means"][i])
        distance = abs(value - state["loss_means"][i])
        state["loss_distances"][i] += rate * (distance - state["loss_distances"][i])


def loss_trends(state):
    """Short averages against longer ones: negative while the loss falls."""
    means, distances = state["loss_means"], state["loss_distances"]
    trends = [
        (means[i - 1] - means[i]) / (distances[i] + 1e-3 * abs(means[i]) + 1e-30) for i in (1, 2, 3)
    ]
    return [min(max(trend, -3.0), 3.0) for trend in trends]


def read_bundle(folder):
    """Name of the rule, its fields, its meta-parameters by name, and its horizon."""
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
    return rule, optimizer["fields"], load(weights), config["horizon"]


def move_averages(old, new, rates):
    """Move averages [k, ...] towards a new value, by k rates."""
    rates = rates.reshape(-1, *[1] * new.dim())
    old.mul_(1 - rates).add_(rates * new)


def factored_axes(grad):
    """The longest axis and the second-longest; of equals the later is longer."""
    order = sorted(range(grad.dim()), key=lambda axis: grad.shape[axis])
    return (order[-1], order[-2]) if len(order) > 1 else (None, None)


def safe_rsqrt(x):
    """One over the root, for numbers down to zero."""
    return x.clamp(min=1e-9).rsqrt()


RULES = {"mlp": PlainMLP, "adafac_mlp": AdafacMLP, "schedule_free_mlp": ScheduleFree}
