"""The report of every experiment: figures of each run, tables and a figure that compare them. Imports no JAX."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from asymjax.errors import InputError
from asymjax.experiments.compare_posteriors import report as compare_posteriors
from asymjax.experiments.linear_connectivity import report as linear_connectivity
from asymjax.experiments.monotonic_interpolation import report as monotonic_interpolation
from asymjax.experiments.posterior import report as posterior
from asymjax.experiments.train_sweep import report as train_sweep
from asymjax.report.read import read_each, read_record
from asymjax.report.sections import Report, Section, document, save_figure
from asymjax.report.table import to_rich

REPORTS: dict[str, Report] = {
    "bnn_hmc": posterior.REPORT,
    "bnn_nuts": posterior.REPORT,
    "bnn_mclmc": posterior.REPORT,
    "bnn_sgld": posterior.REPORT,
    "lmc": linear_connectivity.REPORT,
    "mli": monotonic_interpolation.REPORT,
    "train_sweep": train_sweep.REPORT,
    "train_grid": train_sweep.REPORT,
    "compare_posteriors": compare_posteriors.REPORT,
}
"""Reports by the name of the experiment in config.json."""


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
    (out / "table.md").write_text("\n".join(map(document, sections)))
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
    if name not in REPORTS:
        raise InputError(
            f"{path} holds a run of {name}; there are reports of {', '.join(REPORTS)}. Of a grid of "
            "posteriors give the directories in it"
        )
    return REPORTS[name].read(path)


def _sections(runs: Sequence[Any], out: Path) -> list[Section]:
    by_name = {name: [run for run in runs if run.record["experiment"] == name] for name in REPORTS}
    return [section for name, found in by_name.items() if found for section in REPORTS[name].sections(found, out)]


def _print_tables(sections: Iterable[Section]) -> None:
    console = Console(width=max(120, Console().width))  # In a narrower one rich drops columns.
    for section in sections:
        console.print(*map(to_rich, section.tables), sep="\n")
