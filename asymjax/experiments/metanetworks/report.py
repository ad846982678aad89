"""The report of metanetworks: each run compares metanetworks, on one zoo or on several."""

from collections.abc import Sequence

from asymjax.experiments.metanetworks.class_table import class_tables, class_words
from asymjax.experiments.metanetworks.figures import (
    MetanetRun,
    has_widened,
    num_sizes,
    plot_curves,
    plot_order,
    plot_widened,
    read_metanets,
)
from asymjax.experiments.metanetworks.table import metanet_tables, words
from asymjax.report.sections import report_each
from asymjax.report.table import Table

FIGURES = {"order": plot_order, "curves": plot_curves, "widened": plot_widened}
"""Figures by name of file."""


def _tables(run: MetanetRun) -> Sequence[Table]:
    return class_tables(run) if run.is_class else metanet_tables(run)


def _words(run: MetanetRun) -> Sequence[str]:
    return class_words(run) if run.is_class else words(run)


REPORT = report_each(read_metanets, _tables, FIGURES, {"curves": num_sizes, "widened": has_widened}, _words)
