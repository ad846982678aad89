"""From run directories to files: the figures of each run, and what compares them."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from asymjax.errors import InputError
from asymjax.report.comparison import plot_comparison
from asymjax.report.connectivity import ConnectivityRun, read_connectivity
from asymjax.report.connectivity_table import connectivity_tables
from asymjax.report.figures import (
    FIGURES,
    INTERPOLATION_FIGURES,
    connectivity_figures,
    save_figure,
    study_figures,
    sweep_figures,
)
from asymjax.report.interpolation import InterpolationRun, read_interpolation
from asymjax.report.interpolation_table import interpolation_tables
from asymjax.report.read import Run, labels, read_each, read_record, read_run
from asymjax.report.study import StudyRun, read_study
from asymjax.report.study_table import study_tables
from asymjax.report.sweep import SweepRun, read_sweep
from asymjax.report.sweep_table import sweep_tables
from asymjax.report.table import Table, comparison_tables, provenance, to_markdown, to_rich


class Plot(NamedTuple):
    """A figure still to be drawn."""

    folder: Path
    name: str
    draw: Callable[[], Figure]


class Section(NamedTuple):
    """What is said of runs that are compared.

    Attributes
    ----------
    heading : of the Markdown.
    tables : in order.
    plots : figures of each run, and of their comparison.
    names : how the runs are called.
    runs : of one experiment.
    """

    heading: str
    tables: Sequence[Table]
    plots: Sequence[Plot]
    names: Sequence[str]
    runs: Sequence[Any]


class Experiment(NamedTuple):
    """How the runs of an experiment are reported.

    Attributes
    ----------
    read : (run directory) -> run, with ``path`` and ``record``.
    sections : (runs, folder of comparisons) -> Sections.
    """

    read: Callable[[Path], Any]
    sections: Callable[[Sequence[Any], Path], list[Section]]


def write_report(paths: Sequence[Path], out: Path | None = None) -> None:
    """Draw each run, compare all of them, and print the comparison and where everything lies.

    Parameters
    ----------
    paths : finished run directories, one or more; each gets its figures in its own ``figures/``.
    out : folder for ``table.md`` and, where a task has several runs, their comparison figure. Default: ``figures/`` of
        a single run, ``comparison/`` in the working directory for several.

    Raises
    ------
    InputError
        If there is no run, or any cannot be read; nothing is written then.
    """
    if not paths:
        raise InputError("give one run directory or more")
    bar = partial(track, console=Console(stderr=True), transient=True)
    runs = read_each(bar(paths, "reading"), _read)
    out = out or (runs[0].path / "figures" if len(runs) == 1 else Path("comparison"))
    sections = _sections(runs, out)
    for folder, name, draw in bar([plot for section in sections for plot in section.plots], "drawing"):
        save_figure(draw(), folder, name)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text("\n".join(map(_document, sections)))
    _print_tables(sections)
    for folder in dict.fromkeys([*(run.path / "figures" for run in runs), out]):
        print(folder)


def print_tables(path: Path) -> None:
    """Print the tables of one finished run.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    _print_tables(_sections([_read(path)], path))


def _read(path: Path) -> Any:
    name = read_record(path)["experiment"]
    if name not in EXPERIMENTS:
        raise InputError(
            f"{path} holds a run of {name}; there are reports of {', '.join(EXPERIMENTS)}. Of a grid of "
            "posteriors give the directories in it"
        )
    return EXPERIMENTS[name].read(path)


def _sections(runs: Sequence[Any], out: Path) -> list[Section]:
    by_name = {name: [run for run in runs if run.record["experiment"] == name] for name in EXPERIMENTS}
    return [section for name, found in by_name.items() if found for section in EXPERIMENTS[name].sections(found, out)]


def _print_tables(sections: Iterable[Section]) -> None:
    console = Console(width=max(120, Console().width))  # In a narrower one rich drops columns.
    for section in sections:
        console.print(*map(to_rich, section.tables), sep="\n")


def _document(section: Section) -> str:
    """Write the Markdown of a section."""
    tables = map(to_markdown, section.tables)
    return "\n".join([f"## {section.heading}\n", *tables, "### Runs\n", provenance(section.names, section.runs)])


def _plots(run: Any, figures: dict[str, Callable[[Any], Figure]]) -> list[Plot]:
    return [Plot(run.path / "figures", name, partial(plot, run)) for name, plot in figures.items()]


def posterior_sections(runs: Sequence[Run], out: Path) -> list[Section]:
    """Compare sampled posteriors, task by task."""
    sections = []
    for task, figures in FIGURES.items():
        group = [run for run in runs if run.summary["task"] == task]
        plots = [plot for run in group for plot in _plots(run, figures)]
        if len(group) > 1:
            plots.append(Plot(out, f"comparison-{task}", partial(plot_comparison, group)))
        if group:
            sections.append(Section(task.capitalize(), comparison_tables(group), plots, labels(group), group))
    return sections


def connectivity_sections(runs: Sequence[ConnectivityRun], out: Path) -> list[Section]:
    """Report runs one by one: each compares kinds of networks."""
    return [
        Section(
            run.title.capitalize(), connectivity_tables(run), _plots(run, connectivity_figures(run)), [run.title], [run]
        )
        for run in runs
    ]


def interpolation_sections(runs: Sequence[InterpolationRun], out: Path) -> list[Section]:
    """Report runs one by one: each compares kinds of networks."""
    return [
        Section(
            run.title.capitalize(), interpolation_tables(run), _plots(run, INTERPOLATION_FIGURES), [run.title], [run]
        )
        for run in runs
    ]


def study_sections(runs: Sequence[StudyRun], out: Path) -> list[Section]:
    """Report studies one by one: each compares arms."""
    return [
        Section(run.title.capitalize(), study_tables(run), _plots(run, study_figures(run)), [run.title], [run])
        for run in runs
    ]


def sweep_sections(runs: Sequence[SweepRun], out: Path) -> list[Section]:
    """Report sweeps one by one: each compares combinations of settings."""
    return [
        Section(run.title.capitalize(), sweep_tables(run), _plots(run, sweep_figures(run)), [run.title], [run])
        for run in runs
    ]


EXPERIMENTS: dict[str, Experiment] = {
    "bnn_hmc": Experiment(read_run, posterior_sections),
    "bnn_nuts": Experiment(read_run, posterior_sections),
    "bnn_mclmc": Experiment(read_run, posterior_sections),
    "bnn_sgld": Experiment(read_run, posterior_sections),
    "lmc": Experiment(read_connectivity, connectivity_sections),
    "mli": Experiment(read_interpolation, interpolation_sections),
    "train_sweep": Experiment(read_sweep, sweep_sections),
    "train_grid": Experiment(read_sweep, sweep_sections),
    "compare_posteriors": Experiment(read_study, study_sections),
}
"""Reports by the name of the experiment in config.json."""
