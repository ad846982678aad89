"""Figures of sparse networks: instability and accuracy against sparsity, by where masks come from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asymjax.lab import run_files
from asymjax.report import style
from asymjax.report.read import read_record, read_required, read_results

SUMMARY = ("dataset", "backbone", "task", "studies")
DENSE, TWINS, ROOM, TINY = "dense", 0, 1.25, 1e-6
COLORS = {
    DENSE: style.BLACK,
    "imp": style.BLUE,
    "distilled": style.VERMILLION,
    "subset": style.ORANGE,
    "random": style.GREY,
    "magnitude": style.SKY,
    "snip": style.PURPLE,
    "naive": style.SKY,
    "permuted": style.GREEN,
}
RISES = {"over_mean": "over mean of ends", "over_line": "over line", "over_worse": "over worse end"}


class SparseRun(NamedTuple):
    """A finished run of ``sparse_lmc``.

    Attributes
    ----------
    path : its directory.
    record : config.json.
    summary : summary.json.
    arrays : curves of all paths, below the name of each study.
    """

    path: Path
    record: dict[str, Any]
    summary: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def title(self) -> str:
        """What was studied."""
        return "sparse {backbone} on {dataset}".format(**self.summary)

    @property
    def studies(self) -> list[dict[str, Any]]:
        """One of each method and step."""
        return self.summary["studies"]

    @property
    def outcome(self) -> str:
        """What stands for how well networks do: the error rate of classes, else the loss."""
        return "error" if self.summary["task"] == "classification" else "loss"


def read_sparse(path: Path) -> SparseRun:
    """Read a finished run of ``sparse_lmc``.

    Raises
    ------
    InputError
        If it is not a run directory, its run is not finished, or a file is missing or damaged.
    """
    record = read_record(path)
    summary = read_required(run_files.read_json, path / "summary.json", *SUMMARY)
    return SparseRun(path, record, summary, read_results(path, "paths/", "points"))


def study_name(study: dict[str, Any]) -> str:
    """Return what a study is called: its method, and the step that its tickets begin at."""
    return f"{study['arch']}, step {study['step']}"


def sources_of(study: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the cells of a study by source, in the order of their sparsity; all begin with the dense one."""
    dense, *others = study["cells"]
    names = list(dict.fromkeys(cell["source"] for cell in others))
    return {name: [dense, *(cell for cell in others if cell["source"] == name)] for name in names}


@style.styled
def plot_instability(run: SparseRun) -> Figure:
    """Draw what rises between twins and what they achieve against the share of weights left, a column a study."""
    rows = {
        f"test.{run.outcome}.over_mean": f"rise of the test {run.outcome} between twins",
        "test.loss.over_mean": "rise of the test loss",
        f"test.{run.outcome}": f"test {run.outcome} of twins",
    }
    count = len(run.studies)
    width = style.PAGE_WIDTH if count > 1 else style.COLUMN_WIDTH
    figure = style.new_figure(max(width, 2.0 * count), 1.0 + 1.7 * len(rows), f"{run.title.capitalize()}")
    panels = figure.subplots(len(rows), count, sharex=True, sharey="row", squeeze=False)
    for study, column in zip(run.studies, panels.T, strict=True):
        for (measure, _), axes in zip(rows.items(), column, strict=True):
            for source, cells in sources_of(study).items():
                _draw(axes, cells, measure, COLORS[source], source)
        column[0].set_title(study_name(study))
        column[-1].set_xlabel("weights left")
    for axes, (measure, name) in zip(panels[:, 0], rows.items(), strict=True):
        means = [
            cell["measures"][measure]["mean"] for study in run.studies for cell in study["cells"] if cell["measures"]
        ]
        top = max([*means, TINY])  # Intervals of few initialisations may be longer.
        axes.set_ylim(-0.05 * top, ROOM * top)
        axes.set_ylabel(name.replace(" between", "\nbetween"))
    if run.outcome == "error":
        for axes in panels[0]:
            style.mark(axes, 0.02, which="y")
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(len(handles[1]), 5))
    return figure


def _draw(axes: Axes, cells: Sequence[dict[str, Any]], measure: str, color: str, label: str) -> None:
    shown = [cell for cell in cells if measure in cell["measures"]]
    left = np.array([1 - cell["sparsity"] for cell in shown])
    mean, low, high = (
        np.array([cell["measures"][measure][name] for cell in shown], np.float64) for name in ("mean", "low", "high")
    )
    # Side by side, so that intervals at one sparsity can be told apart.
    shift = 1 + 0.02 * (list(COLORS).index(label) - len(COLORS) / 2)
    axes.errorbar(left * shift, mean, [mean - low, high - mean], color=color, label=label, marker="o", elinewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(1.15, 0.85 * min(left))
    axes.set_xticks(left, [f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" for share in left])
    axes.set_xticks([], minor=True)


@style.styled
def plot_paths(run: SparseRun) -> Figure:
    """Draw the test loss along the paths between twins: means over all of a source, a row a study, a column a level."""
    levels = sorted({cell["round"] for study in run.studies for cell in study["cells"]} - {0})
    figure = style.new_figure(
        style.PAGE_WIDTH, 0.8 + 1.5 * len(run.studies), f"{run.title.capitalize()}: paths of twins"
    )
    panels = figure.subplots(len(run.studies), len(levels), sharex=True, sharey="row", squeeze=False)
    for study, row in zip(run.studies, panels, strict=True):
        for level, axes in zip(levels, row, strict=True):
            for source in sources_of(study):
                _draw_path(axes, run, study, source, level, COLORS[source])
            _draw_path(axes, run, study, DENSE, 0, COLORS[DENSE])
            left = next(1 - cell["sparsity"] for cell in study["cells"] if cell["round"] == level)
            axes.set_title(f"{study_name(study)}: {left:.1%} left", size=7)
    for axes in panels[-1]:
        axes.set_xlabel("place on the path")
    panels[0, 0].set_ylabel("test loss")
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(len(handles[1]), 6))
    return figure


def _draw_path(axes: Axes, run: SparseRun, study: dict[str, Any], source: str, level: int, color: str) -> None:
    name = f"{study['arch']}-{study['step']}"
    kinds, ends = run.arrays[f"{name}/kind"], run.arrays[f"{name}/ends"]
    sources, rounds = run.arrays[f"{name}/source"], run.arrays[f"{name}/round"]
    place = [DENSE, *sources_of(study)].index(source)
    own = (kinds == TWINS) & (sources[ends[:, 0]] == place) & (rounds[ends[:, 0]] == level)
    if own.any():
        curve = run.arrays[f"{name}/test.loss"][own].mean(axis=0)
        axes.plot(run.arrays["points"], curve, color=color, label=source)
