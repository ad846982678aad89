"""The report of linear connectivity: each run compares kinds of networks."""

from collections.abc import Callable
from typing import Any

from asymjax.experiments.linear_connectivity.dose_response import plot_varied, varied_setting
from asymjax.experiments.linear_connectivity.figures import plot_barriers, plot_curves, read_connectivity
from asymjax.experiments.linear_connectivity.symmetry_figures import planes, plot_planes, plot_swap_costs, strengths
from asymjax.experiments.linear_connectivity.table import connectivity_tables
from asymjax.report.sections import report_each

FIGURES = {
    "curves": plot_curves,
    "barriers": plot_barriers,
    "planes": plot_planes,
    "swap_costs": plot_swap_costs,
    "varied": plot_varied,
}
"""Figures by name of file."""

NEEDS: dict[str, Callable[[Any], object]] = {"planes": planes, "swap_costs": strengths, "varied": varied_setting}
"""What a run may lack, by the figure that shows it."""

REPORT = report_each(read_connectivity, connectivity_tables, FIGURES, NEEDS)
