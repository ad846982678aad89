"""Which figures a run has, and how they are saved."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from asymjax.report import style
from asymjax.report.connectivity import ConnectivityRun, plot_barriers, plot_curves
from asymjax.report.controls import plot_varied, varied_setting
from asymjax.report.convergence import plot_convergence, plot_traces
from asymjax.report.interpolation import InterpolationRun, plot_paths, plot_statistics
from asymjax.report.predictive import (
    plot_confusion,
    plot_coverage,
    plot_noise,
    plot_predictions,
    plot_reliability,
)
from asymjax.report.read import Run
from asymjax.report.study import (
    StudyRun,
    plot_budget,
    plot_distances,
    plot_doses,
    plot_rhat,
    plot_scores,
)
from asymjax.report.sweep import SweepRun, plot_networks, plot_settings, varying
from asymjax.report.symmetry import planes, plot_planes, plot_swap_costs, strengths

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

CONNECTIVITY_FIGURES: dict[str, Callable[[ConnectivityRun], Figure]] = {
    "curves": plot_curves,
    "barriers": plot_barriers,
    "planes": plot_planes,
    "swap_costs": plot_swap_costs,
    "varied": plot_varied,
}
"""Figures of linear connectivity, by name of file."""

INTERPOLATION_FIGURES: dict[str, Callable[[InterpolationRun], Figure]] = {
    "paths": plot_paths,
    "statistics": plot_statistics,
}
"""Figures of monotonic linear interpolation, by name of file."""

STUDY_FIGURES: dict[str, Callable[[StudyRun], Figure]] = {
    "rhat": plot_rhat,
    "scores": plot_scores,
    "budget": plot_budget,
    "distances": plot_distances,
    "varied": plot_doses,
}
"""Figures of a study of posteriors, by name of file."""

SWEEP_FIGURES: dict[str, Callable[[SweepRun], Figure]] = {
    "networks": plot_networks,
    "settings": plot_settings,
}
"""Figures of a sweep, by name of file."""

NEEDS: dict[str, Callable[[Any], object]] = {
    "planes": planes,
    "swap_costs": strengths,
    "varied": varied_setting,
    "distances": lambda run: "total_variation" in run.arrays,
    "settings": varying,
}
"""What a run may lack, by the figure that shows it."""


def figures_of(figures: Mapping[str, Callable[[Any], Figure]], run: Any) -> dict[str, Callable[[Any], Figure]]:
    """Return the figures of what a run has measured."""
    return {name: plot for name, plot in figures.items() if name not in NEEDS or NEEDS[name](run)}


def connectivity_figures(run: ConnectivityRun) -> dict[str, Callable[[ConnectivityRun], Figure]]:
    """Return the figures of what a run has measured."""
    return figures_of(CONNECTIVITY_FIGURES, run)


def study_figures(run: StudyRun) -> dict[str, Callable[[StudyRun], Figure]]:
    """Return the figures of what a study has measured."""
    return figures_of(STUDY_FIGURES, run)


def sweep_figures(run: SweepRun) -> dict[str, Callable[[SweepRun], Figure]]:
    """Return the figures of what varies in a sweep."""
    return figures_of(SWEEP_FIGURES, run)


@style.styled
def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name.png`` and ``name.pdf``; the same figure gives the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png")
    figure.set_layout_engine("none")  # The layout is found; finding it again takes as long as drawing.
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
