"""Judging theta: meta-validation, and evaluations against other optimizers."""

from meta_train.evaluation.baselines import BASELINES, Baseline, Range
from meta_train.evaluation.evaluate import default_devices, evaluate
from meta_train.evaluation.evaluation import Evaluation, Verdict
from meta_train.evaluation.judge import Plan
from meta_train.evaluation.optimizers import Optimizer, baseline, learned
from meta_train.evaluation.runner import Curves, Programs, Runner
from meta_train.evaluation.store import Store
from meta_train.evaluation.training import train
from meta_train.evaluation.tuning import Budget
from meta_train.evaluation.validate import meta_losses, meta_validate
from meta_train.evaluation.workload import Workload

__all__ = [
    "BASELINES",
    "Baseline",
    "Budget",
    "Curves",
    "Evaluation",
    "Optimizer",
    "Plan",
    "Programs",
    "Range",
    "Runner",
    "Store",
    "Verdict",
    "Workload",
    "baseline",
    "default_devices",
    "evaluate",
    "learned",
    "meta_losses",
    "meta_validate",
    "train",
]
