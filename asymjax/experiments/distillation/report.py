"""The report of distillations: the images of each run, and runs compared."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from asymjax.experiments.distillation.figures import (
    DistillRun,
    has_images,
    plot_accuracy,
    plot_images,
    plot_sizes,
    read_distillation,
)
from asymjax.experiments.distillation.table import distillation_tables, words
from asymjax.report.sections import Plot, Report, Section, figures_of, plots_of

FIGURES = {"images": plot_images, "accuracy": plot_accuracy}
"""Figures by name of file."""

NEEDS = {"images": has_images}
"""What a run may lack, by the figure that shows it."""


def sections(runs: Sequence[DistillRun], out: Path) -> list[Section]:
    """Compare the runs of each network on each dataset, and draw each."""
    found = []
    for dataset, network in dict.fromkeys((run.summary["dataset"], run.network) for run in runs):
        own = [run for run in runs if (run.summary["dataset"], run.network) == (dataset, network)]
        plots = [plot for run in own for plot in plots_of(run, figures_of(FIGURES, NEEDS, run))]
        if len(own) > 1:
            name = f"distilled-{dataset}-{network}".replace("/", "_").replace(" ", "-")
            plots.append(Plot(out, name, partial(plot_sizes, own)))
        sentences = [sentence for run in own for sentence in words(run)]
        titles = [run.title for run in own]
        found.append(
            Section(f"Distilled {dataset}, {network}", distillation_tables(own), plots, titles, own, sentences)
        )
    return found


REPORT = Report(read_distillation, sections)
