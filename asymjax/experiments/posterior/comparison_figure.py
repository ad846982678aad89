"""The figure that puts runs beside each other: convergence in both spaces, and what it buys on test data."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from asymjax.experiments.posterior.finished import SPACES, Run
from asymjax.report import style
from asymjax.report.read import as_numbers, labels


@style.styled
def plot_comparison(runs: Sequence[Run]) -> Figure:
    """Draw R-hat, bulk ESS and test NLL of runs of one task, a line a run.

    R-hat and ESS: the median over coordinates (filled) and the worst of them (open), by space. NLL: the negative LPPD
    of the posterior, the MAP ensemble and each MAP network.
    """
    datasets = dict.fromkeys(run.summary["dataset"] for run in runs)
    title = f"{len(runs)} runs on {', '.join(datasets)}"
    figure = style.new_figure(style.PAGE_WIDTH, 1.3 + 0.45 * len(runs), title)
    rhat, ess, nll = figure.subplots(1, 3, sharey=True)
    for row, run in enumerate(runs):
        for space, offset in (("function_space", -0.15), ("weight_space", 0.15)):
            if summary := run.summary[space]:
                color = style.SPACE_COLORS[space]
                median, largest = style.place_rhat(as_numbers([summary["rhat_median"], summary["rhat_max"]]))
                _draw_range(rhat, row + offset, median, largest, color)
                median, smallest = as_numbers([summary["ess_bulk_median"], summary["ess_bulk_min"]])
                _draw_range(ess, row + offset, median, smallest, color)
        _draw_nll(nll, row, run.summary["test"])
    style.rhat_axis(rhat)
    style.ess_axis(ess)
    nll.locator_params(axis="x", nbins=4)
    rhat.set_xlabel(f"R-hat: median ●, max ○\n{style.RHAT_SCALE}")
    ess.set_xlabel("bulk ESS: median ●, min ○")
    nll.set_xlabel("test NLL (nats per input)")
    rhat.set_yticks(range(len(runs)), [textwrap.fill(label, 24) for label in labels(runs)])
    rhat.set_ylim(len(runs) - 0.5, -0.5)
    spaces, predictors = _legend_handles()
    figure.legend(handles=spaces, loc="outside lower left", ncols=2)
    figure.legend(handles=predictors, loc="outside lower right", ncols=3)
    return figure


def _draw_range(axes: Axes, row: float, median: float, worst: float, color: str) -> None:
    axes.plot([median, worst], [row, row], color=color, zorder=1)
    axes.plot(median, row, "o", color=color)
    axes.plot(worst, row, "o", color=color, markerfacecolor="white")


def _draw_nll(axes: Axes, row: int, test: Mapping[str, Any]) -> None:
    if test["map"] is not None:
        members = -as_numbers(test["map_by_seed"]["lppd"])
        axes.plot(members, np.full(len(members), row), "|", color=style.PREDICTOR_COLORS["map"], markersize=8)
    for predictor in ("ensemble", "posterior"):
        if test[predictor] is not None:
            axes.plot(-test[predictor]["lppd"], row, "o", color=style.PREDICTOR_COLORS[predictor])


def _legend_handles() -> tuple[list[Line2D], list[Line2D]]:
    spaces = [Line2D([], [], marker="o", color=style.SPACE_COLORS[space], label=name) for space, name in SPACES.items()]
    entries = {"posterior": ("posterior", "o"), "ensemble": ("MAP ensemble", "o"), "map": ("MAP networks", "|")}
    predictors = [
        Line2D([], [], marker=marker, linestyle="", color=style.PREDICTOR_COLORS[predictor], label=name)
        for predictor, (name, marker) in entries.items()
    ]
    return spaces, predictors
