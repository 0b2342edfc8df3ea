"""Which estimator, K, number of pairs and sigma suit a system: measured, with standard errors."""

from meta_train.diagnosis.diagnosis import Diagnosis, check, diagnose
from meta_train.diagnosis.plan import Plan, Setting, settings
from meta_train.diagnosis.statistics import Value

__all__ = ["Diagnosis", "Plan", "Setting", "Value", "check", "diagnose", "settings"]
