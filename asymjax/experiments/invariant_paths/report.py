"""The report of invariant paths: each run sets paths beside what they are compared with."""

from asymjax.experiments.invariant_paths.figures import (
    plot_attacks,
    plot_drift,
    plot_lines,
    plot_old_and_new,
    plot_sparsity,
    plot_spectrum,
    read_paths,
)
from asymjax.experiments.invariant_paths.table import headline, path_tables, path_words
from asymjax.report.sections import report_each

FIGURES = {
    "drift": plot_drift,
    "old_and_new": plot_old_and_new,
    "sparsity": plot_sparsity,
    "attacks": plot_attacks,
    "lines": plot_lines,
    "spectrum": plot_spectrum,
}
"""Figures by name of file."""

NEEDS = {
    "old_and_new": lambda run: run.objective == "continual",
    "sparsity": lambda run: run.objective == "sparse",
    "attacks": lambda run: run.objective in ("diverse", "robust"),
    "lines": lambda run: run.objective == "join",
    "spectrum": lambda run: any(method["null_space"] for method in run.methods.values()),
}
"""What a run must have for a figure."""

REPORT = report_each(read_paths, path_tables, FIGURES, NEEDS, path_words, headline)
"""A run of ``invariant_path``: one objective, several methods."""
