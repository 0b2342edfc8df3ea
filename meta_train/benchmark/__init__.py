"""How fast, how large and how near the limit of the machine meta-training is.

Every case is a process of its own (``serve``), told what to do by the one that asks (``measure``),
so that cases take turns, each with its own memory, caches and Python. ``CASES`` is the stated set.
"""

from meta_train.benchmark.cases import CASES, Case, select
from meta_train.benchmark.measure import Settings, limit_cores, measure
from meta_train.benchmark.protocol import serve
from meta_train.benchmark.report import markdown
from meta_train.benchmark.work import worker

__all__ = [
    "CASES",
    "Case",
    "Settings",
    "limit_cores",
    "markdown",
    "measure",
    "select",
    "serve",
    "worker",
]
