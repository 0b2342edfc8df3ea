"""Judging theta: meta-validation, the comparison that ends a run, and the parts of `evaluate`."""

from meta_train.evaluation.baselines import BASELINES, Baseline, Range
from meta_train.evaluation.comparison import LEARNED, LEARNING_RATES, Band, Row, compare
from meta_train.evaluation.runs import Course, Curves, Runner
from meta_train.evaluation.training import train
from meta_train.evaluation.validate import meta_losses, meta_validate

__all__ = [
    "BASELINES",
    "LEARNED",
    "LEARNING_RATES",
    "Band",
    "Baseline",
    "Course",
    "Curves",
    "Range",
    "Row",
    "Runner",
    "compare",
    "meta_losses",
    "meta_validate",
    "train",
]
