"""The report of monotonic linear interpolation: each run compares kinds of networks."""

from asymjax.experiments.monotonic_interpolation.figures import plot_paths, plot_statistics, read_interpolation
from asymjax.experiments.monotonic_interpolation.table import interpolation_tables
from asymjax.report.sections import report_each

FIGURES = {"paths": plot_paths, "statistics": plot_statistics}
"""Figures by name of file."""

REPORT = report_each(read_interpolation, interpolation_tables, FIGURES)
