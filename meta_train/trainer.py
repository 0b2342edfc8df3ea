"""The meta-step: estimate the meta-gradient on every system, update theta, once per call or more.

This is the one place where meta-training is compiled.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from meta_train.capacity import Capacity, Memory, free_bytes
from meta_train.mixture import Mixture, Records, inclusion_probabilities
from meta_train.parallel import ONE_DEVICE, REPLICATED, SPLIT, Devices, map_over_devices
from meta_train.particles import Execution, is_sequential, use
from meta_train.types import GradientEstimator, MetaState, Theta, UnrolledSystem

_SPLIT: Any = SPLIT
_WHOLE: Any = REPLICATED
_static = functools.partial(flax.struct.field, pytree_node=False)
_STATE_SPECS = MetaState(_WHOLE, _WHOLE, _WHOLE, _WHOLE, estimator_states=_SPLIT)


@flax.struct.dataclass
class MetaTrainer:
    """Meta-training of one theta on one or several systems.

    It is a pytree whose leaves are the systems' data; all else is static.

    Args:
        systems: unrolled systems that share theta.
        estimator: estimator of the meta-gradient; each system has its own state of it.
        meta_optimizer: any Optax optimizer for theta.
        weights: weight of each system in the meta-loss, scaled to sum to 1; None weighs all
            alike.
        steps_per_dispatch: meta-steps in one compiled call; above 1 where a meta-step is so
            short that starting it would show.
        devices: over which the particles of every system are split.
        max_grad_norm: a meta-step whose meta-gradient has a larger norm, or is not finite, or has
            no finite meta-loss, leaves theta and the meta-optimizer as they are.
        systems_per_step: how many of the systems each meta-step takes, drawn at random; None takes
            all. A system is drawn with a probability in proportion to its weight (at most 1), and
            its meta-gradient divided by that: the expectation is that of taking all, at a larger
            variance. The others keep their particles as they are.
        system_clip_norm: largest norm of one system's meta-gradient, before the mean over systems.
            Meta-gradients of long unrolls have heavy tails; a limit keeps one system from drowning
            the others for a meta-step. Where it is at work, the mean is biased towards them.
        execution: how many particles, and parameters of a tensor, are worked on at once.

    Raises:
        ValueError: for no systems, more of them per meta-step than have a weight, a
            ``max_grad_norm`` or ``system_clip_norm`` not above 0, weights that do not fit them, or
            devices over which the estimator's groups cannot be split evenly.

    Example:
        >>> trainer = MetaTrainer(systems, PES(1000, 20), optax.adam(1e-3))  # doctest: +SKIP
        >>> state = trainer.init(jax.random.key(0))  # doctest: +SKIP
        >>> state, records = trainer.step(state)  # doctest: +SKIP
    """

    systems: Sequence[UnrolledSystem]
    estimator: GradientEstimator = _static()
    meta_optimizer: optax.GradientTransformation = _static()
    weights: Sequence[float] | None = _static(default=None)
    steps_per_dispatch: int = _static(default=1)
    devices: Devices = _static(default=ONE_DEVICE)
    max_grad_norm: float = _static(default=math.inf)
    systems_per_step: int | None = _static(default=None)
    system_clip_norm: float = _static(default=math.inf)
    execution: Execution = _static(default=Execution())

    def __post_init__(self) -> None:
        object.__setattr__(self, "systems", tuple(self.systems))
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
        if not self.systems:
            raise ValueError("MetaTrainer needs at least one system.")
        if self.steps_per_dispatch < 1:
            raise ValueError(f"steps_per_dispatch = {self.steps_per_dispatch} must be at least 1.")
        if not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm = {self.max_grad_norm} must be above 0.")
        if not self.system_clip_norm > 0:
            raise ValueError(f"system_clip_norm = {self.system_clip_norm} must be above 0.")
        if self.estimator.num_groups % self.devices.count:
            raise ValueError(
                f"{self.estimator.num_groups} groups of particles cannot be split evenly over "
                f"{self.devices.count} devices; choose a number of pairs that is a multiple of it."
            )
        weights = self.weights
        if weights is not None and len(weights) != len(self.systems):
            raise ValueError(
                f"{len(weights)} weights for {len(self.systems)} systems; give one for each."
            )
        if weights is not None and (min(weights) < 0 or not 0 < sum(weights) < float("inf")):
            raise ValueError(f"weights {tuple(weights)} must not be negative, nor all zero.")
        _ = self.probabilities

    @property
    def shares(self) -> tuple[float, ...]:
        """Weight of each system; they sum to 1."""
        weights = self.weights or [1.0] * len(self.systems)
        return tuple(float(weight) / sum(weights) for weight in weights)

    @property
    def probabilities(self) -> tuple[float, ...]:
        """With what probability each system takes part in a meta-step."""
        if self.systems_per_step is None:
            return (1.0,) * len(self.systems)
        return tuple(inclusion_probabilities(self.shares, self.systems_per_step).tolist())

    def init(self, key: jax.Array, theta: Theta | None = None) -> MetaState:
        """The state before the first meta-step.

        Args:
            key: typed PRNG key of the whole run.
            theta: initial meta-parameters; None asks the first system for them.
        """
        return self.place(self._init(key, theta))

    def abstract_state(self, theta: Theta | None = None) -> MetaState:
        """Shapes, dtypes and devices of what ``init`` returns, without computing it."""
        alone = dataclasses.replace(self, devices=ONE_DEVICE)
        state = jax.eval_shape(alone._init, jax.random.key(0), theta)
        return self.devices.abstract(state, _STATE_SPECS)

    def place(self, state: MetaState) -> MetaState:
        """Put a state where the meta-step wants it: particles split, everything else whole."""
        return self.devices.place(state, _STATE_SPECS)

    def capacity(self) -> Capacity:
        """The memory that is free now for ``init`` and ``step``."""
        groups, sequential = self.estimator.num_groups, is_sequential(self.execution)
        return Capacity(groups, self.devices.count, free_bytes(), sequential)

    def memory(self, theta: Theta | None = None) -> Memory:
        """What ``step`` takes on each device without temporaries, which ``compile`` adds.

        Args:
            theta: what ``init`` is given, or shapes of it.
        """
        return self._memory(self.abstract_state(theta))

    def _memory(self, state: MetaState) -> Memory:
        particles = _num_bytes(state.estimator_states)
        rest = _num_bytes(state) - particles
        data = _num_bytes(jax.eval_shape(lambda systems: systems, self.systems))
        return Memory(data, particles // self.devices.count, rest, 0)

    def compile(self, theta: Theta | None = None) -> Memory:
        """Compile ``step`` ahead of its first call; another thread may make the state meanwhile.

        Args:
            theta: what ``init`` is given, or shapes of it.
        """
        steps = type(self)._steps
        state = self.abstract_state(theta)
        compiled = steps.lower(self.placed, state).compile()
        memory, sizes = self._memory(state), compiled.memory_analysis()
        if sizes is None:
            return memory
        fresh = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        return memory._replace(temporaries=sizes.temp_size_in_bytes + fresh)

    def step(self, state: MetaState) -> tuple[MetaState, Records]:
        """Take ``steps_per_dispatch`` meta-steps; ``state`` is donated and must not be reused.

        Returns:
            The next state, and records with a leading axis ``steps_per_dispatch``: "meta_loss",
            "grad_norm", "skipped" (1 where the meta-step changed nothing, see ``max_grad_norm``),
            and the estimator's metrics (its ``summed_metrics`` summed over systems, the others
            averaged with the systems' weights).
        """
        return self.placed._steps(state)

    @functools.cached_property
    def placed(self) -> "MetaTrainer":
        """The same with the systems' data on every device, as ``step`` uses it."""
        return dataclasses.replace(self, systems=self.devices.place(self.systems))

    @functools.cached_property
    def _mixture(self) -> Mixture:
        return Mixture(self.shares, self.probabilities, self.system_clip_norm)

    @jax.jit
    def _init(self, key: jax.Array, theta: Theta | None) -> MetaState:
        key_theta, key_run, key_estimators = jax.random.split(key, 3)
        if theta is None:
            theta = self.systems[0].init_theta(key_theta)
        with use(self.execution):
            states = tuple(
                self.estimator.init(system, jax.random.fold_in(key_estimators, i), theta)
                for i, system in enumerate(self.systems)
            )
        # A copy, so that donating the state at the first step leaves the caller's theta alone.
        theta = jax.tree.map(jnp.copy, theta)
        assert theta is not None
        meta_opt_state = self.meta_optimizer.init(theta)
        state = MetaState(jnp.zeros((), jnp.int32), key_run, theta, meta_opt_state, states)
        return self.devices.constrain(state, _STATE_SPECS)

    @functools.partial(jax.jit, donate_argnames=("state",))
    def _steps(self, state: MetaState) -> tuple[MetaState, Records]:
        def steps(trainer: MetaTrainer, state: MetaState) -> tuple[MetaState, Records]:
            return jax.lax.scan(
                lambda state, _: trainer._step(state), state, length=self.steps_per_dispatch
            )

        mapped = map_over_devices(
            steps,
            self.devices,
            in_specs=(REPLICATED, _STATE_SPECS),
            out_specs=(_STATE_SPECS, REPLICATED),
        )
        with use(self.execution):
            return mapped(self, state)

    def _step(self, state: MetaState) -> tuple[MetaState, Records]:
        """One meta-step, with the particles of one device."""
        key = jax.random.fold_in(state.key, state.meta_step)
        grad, records, estimator_states = self._mixture.estimate(
            self.estimator, self.systems, key, state.theta, state.estimator_states
        )
        updates, meta_opt_state = self.meta_optimizer.update(
            grad, state.meta_opt_state, state.theta
        )
        updated = (optax.apply_updates(state.theta, updates), meta_opt_state)
        good = jnp.isfinite(records["meta_loss"]) & (records["grad_norm"] <= self.max_grad_norm)
        good &= jnp.isfinite(records["grad_norm"])
        theta, meta_opt_state = jax.tree.map(
            lambda new, old: jnp.where(good, new, old), updated, (state.theta, state.meta_opt_state)
        )
        records["skipped"] = (~good).astype(jnp.int32)
        meta_step = state.meta_step + 1
        return MetaState(meta_step, state.key, theta, meta_opt_state, estimator_states), records


def _num_bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
