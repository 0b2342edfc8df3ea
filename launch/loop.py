"""The meta-training loop."""

import dataclasses

import jax

from configs.base import RunConfig
from launch import errors
from launch.build import Experiment
from launch.checkpointing import Checkpoints
from launch.records import Recorder
from launch.signals import StopRequests
from launch.validation import Validator
from meta_train import MetaState, MetaTrainer
from meta_train.groups import averaged


def train(
    experiment: Experiment,
    state: MetaState,
    done: int,
    config: RunConfig,
    recorder: Recorder,
    validator: Validator,
    checkpoints: Checkpoints,
    stop: StopRequests,
) -> tuple[MetaState, int]:
    """Take the meta-steps that are left, until the last or a request to stop.

    Args:
        experiment: what is trained.
        state: where it starts; its buffers are donated.
        done: meta-steps behind it.
        config: complete config.
        recorder: receives the records of every dispatch.
        validator: measures theta every so often.
        checkpoints: saves the state every so often.
        stop: may be requested.

    Returns:
        The state at the end, and the number of meta-steps behind it.

    Raises:
        RunFailed: too many meta-steps in a row changed nothing.
    """
    last = config.meta_steps
    while not stop.requested():
        if validator.due(done, last):
            recorder.flush()
            theta = averaged(state.meta_opt_state, state.theta)
            recorder.validation(done, *validator.measure(done, theta))
        if checkpoints.due(done, last):
            checkpoints.save(done, state)
        checkpoints.poll()
        _check_bad_steps(recorder, config, done)
        if done >= last:
            break
        state, records = _trainer(experiment, last - done).step(state)
        done += len(records["meta_loss"])
        recorder.push(done, records)
        stop.unsaved = True
    recorder.flush()
    return jax.block_until_ready(state), done


def compile_ahead(experiment: Experiment, left: int) -> int:
    """Compile the first dispatch of ``train`` of a run with ``left`` meta-steps to go.

    Returns:
        Memory that it takes on each device, in bytes.
    """
    return _trainer(experiment, left).compile() if left else 0


def _trainer(experiment: Experiment, left: int) -> MetaTrainer:
    """The trainer, for fewer meta-steps per dispatch where fewer are left."""
    trainer = experiment.trainer
    if left >= trainer.steps_per_dispatch:
        return trainer
    return dataclasses.replace(trainer, steps_per_dispatch=left)


def _check_bad_steps(recorder: Recorder, config: RunConfig, done: int) -> None:
    """Stop a run in which nothing changes any more."""
    bad, limit = recorder.bad_in_a_row, config.bad_steps.max_in_a_row
    if bad >= limit:
        raise errors.RunFailed(
            f"the last {bad} meta-steps before meta-step {done} changed nothing: their meta-loss "
            "or meta-gradient was not finite, or its norm above config.bad_steps.max_grad_norm = "
            f"{config.bad_steps.max_grad_norm}. The last good checkpoint is kept; a smaller "
            "config.meta_optimizer.learning_rate or config.estimator.std may help"
        )
