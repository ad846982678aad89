"""Tables and figures.

In: finished run directories, as ``runs/bnn_hmc.py`` leaves them; nothing else, and no JAX.
Out: figures (PNG and PDF), a comparison table (Markdown and terminal).
To add a figure: a function ``Run -> Figure`` in the module of its subject, and one line in ``FIGURES`` (figures.py).
To add a number to the table: one line in the column dictionaries of ``table.py``.
"""

from asymjax.report.comparison import plot_comparison
from asymjax.report.convergence import plot_convergence, plot_traces
from asymjax.report.figures import FIGURES, save_figure
from asymjax.report.predictive import (
    plot_confusion,
    plot_coverage,
    plot_noise,
    plot_predictions,
    plot_reliability,
)
from asymjax.report.read import Run, Trace, read_run, read_runs
from asymjax.report.table import Table, comparison_tables, to_markdown, to_rich
from asymjax.report.write import write_report

__all__ = [
    "FIGURES",
    "Run",
    "Table",
    "Trace",
    "comparison_tables",
    "plot_comparison",
    "plot_confusion",
    "plot_convergence",
    "plot_coverage",
    "plot_noise",
    "plot_predictions",
    "plot_reliability",
    "plot_traces",
    "read_run",
    "read_runs",
    "save_figure",
    "to_markdown",
    "to_rich",
    "write_report",
]
