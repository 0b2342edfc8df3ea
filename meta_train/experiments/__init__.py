"""The experiments of the PES paper, by name: what is compared, and what is expected.

Expected values are those of the paper and of its successors where these give any, or of runs of the
same problem by other code; each file and docs/reproduction.md say which.
"""

from meta_train.experiments import (
    control,
    influence_balancing,
    learned_optimizer,
    many_hyperparameters,
    mnist_schedule,
    toy_regression,
    variance,
)
from meta_train.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    "control": control.EXPERIMENT,
    "influence_balancing": influence_balancing.EXPERIMENT,
    "learned_optimizer": learned_optimizer.EXPERIMENT,
    "many_hyperparameters": many_hyperparameters.EXPERIMENT,
    "mnist_schedule": mnist_schedule.EXPERIMENT,
    "mnist_schedule_error": mnist_schedule.EXPERIMENT_ERROR,
    "toy_regression": toy_regression.EXPERIMENT,
    "variance": variance.EXPERIMENT,
}
"""Registry of experiments by name."""
