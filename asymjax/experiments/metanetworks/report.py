"""The report of metanetworks: each run compares metanetworks, on one zoo or on several."""

from asymjax.experiments.metanetworks.figures import num_sizes, plot_curves, plot_order, read_metanets
from asymjax.experiments.metanetworks.table import metanet_tables, words
from asymjax.report.sections import report_each

FIGURES = {"order": plot_order, "curves": plot_curves}
"""Figures by name of file."""

REPORT = report_each(read_metanets, metanet_tables, FIGURES, {"curves": num_sizes}, words)
