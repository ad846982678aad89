"""Monotonic linear interpolation: what is read of a run, and the loss from each network's start to its end."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asymjax.lab import run_files
from asymjax.report import style
from asymjax.report.read import read_record, read_required, read_results

SUMMARY = ("backbone", "dataset", "task", "num_rows", "num_measured_rows", "kinds", "diverged", "seconds")
STATISTICS = ("delta", "is_monotonic", "local_convexity", "global_convexity", "global_convexity_released")
SPLITS = {"train": "training", "test": "test"}
NUM_SINGLE = 8
LIMITS = (-0.2, 2.0)
"""Where normalised curves are cut off, so that a single one does not flatten all others."""


class InterpolationRun(NamedTuple):
    """A finished run of ``mli``.

    Attributes
    ----------
    path : its directory.
    record : config.json.
    summary : summary.json.
    arrays : ``points`` [point], and by ``"<kind>/<split>/..."`` curves [network, point] and their statistics [network].
    """

    path: Path
    record: dict[str, Any]
    summary: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def title(self) -> str:
        """What was followed."""
        return "paths from the start of {backbone} on {dataset}".format(**self.summary)

    @property
    def kinds(self) -> dict[str, dict[str, Any]]:
        """Entry of each kind of networks in the summary, by its method."""
        return self.summary["kinds"]


def read_interpolation(path: Path) -> InterpolationRun:
    """Read a finished run of ``mli``.

    Raises
    ------
    InputError
        If it is not a run directory, its run is not finished, or a file is missing or damaged.
    """
    record = read_record(path)
    summary = read_required(run_files.read_json, path / "summary.json", *SUMMARY)
    names = [
        f"{arch}/{split}/{name}"
        for arch in summary["kinds"]
        for split in SPLITS
        for name in ("loss/curves", *STATISTICS)
    ]
    return InterpolationRun(path, record, summary, read_results(path, "kinds/", "points", *names))


def normalised(curves: np.ndarray) -> np.ndarray:
    """Return curves [network, point] from 1 at the start to 0 at the end, without those that end no lower."""
    curves = np.asarray(curves, np.float64)
    falling = curves[curves[:, 0] > curves[:, -1]]
    start, end = falling[:, :1], falling[:, -1:]
    return (falling - end) / (start - end)


@style.styled
def plot_paths(run: InterpolationRun) -> Figure:
    """Draw the training loss along the paths, a column a kind: as it is, and from 1 at the start to 0 at the end.

    Dark the median over networks, shaded between the quartiles, thin some single networks, dashed the chord that global
    convexity is measured by.
    """
    figure = style.new_figure(style.PAGE_WIDTH, 4.0, f"Training loss on {run.title}")
    panels = figure.subplots(2, len(run.kinds), sharex=True, sharey="row", squeeze=False)
    for (arch, kind), (loss, shape) in zip(run.kinds.items(), panels.T, strict=True):
        curves = run.arrays[f"{arch}/train/loss/curves"]
        shapes = normalised(curves)
        _draw_curves(loss, run.arrays["points"], curves, style.ARCH_COLORS[arch])
        _draw_curves(shape, run.arrays["points"], shapes, style.ARCH_COLORS[arch])
        shape.plot([0, 1], [1, 0], color=style.GREY, linewidth=0.7, linestyle=style.DASHES, label="chord", zorder=0)
        loss.set_title(f"{arch}:\n{kind['statistics']['train']['is_monotonic']['mean']:.0%} monotonic")
        shape.set_title(f"{kind['statistics']['train']['global_convexity']['mean']:.0%} below chord")
        if len(shapes) < len(curves):
            missing = f"{len(curves) - len(shapes)} without a fall"
            shape.text(0.98, 0.96, missing, size=6, ha="right", va="top", transform=shape.transAxes)
    panels[0, 0].set_yscale("log")
    panels[0, 0].set_ylabel("loss")
    panels[1, 0].set_ylabel("loss, from 1 to 0")
    low, high = panels[1, 0].get_ylim()
    panels[1, 0].set_ylim(max(low, LIMITS[0]), min(high, LIMITS[1]))
    panels[1, 0].set_xlim(0, 1)
    panels[1, 0].set_xticks([0, 0.5, 1], ["start", "", "end"])
    figure.legend(*panels[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw_curves(axes: Axes, points: np.ndarray, curves: np.ndarray, color: str) -> None:
    """Draw median, quartiles and some single curves [network, point]; nothing of none."""
    if len(curves) == 0:
        return
    low, median, high = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
    for number, curve in enumerate(curves[:NUM_SINGLE]):
        axes.plot(points, curve, color=color, alpha=0.35, linewidth=0.5, label="" if number else "single networks")
    axes.fill_between(points, low, high, color=color, alpha=0.2, linewidth=0, label="quartiles")
    axes.plot(points, median, color=color, label="median")


@style.styled
def plot_statistics(run: InterpolationRun) -> Figure:
    """Draw the statistics of all networks of the training loss, a row a kind: networks, and mean with its interval."""
    names = {
        "delta": "largest rise of a step",
        "local_convexity": "local convexity",
        "global_convexity": "global convexity",
    }
    figure = style.new_figure(style.PAGE_WIDTH, 0.9 + 0.4 * len(run.kinds), f"Statistics on {run.title}")
    panels = figure.subplots(1, len(names), sharey=True)
    rng = np.random.default_rng(0)
    for (name, label), axes in zip(names.items(), panels, strict=True):
        for row, (arch, kind) in enumerate(run.kinds.items()):
            values, statistics = run.arrays[f"{arch}/train/{name}"], kind["statistics"]["train"][name]
            color, height = style.ARCH_COLORS[arch], row + 0.5 * (rng.random(len(values)) - 0.5)
            axes.plot(values, height, ".", color=color, alpha=0.3, markersize=3, markeredgewidth=0)
            axes.plot([statistics["low"], statistics["high"]], [row, row], color=color, linewidth=2.5)
            axes.plot(statistics["mean"], row, "o", color=color, markeredgecolor="white")
        axes.set_xlabel(label)
        axes.locator_params(axis="x", nbins=4)
        if name != "delta":
            axes.set_xlim(min(0.9, axes.get_xlim()[0]), 1.03)
    style.mark(panels[0], 0)
    panels[0].set_yticks(range(len(run.kinds)), list(run.kinds))
    panels[0].set_ylim(len(run.kinds) - 0.5, -0.5)
    return figure
