"""The report of metanetworks: each run compares metanetworks, on one zoo or on several."""

from typing import Any

from asymjax.experiments.metanetworks.figures import MetanetRun, num_sizes, plot_curves, plot_order, read_metanets
from asymjax.experiments.metanetworks.table import metanet_tables, words
from asymjax.report.sections import Report, Section, figures_of, plots_of

FIGURES = {"order": plot_order, "curves": plot_curves}
"""Figures by name of file."""


def _section(run: MetanetRun) -> Section:
    plots = plots_of(run, figures_of(FIGURES, {"curves": num_sizes}, run))
    return Section(run.title.capitalize(), metanet_tables(run), plots, [run.title], [run], words(run))


def _sections(runs: Any, out: Any) -> list[Section]:
    return list(map(_section, runs))


REPORT = Report(read_metanets, _sections)
