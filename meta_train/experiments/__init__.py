"""The experiments of the PES paper, by name: what is compared, and what is expected.

Expected values are those of the paper and of its successors where these give any, or of runs of the
same problem by other code; each file and docs/reproduction.md say which.
"""

from meta_train.experiments import (
    character_lstm,
    control,
    influence_balancing,
    l2_regularisation,
    learned_optimizer,
    lorenz,
    many_hyperparameters,
    mnist_schedule,
    toy_regression,
    variance,
)
from meta_train.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    "character_lstm": character_lstm.EXPERIMENT,
    "control": control.EXPERIMENT,
    "influence_balancing": influence_balancing.EXPERIMENT,
    "l2_regularisation": l2_regularisation.EXPERIMENT,
    "learned_optimizer": learned_optimizer.EXPERIMENT,
    "lorenz": lorenz.EXPERIMENT,
    "many_hyperparameters": many_hyperparameters.EXPERIMENT,
    "mnist_schedule": mnist_schedule.EXPERIMENT,
    "mnist_schedule_error": mnist_schedule.EXPERIMENT_ERROR,
    "toy_regression": toy_regression.EXPERIMENT,
    "variance": variance.EXPERIMENT,
}
"""Registry of experiments by name."""
