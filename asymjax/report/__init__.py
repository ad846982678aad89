"""Tables and figures.

In: finished run directories, as the scripts in ``runs/`` leave them; nothing else, and no JAX.
Out: figures (PNG and PDF), comparison tables (Markdown and terminal).
To add a figure: a function ``Run -> Figure`` in the module of its subject, and one line in figures.py. To add a number
to a table: one line in its column dictionary (``table.py``, ``connectivity_table.py``). To add an experiment: a reader,
a function that makes sections of its runs, and one line in ``EXPERIMENTS`` (write.py).
"""

from asymjax.report.comparison import plot_comparison
from asymjax.report.connectivity import ConnectivityRun, plot_barriers, plot_curves, read_connectivity
from asymjax.report.connectivity_table import connectivity_tables
from asymjax.report.convergence import plot_convergence, plot_traces
from asymjax.report.figures import (
    CONNECTIVITY_FIGURES,
    FIGURES,
    INTERPOLATION_FIGURES,
    STUDY_FIGURES,
    SWEEP_FIGURES,
    connectivity_figures,
    save_figure,
    study_figures,
    sweep_figures,
)
from asymjax.report.interpolation import InterpolationRun, plot_paths, plot_statistics, read_interpolation
from asymjax.report.interpolation_table import interpolation_tables
from asymjax.report.predictive import (
    plot_confusion,
    plot_coverage,
    plot_noise,
    plot_predictions,
    plot_reliability,
)
from asymjax.report.read import Run, Trace, read_run, read_runs
from asymjax.report.study import StudyRun, read_study
from asymjax.report.study_table import study_tables
from asymjax.report.sweep import SweepRun, plot_networks, plot_settings, read_sweep
from asymjax.report.sweep_table import sweep_tables
from asymjax.report.symmetry import plot_planes, plot_swap_costs
from asymjax.report.table import Table, comparison_tables, to_markdown, to_rich
from asymjax.report.write import print_tables, write_report

__all__ = [
    "CONNECTIVITY_FIGURES",
    "FIGURES",
    "INTERPOLATION_FIGURES",
    "STUDY_FIGURES",
    "SWEEP_FIGURES",
    "ConnectivityRun",
    "InterpolationRun",
    "Run",
    "StudyRun",
    "SweepRun",
    "Table",
    "Trace",
    "comparison_tables",
    "connectivity_figures",
    "connectivity_tables",
    "interpolation_tables",
    "plot_barriers",
    "plot_comparison",
    "plot_confusion",
    "plot_convergence",
    "plot_coverage",
    "plot_curves",
    "plot_networks",
    "plot_noise",
    "plot_paths",
    "plot_planes",
    "plot_predictions",
    "plot_reliability",
    "plot_settings",
    "plot_statistics",
    "plot_swap_costs",
    "plot_traces",
    "print_tables",
    "read_connectivity",
    "read_interpolation",
    "read_run",
    "read_runs",
    "read_study",
    "read_sweep",
    "save_figure",
    "study_figures",
    "study_tables",
    "sweep_figures",
    "sweep_tables",
    "to_markdown",
    "to_rich",
    "write_report",
]
