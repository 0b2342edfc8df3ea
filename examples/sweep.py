"""Search the settings of a meta-training run with Optuna; trials that fall behind are pruned.

pip install 'lopt[train]' optuna
python examples/sweep.py [FOLDER [TRIALS]]

Every trial is a run of its own, which meta-validation judges as it goes. FOLDER/sweep.db holds the
study in SQLite: the same command resumes with it until it has so many trials, and several commands
may share it. A trial takes a few seconds on one core.
"""

import sys
from contextlib import closing
from pathlib import Path

import jax
import optax
import optuna  # pyright: ignore[reportMissingImports]

import lopt
import tasks
from meta_train import PES, LoptSystem, MetaTrainer, make_horizon
from meta_train.evaluation import meta_validate
from meta_train.run import Hook, Run, Validation

HORIZON = make_horizon(100)
META_STEPS, VALIDATE_EVERY = 60, 10
system = LoptSystem(lopt.LOPTS["sgd_schedule"](), tasks.make("iris_mlp"))


class Prune(Hook):
    """Reports every meta-validation, and ends a trial that is worse than most at the same point."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def validated(self, run: Run, loss: float, best: bool) -> None:
        self.trial.report(loss, run.meta_step)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def objective(trial: optuna.Trial, folder: Path) -> float:
    """The lowest meta-validation of a run with the settings of a trial; NaN is a failure."""
    estimator = PES(
        horizon=HORIZON,
        truncation_length=trial.suggest_categorical("truncation_length", [5, 10, 20]),
        num_pairs=4,
        std=trial.suggest_float("std", 1e-3, 1e-1, log=True),
    )
    rate = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
    trainer = MetaTrainer([system], estimator, optax.adam(rate))

    def measure(theta: lopt.Theta) -> float:
        return meta_validate([system], [1.0], HORIZON, theta, jax.random.key(1), 4)

    hooks = [Validation(measure, VALIDATE_EVERY), Prune(trial)]
    workdir = folder / f"trial-{trial.number}"
    run = Run(trainer, jax.random.key(0), workdir, meta_steps=META_STEPS, hooks=hooks)
    with closing(run):
        run.train()
    return float("nan") if run.validations.best_loss is None else run.validations.best_loss


def main(folder: Path, num_trials: int) -> None:
    """Take the study in a folder to so many trials, and show the best settings."""
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="pes",
        storage=f"sqlite:///{folder}/sweep.db",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )
    done = sum(trial.state.is_finished() for trial in study.trials)
    study.optimize(lambda trial: objective(trial, folder), max(num_trials - done, 0))
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    print(f"{len(study.trials)} trials, {pruned} pruned; best: {study.best_value:.4f}")
    print(study.best_params)


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    main(Path(given.get(0, "runs/sweep")), int(given.get(1, 20)))
