"""The report of a study of posteriors: each run compares arms."""

from collections.abc import Callable
from typing import Any

from asymjax.experiments.compare_posteriors.figures import (
    lags_of,
    plot_budget,
    plot_distances,
    plot_doses,
    plot_fits,
    plot_rhat,
    plot_scores,
    plot_within,
    read_study,
)
from asymjax.experiments.compare_posteriors.table import study_tables
from asymjax.experiments.linear_connectivity.dose_response import varied_setting
from asymjax.report.sections import report_each

FIGURES = {
    "rhat": plot_rhat,
    "scores": plot_scores,
    "fits": plot_fits,
    "budget": plot_budget,
    "within": plot_within,
    "distances": plot_distances,
    "varied": plot_doses,
}
"""Figures by name of file."""

NEEDS: dict[str, Callable[[Any], object]] = {
    "varied": varied_setting,
    "fits": lambda run: run.fits,
    "budget": lambda run: run.walks,
    "within": lambda run: lags_of(run) and next(iter(run.kinds.values()))["units_in_place"],
    "distances": lambda run: "total_variation" in run.arrays,
}
"""What a run may lack, by the figure that shows it."""

REPORT = report_each(read_study, study_tables, FIGURES, NEEDS)
