"""The report of teleportation: each run compares training with and without teleports."""

from asymjax.experiments.teleportation.figures import plot_curvature, plot_losses, read_teleportation
from asymjax.experiments.teleportation.table import teleportation_tables, teleportation_words
from asymjax.report.sections import report_each

FIGURES = {"losses": plot_losses, "curvature": plot_curvature}
"""Figures by name of file."""

REPORT = report_each(read_teleportation, teleportation_tables, FIGURES, words=teleportation_words)
