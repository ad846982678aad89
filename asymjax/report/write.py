"""From run directories to files: the figures of each run, and what compares them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from asymjax.errors import InputError
from asymjax.report.comparison import plot_comparison
from asymjax.report.figures import FIGURES, save_figure
from asymjax.report.read import Run, read_runs
from asymjax.report.table import comparison_tables, provenance, to_markdown, to_rich


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
    runs = read_runs(bar(paths, "reading"))
    out = out or (runs[0].path / "figures" if len(runs) == 1 else Path("comparison"))
    groups = [group for task in FIGURES if (group := [run for run in runs if run.summary["task"] == task])]
    for folder, name, plot in bar(_plots(groups, out), "drawing"):
        save_figure(plot(), folder, name)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text("\n".join(map(_document, groups)))
    console = Console(width=max(120, Console().width))  # In a narrower one rich drops columns.
    for group in groups:
        console.print(*map(to_rich, comparison_tables(group)), sep="\n")
    for folder in dict.fromkeys([*(run.path / "figures" for run in runs), out]):
        print(folder)


def _plots(groups: Sequence[Sequence[Run]], out: Path) -> list[tuple[Path, str, Callable[[], Figure]]]:
    """List folder, name and plot of every figure, undrawn."""
    plots: list[tuple[Path, str, Callable[[], Figure]]] = []
    for group in groups:
        task = group[0].summary["task"]
        for run in group:
            plots += [(run.path / "figures", name, partial(plot, run)) for name, plot in FIGURES[task].items()]
        if len(group) > 1:
            plots.append((out, f"comparison-{task}", partial(plot_comparison, group)))
    return plots


def _document(group: Sequence[Run]) -> str:
    """Write the Markdown of the runs of one task."""
    sections = [f"## {group[0].summary['task'].capitalize()}\n", *map(to_markdown, comparison_tables(group))]
    return "\n".join([*sections, "### Runs\n", provenance(group)])
