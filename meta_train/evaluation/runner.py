"""Several training runs side by side, recorded in training and validation.

What does not depend on the optimizer is compiled once for all of them: making the problems and
validating parameters. Of each optimizer one program is compiled, which takes the steps from one
recorded point to the next; hyperparameters are among its arguments.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from lopt import evaluation_params
from meta_train.evaluation.training import (
    MakeOptimizer,
    Problem,
    advance,
    make_problem,
    validate,
)
from meta_train.particles import map_particles
from tasks.base import Params, Task


class Curves(NamedTuple):
    """What is recorded of several runs."""

    train_loss: Float[np.ndarray, "runs T"]
    """Training loss of each batch, before the step taken on it."""
    valid_loss: Float[np.ndarray, "runs points"]
    """After each span of steps; no points where there was no validation."""
    valid_accuracy: Float[np.ndarray, "runs points"]
    """NaN where the task has no metric "accuracy"."""
    seconds_per_step: Float[np.ndarray, ""]
    """The elapsed time of training, without compilation, over runs and steps."""


class Programs:
    """What training runs on a task share, whatever the optimizer; compiled where first needed.

    Args:
        task: the task.
        num_steps: inner steps T.
        span: steps from one recorded point to the next; T is a multiple of it.
        valid_batches: batches of each validation.
    """

    def __init__(self, task: Task, num_steps: int, span: int, valid_batches: int) -> None:
        if num_steps % span:
            raise ValueError(f"num_steps = {num_steps} must be a multiple of span = {span}.")
        self.task = task
        self.num_steps = num_steps
        self.span = span

        def problems(task: Task, keys: jax.Array) -> Problem:
            return map_particles(lambda key: make_problem(task, key, num_steps), keys)

        def validations(task: Task, problems: Problem, params: Params) -> Any:
            def one(cfg: Any, key: jax.Array, params: Params) -> Any:
                return validate(task, cfg, params, key, valid_batches)

            return map_particles(one, problems.cfg, problems.valid_key, params)

        self._problems = _Program(problems)
        self._validations = _Program(validations)

    def problems(self, keys: jax.Array) -> Problem:
        """The problems that belong to keys [runs]."""
        return self._problems(self.task, keys)

    def validate(self, problems: Problem, params: Params) -> Any:
        """Losses and accuracies [runs] of parameters with a leading axis of runs."""
        return jax.device_get(self._validations(self.task, problems, params))


class Runner:
    """One optimizer on a task; compiles at the first call.

    Args:
        programs: of the task.
        make_optimizer: from theta and hyperparameters to the optimizer.
    """

    def __init__(self, programs: Programs, make_optimizer: MakeOptimizer) -> None:
        self._programs = programs

        def init(shared: Any, own: Any, params: Params) -> Any:
            return map_particles(lambda own, x: make_optimizer(shared, own).init(x), own, params)

        def span(
            task: Task, shared: Any, own: Any, cfg: Any, params: Params, state: Any, keys: jax.Array
        ) -> Any:
            def one(own: Any, cfg: Any, params: Params, state: Any, keys: jax.Array) -> Any:
                optimizer = make_optimizer(shared, own)
                params, state, losses = advance(task, optimizer, cfg, params, state, keys)
                return params, state, losses, evaluation_params(state, params)

            return map_particles(one, own, cfg, params, state, keys)

        self._init = jax.jit(init)
        self._span = _Program(span)

    def __call__(self, shared: Any, own: Any, keys: jax.Array, validated: bool = True) -> Curves:
        """Train from several keys.

        Args:
            shared: what all runs share, such as theta.
            own: what each run has of its own, with a leading axis of runs.
            keys: typed PRNG keys [runs]; another number of runs compiles again.
            validated: whether to validate at the recorded points.
        """
        programs = self._programs
        problems = programs.problems(keys)
        params, state = problems.params, self._init(shared, own, problems.params)
        fixed = (programs.task, shared, own, problems.cfg)
        losses, validations, seconds = [], [], 0.0
        for start in range(0, programs.num_steps, programs.span):
            step_keys = problems.step_keys[:, start : start + programs.span]
            arguments = (*fixed, params, state, step_keys)
            compiled = self._span.compiled(*arguments)
            started = time.perf_counter()
            params, state, loss, judged = jax.block_until_ready(compiled(*arguments))
            seconds += time.perf_counter() - started
            losses.append(np.asarray(loss))
            if validated:
                validations.append(programs.validate(problems, judged))
        table = np.asarray(validations, np.float32).reshape(-1, 2, len(keys))
        per_step = np.asarray(seconds / (len(keys) * programs.num_steps))
        return Curves(np.concatenate(losses, axis=1), table[:, 0].T, table[:, 1].T, per_step)


class _Program:
    """A jitted function; of several threads that call it at once, one compiles."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._jitted = jax.jit(fn)
        self._lock = threading.Lock()
        self._compiled: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        return self.compiled(*arguments)(*arguments)

    def compiled(self, *arguments: Any) -> Any:
        """The program for arguments of these shapes, where they are."""
        keys = [leaf for leaf in jax.tree.leaves(arguments) if isinstance(leaf, jax.Array)]
        kind = tuple((leaf.shape, leaf.dtype, leaf.sharding) for leaf in keys)
        with self._lock:
            if kind not in self._compiled:
                self._compiled[kind] = self._jitted.lower(*arguments).compile()
            return self._compiled[kind]
