"""The report of sparse networks: each run compares sources of masks."""

from asymjax.experiments.sparse_connectivity.figures import plot_instability, plot_paths, read_sparse
from asymjax.experiments.sparse_connectivity.table import sparse_tables, sparse_words, twin_tables
from asymjax.report.sections import report_each

FIGURES = {"instability": plot_instability, "paths": plot_paths}
"""Figures by name of file."""

REPORT = report_each(read_sparse, sparse_tables, FIGURES, words=sparse_words, headline=twin_tables)
