"""The meta-training loop."""

import dataclasses

import jax

from launch.build import Experiment
from launch.configuration import Config
from launch.records import Recorder
from launch.validation import Validator
from meta_train import MetaState


def train(
    experiment: Experiment,
    state: MetaState,
    config: Config,
    recorder: Recorder,
    validator: Validator,
) -> MetaState:
    """Take all meta-steps.

    Args:
        experiment: what is trained.
        state: where it starts; its buffers are donated.
        config: complete config.
        recorder: receives the records of every dispatch.
        validator: measures theta every so often.

    Returns:
        The state after the last meta-step.
    """
    done = 0
    while done < config.meta_steps:
        trainer = experiment.trainer
        count = min(config.steps_per_dispatch, config.meta_steps - done)
        if count < trainer.steps_per_dispatch:
            trainer = dataclasses.replace(trainer, steps_per_dispatch=count)
        state, records = trainer.step(state)
        done += count
        recorder.push(done, records)
        if validator.due(done - count, done, config.meta_steps):
            recorder.flush()
            recorder.validation(done, *validator.measure(done, state.theta))
    recorder.flush()
    return jax.block_until_ready(state)
