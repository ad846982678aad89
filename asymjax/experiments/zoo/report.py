"""The report of zoos: each run says how its scores are spread, and what its recipes have to do with them."""

from asymjax.experiments.train_sweep.figures import read_sweep
from asymjax.experiments.train_sweep.report import FIGURES, NEEDS
from asymjax.experiments.zoo.table import zoo_tables
from asymjax.report.sections import report_each

REPORT = report_each(read_sweep, zoo_tables, FIGURES, NEEDS)
"""Zoos, each described for itself."""
