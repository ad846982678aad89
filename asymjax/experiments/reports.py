"""The report of every experiment: figures of each run, tables and a figure that compare them. Imports no JAX."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from asymjax.errors import InputError
from asymjax.experiments.compare_posteriors import report as compare_posteriors
from asymjax.experiments.distillation import report as distillation
from asymjax.experiments.invariant_paths import report as invariant_paths
from asymjax.experiments.linear_connectivity import report as linear_connectivity
from asymjax.experiments.metanetworks import report as metanetworks
from asymjax.experiments.monotonic_interpolation import report as monotonic_interpolation
from asymjax.experiments.posterior import report as posterior
from asymjax.experiments.sparse_connectivity import report as sparse_connectivity
from asymjax.experiments.teleportation import report as teleportation
from asymjax.experiments.train_sweep import report as train_sweep
from asymjax.experiments.zoo import report as zoo
from asymjax.lab import run_files
from asymjax.report.read import read_each, read_record
from asymjax.report.sections import Report, Section, document, save_figure
from asymjax.report.table import Table, to_rich

REPORTS: dict[str, Report] = {
    "bnn_hmc": posterior.REPORT,
    "bnn_nuts": posterior.REPORT,
    "bnn_mclmc": posterior.REPORT,
    "bnn_sgld": posterior.REPORT,
    "bnn_vi": posterior.REPORT,
    "distill": distillation.REPORT,
    "invariant_path": invariant_paths.REPORT,
    "lmc": linear_connectivity.REPORT,
    "metanet": metanetworks.REPORT,
    "sparse_lmc": sparse_connectivity.REPORT,
    "mli": monotonic_interpolation.REPORT,
    "teleport": teleportation.REPORT,
    "train_sweep": train_sweep.REPORT,
    "train_grid": train_sweep.REPORT,
    "zoo": zoo.REPORT,
    "compare_posteriors": compare_posteriors.REPORT,
}
"""Reports by the name of the experiment in config.json."""


def write_report(paths: Sequence[Path], out: Path | None = None) -> None:
    """Draw each run, compare all of them, and print the comparison and where everything lies.

    Parameters
    ----------
    paths : finished run directories, one or more, a grid of posteriors for all in it; each gets its figures in its
        own ``figures/``.
    out : folder for ``table.md`` and, where a task has several runs, their comparison figure. Default: ``figures/`` of
        a single run, ``comparison/`` in the working directory for several.

    Raises
    ------
    InputError
        If there is no run, or any cannot be read; nothing is written then.
    """
    if not paths:
        raise InputError("give one run directory or more")
    out = out or (paths[0] / "figures" if len(paths) == 1 else Path("comparison"))
    sections = _write(paths, out)
    for section in sections:
        _print(section.tables, section.words)
    for folder in dict.fromkeys([*(run.path / "figures" for section in sections for run in section.runs), out]):
        print(folder)


def conclude(path: Path) -> Path:
    """Draw a finished run and print what it found, on process 0 of a job: how every experiment ends.

    Returns
    -------
    The run directory.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    from asymjax.lab import processes

    processes.lead(lambda: _conclude(path), "report")
    return path


def _conclude(path: Path) -> None:
    for section in _write([path], path / "figures"):
        _print(section.tables if section.headline is None else section.headline, section.words)
    print(f"figures: {path / 'figures'}")


def _write(paths: Sequence[Path], out: Path) -> list[Section]:
    """Write the figures of runs and of their comparison, and ``table.md``."""
    console = Console(stderr=True)
    bar = partial(track, console=console, transient=True, disable=not console.is_terminal)
    runs = read_each(bar([run for path in paths for run in _runs_in(path)], "reading"), _read)
    by_name = {name: [run for run in runs if run.record["experiment"] == name] for name in REPORTS}
    sections = [section for name, found in by_name.items() if found for section in REPORTS[name].sections(found, out)]
    for folder, name, draw in bar([plot for section in sections for plot in section.plots], "drawing"):
        save_figure(draw(), folder, name)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text("\n".join(map(document, sections)))
    return sections


def _runs_in(path: Path) -> list[Path]:
    """Return the posteriors of a grid, or the run itself, finished or not."""
    with suppress(InputError):
        name = read_record(path)["experiment"]
        if name.startswith("bnn_") and name.endswith("_grid"):
            return [path / point for point in run_files.read_json(path / "summary.json")["points"]]
    return [path]


def _read(path: Path) -> Any:
    name = read_record(path)["experiment"]
    if name not in REPORTS:
        raise InputError(
            f"{path} holds a run of {name}; there are reports of {', '.join(REPORTS)}, and of grids of posteriors"
        )
    return REPORTS[name].read(path)


def _print(tables: Iterable[Table], words: Iterable[str]) -> None:
    console = Console(width=max(120, Console().width))  # In a narrower one rich drops columns.
    console.print(*map(to_rich, tables), sep="\n")
    for sentence in words:
        print(sentence)
