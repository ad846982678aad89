"""Figures of metanetworks: how well each orders the networks of each zoo."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asymjax.lab import run_files
from asymjax.report import style
from asymjax.report.read import read_record, read_required

OTHER_ROWS = "other rows"


class MetanetRun(NamedTuple):
    """A finished run of ``metanet``.

    Attributes
    ----------
    path : its directory.
    record : config.json.
    zoos : what the zoos are, by name.
    cells : every metanetwork on every zoo, with its scores, and what it says of wider networks.
    """

    path: Path
    record: dict[str, Any]
    zoos: dict[str, dict[str, Any]]
    cells: list[dict[str, Any]]

    @property
    def score(self) -> str:
        """The score that stands for all: of numbers tau, of classes accuracy."""
        return next(iter(self.cells[0]["scores"]))

    @property
    def is_class(self) -> bool:
        """Whether classes were told."""
        return self.score == "accuracy"

    @property
    def title(self) -> str:
        """What was predicted."""
        return f"{self.record['config']['target'].replace('.', ' ')} of networks, from their weights"


def read_metanets(path: Path) -> MetanetRun:
    """Read a finished run of ``metanet``.

    Raises
    ------
    InputError
        If it is not a run directory, its run is not finished, or a file is missing or damaged.
    """
    record = read_record(path)
    summary = read_required(run_files.read_json, path / "summary.json", "zoos", "cells")
    cells = [{"widened": [], **cell} for cell in summary["cells"]]  # Of runs from before networks were widened.
    return MetanetRun(path, record, summary["zoos"], cells)


def _in_lines(name: str) -> str:
    """Return a name with what stands after its first comma on a line of its own."""
    first, comma, rest = name.partition(",")
    return f"{first}{comma}\n{rest.strip()}" if comma else first


@style.styled
def plot_order(run: MetanetRun) -> Figure:
    """Draw tau or accuracy of every metanetwork, a panel a zoo: every seed, and that of other rows or chance.

    Below stands the number of training networks.
    """
    names = list(dict.fromkeys(cell["metanet"] for cell in run.cells))
    height = 1.2 + 0.2 * sum(_in_lines(name).count("\n") + 1 for name in names)
    figure = style.new_figure(style.PAGE_WIDTH, height, run.title.capitalize())
    panels = figure.subplots(1, len(run.zoos), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (zoo, entry) in zip(panels, run.zoos.items(), strict=True):
        largest = max(cell["num_train"] for cell in run.cells if cell["zoo"] == zoo)
        own = {cell["metanet"]: cell for cell in run.cells if cell["zoo"] == zoo and cell["num_train"] == largest}
        for place, name in enumerate(names):
            values = np.asarray(own[name]["scores"][run.score]["values"])
            axes.plot(values, np.full(len(values), place), "o", color=style.BLUE, alpha=0.5, markersize=3)
            axes.plot(values.mean(), place, "|", color=style.BLACK, markersize=10)
        if (known := _known(entry)) is not None:
            axes.axvline(known, color=style.GREY, linestyle="--", linewidth=0.8)
        axes.set(title=_in_lines(zoo), xlabel=f"{run.score}, from {largest:,}")
    panels[0].set_yticks(range(len(names)), list(map(_in_lines, names)))
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    return figure


def _known(entry: dict[str, Any]) -> float | None:
    """Return what a score is to be held against: tau of other rows, or chance."""
    return entry["target"].get("chance") or (entry.get("other_rows") or {}).get("tau")


@style.styled
def plot_widened(run: MetanetRun) -> Figure:
    """Draw Kendall's tau on networks and on wider ones of the same function, a panel a zoo, a row a metanetwork.

    Where a metanetwork cannot read the wider ones there is the first alone.
    """
    names = list(dict.fromkeys(cell["metanet"] for cell in run.cells))
    kinds = list(dict.fromkeys((one["width"], one["way"]) for cell in run.cells for one in cell["widened"]))
    height = 1.6 + 0.2 * sum(_in_lines(name).count("\n") + 1 for name in names)
    figure = style.new_figure(style.PAGE_WIDTH, height, run.title.capitalize())
    panels = figure.subplots(1, len(run.zoos), sharex=True, sharey=True, squeeze=False)[0]
    for axes, zoo in zip(panels, run.zoos, strict=True):
        own = [cell for cell in run.cells if cell["zoo"] == zoo]
        largest = max(cell["num_train"] for cell in own)
        rows = {names.index(cell["metanet"]): cell for cell in own if cell["num_train"] == largest}
        axes.plot(
            [cell["scores"]["tau"]["mean"] for cell in rows.values()], list(rows), "k|", ms=10, label="as they are"
        )
        for (width, way), color in zip(kinds, style.CHAINS * (len(kinds) // len(style.CHAINS) + 1), strict=False):
            found = {place: _tau_of(cell, width, way) for place, cell in rows.items()}
            found = {place: tau for place, tau in found.items() if tau is not None}
            axes.plot(
                list(found.values()), list(found), "o", color=color, alpha=0.7, ms=4, label=f"{width} units, {way}"
            )
        axes.set(title=_in_lines(zoo), xlabel=f"tau, from {largest:,}")
    panels[0].set_yticks(range(len(names)), list(map(_in_lines, names)))
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _tau_of(cell: dict[str, Any], width: int, way: str) -> float | None:
    """Return the mean tau on wider networks; None where they cannot be read."""
    found = [one for one in cell["widened"] if (one["width"], one["way"]) == (width, way) and "scores" in one]
    return found[0]["scores"]["tau"]["mean"] if found else None


def has_widened(run: MetanetRun) -> bool:
    """Return whether wider networks were read."""
    return any(cell["widened"] for cell in run.cells)


@style.styled
def plot_curves(run: MetanetRun) -> Figure:
    """Draw tau or accuracy against the number of training networks, a panel a zoo, a line a metanetwork."""
    figure = style.new_figure(style.PAGE_WIDTH, 2.8, run.title.capitalize())
    panels = figure.subplots(1, len(run.zoos), sharex=True, sharey=True, squeeze=False)[0]
    for axes, zoo in zip(panels, run.zoos, strict=True):
        _draw_curves(axes, [cell for cell in run.cells if cell["zoo"] == zoo], run.score)
        axes.set(title=_in_lines(zoo), xlabel="training networks", xscale="log")
        counts = sorted({cell["num_train"] for cell in run.cells if cell["zoo"] == zoo})
        axes.set_xticks(counts, [f"{count:,}" for count in counts], rotation=45)
        axes.set_xticks([], minor=True)
    panels[0].set_ylabel(run.score)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _draw_curves(axes: Axes, cells: list[dict[str, Any]], score: str) -> None:
    names = list(dict.fromkeys(cell["metanet"] for cell in cells))
    for name, color in zip(names, style.CHAINS * (len(names) // len(style.CHAINS) + 1), strict=False):
        own = sorted((cell for cell in cells if cell["metanet"] == name), key=lambda cell: cell["num_train"])
        counts = [cell["num_train"] for cell in own]
        axes.plot(counts, [cell["scores"][score]["mean"] for cell in own], "o-", color=color, label=name)
        low, high = ([cell["scores"][score][end] for cell in own] for end in ("low", "high"))
        if None not in low:
            axes.fill_between(counts, low, high, color=color, alpha=0.15, linewidth=0)


def num_sizes(run: MetanetRun) -> bool:
    """Return whether there are several numbers of training networks."""
    return len({cell["num_train"] for cell in run.cells}) > 1
