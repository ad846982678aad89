"""The report of sampled posteriors: figures of each, and tables and a figure that compare those of one task."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from asymjax.experiments.posterior.comparison_figure import plot_comparison
from asymjax.experiments.posterior.convergence_figures import plot_convergence, plot_traces
from asymjax.experiments.posterior.finished import Run, read_run
from asymjax.experiments.posterior.predictive_figures import (
    plot_confusion,
    plot_coverage,
    plot_noise,
    plot_predictions,
    plot_reliability,
)
from asymjax.experiments.posterior.table import comparison_tables
from asymjax.report.read import labels
from asymjax.report.sections import Plot, Report, Section, plots_of

FIGURES: dict[str, dict[str, Callable[[Run], Figure]]] = {
    "classification": {
        "traces": plot_traces,
        "convergence": plot_convergence,
        "reliability": plot_reliability,
        "noise": plot_noise,
        "confusion": plot_confusion,
    },
    "regression": {
        "traces": plot_traces,
        "convergence": plot_convergence,
        "predictions": plot_predictions,
        "coverage": plot_coverage,
        "noise": plot_noise,
    },
}
"""Figures of a sampled posterior, by task and by name of file."""

HEADLINE = ("Test metrics", "Convergence", "Fits")
"""Tables that a sampled posterior ends with."""


def sections(runs: Sequence[Run], out: Path) -> list[Section]:
    """Compare sampled posteriors, task by task."""
    sections = []
    for task, figures in FIGURES.items():
        group = [run for run in runs if run.summary["task"] == task]
        plots = [plot for run in group for plot in plots_of(run, figures)]
        if len(group) > 1:
            plots.append(Plot(out, f"comparison-{task}", partial(plot_comparison, group)))
        if group:
            names, tables = labels(group), comparison_tables(group)
            words = [f"{name}: {run.summary['verdict']['sentence']}" for name, run in zip(names, group, strict=True)]
            headline = [table for table in tables if table.title in HEADLINE]
            sections.append(Section(task.capitalize(), tables, plots, names, group, words, headline))
    return sections


REPORT = Report(read_run, sections)
