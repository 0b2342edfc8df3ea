"""Estimators of the meta-gradient, one file each."""
