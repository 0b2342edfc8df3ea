"""Judging theta: meta-validation, and evaluations against other optimizers."""

from meta_train.evaluation.baselines import BASELINES, Baseline, Range
from meta_train.evaluation.evaluation import Evaluation
from meta_train.evaluation.judge import Plan
from meta_train.evaluation.judge_all import default_devices, evaluate
from meta_train.evaluation.meta_validation import meta_losses, meta_validate
from meta_train.evaluation.optimizers import Optimizer, baseline, learned
from meta_train.evaluation.result_store import Store
from meta_train.evaluation.runner import Curves, Programs, Runner
from meta_train.evaluation.training import train
from meta_train.evaluation.tuning import Budget
from meta_train.evaluation.verdict import Verdict
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
