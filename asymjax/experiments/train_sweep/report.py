"""The report of sweeps: each run compares combinations of settings."""

from asymjax.experiments.train_sweep.figures import plot_networks, plot_settings, read_sweep, varying
from asymjax.experiments.train_sweep.table import sweep_tables
from asymjax.report.sections import report_each

FIGURES = {"networks": plot_networks, "settings": plot_settings}
"""Figures by name of file."""

NEEDS = {"settings": varying}
"""What a run may lack, by the figure that shows it."""

REPORT = report_each(read_sweep, sweep_tables, FIGURES, NEEDS)
