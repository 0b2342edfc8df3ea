"""The trainers of cases of ``lopt benchmark``, for benchmarks of their own kind."""

import tempfile
from pathlib import Path

from configs.base import RunConfig
from launch import configuration, overrides
from launch.build import build
from meta_train import MetaTrainer
from meta_train.benchmark import CASES, random_data


def make_trainer(name: str, num_pairs: int) -> MetaTrainer:
    """The trainer of a case, on one device, of random images where its data are not prepared."""
    config = configuration.complete(CASES[name].config, RunConfig)
    with tempfile.TemporaryDirectory() as folder:
        random_data.fill(Path(folder), [entry.name for entry in config.tasks.values()])
        changes = {
            "data_dir": folder,
            "devices.count": 1,
            "estimator.num_pairs": num_pairs,
        }
        words = [f"--config.{field}={value}" for field, value in changes.items()]
        return build(overrides.apply(config, words)[0]).trainer
