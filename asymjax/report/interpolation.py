"""Monotonic linear interpolation: what is read of a run, and the loss from each network's start to its end."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asymjax import results
from asymjax.report import style
from asymjax.report.read import read_record, read_required

SUMMARY = ("backbone", "dataset", "task", "num_rows", "num_measured_rows", "kinds", "seconds")
STATISTICS = ("delta", "is_monotonic", "local_convexity", "global_convexity", "global_convexity_released")
SPLITS = {"train": "training", "test": "test"}
NUM_SINGLE = 8
PANELS_PER_ROW = 3
LIMITS = (-0.1, 1.6)


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
    summary = read_required(results.read_json, path / "summary.json", *SUMMARY)
    names = [
        f"{arch}/{split}/{name}"
        for arch in summary["kinds"]
        for split in SPLITS
        for name in ("loss/curves", *STATISTICS)
    ]
    return InterpolationRun(
        path, record, summary, read_required(results.read_arrays, path / "curves.npz", "points", *names)
    )


def normalised(curves: np.ndarray) -> np.ndarray:
    """Return curves [network, point] from 1 at the start to 0 at the end, without those that end no lower."""
    curves = np.asarray(curves, np.float64)
    falling = curves[curves[:, 0] > curves[:, -1]]
    start, end = falling[:, :1], falling[:, -1:]
    return (falling - end) / (start - end)


@style.styled
def plot_paths(run: InterpolationRun) -> Figure:
    """Draw the training loss along the paths, 1 at the start and 0 at the end of each; a panel a kind.

    Dark the median over networks, shaded between the quartiles, thin some single networks, dashed the chord that global
    convexity is measured by.
    """
    num_rows = -(-len(run.kinds) // PANELS_PER_ROW)
    columns = min(len(run.kinds), PANELS_PER_ROW)
    title = f"Training loss on {run.title}"
    figure = style.new_figure(style.PAGE_WIDTH, 0.7 + 2.0 * num_rows, title)
    panels = figure.subplots(num_rows, columns, sharex=True, sharey=True, squeeze=False)
    for (arch, kind), axes in zip(run.kinds.items(), panels.flat, strict=False):
        _draw_paths(axes, run.arrays["points"], run.arrays[f"{arch}/train/loss/curves"], style.ARCH_COLORS[arch])
        statistics = kind["statistics"]["train"]
        axes.set_title(
            f"{arch}: {statistics['is_monotonic']['mean']:.0%} monotonic,\n"
            f"{statistics['global_convexity']['mean']:.2f} below the chord"
        )
    for axes in panels.flat[len(run.kinds) :]:
        axes.set_axis_off()
    panels[0, 0].set_ylim(*LIMITS)
    panels[0, 0].set_xlim(0, 1)
    panels[0, 0].set_xticks([0, 0.5, 1], ["start", "1/2", "trained"])
    for axes in panels.flat[max(0, len(run.kinds) - columns) : len(run.kinds)]:
        axes.tick_params(labelbottom=True)
    for axes in panels[:, 0]:
        axes.set_ylabel("loss, from 1 to 0")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _draw_paths(axes: Axes, points: np.ndarray, curves: np.ndarray, color: str) -> None:
    shown = normalised(curves)
    if len(shown):
        low, median, high = np.quantile(shown, [0.25, 0.5, 0.75], axis=0)
        for number, curve in enumerate(shown[:NUM_SINGLE]):
            label = "single networks" if number == 0 else None
            axes.plot(points, curve, color=color, alpha=0.35, linewidth=0.5, label=label)
        axes.fill_between(points, low, high, color=color, alpha=0.2, linewidth=0, label="quartiles")
        axes.plot(points, median, color=color, label="median")
    axes.plot([0, 1], [1, 0], color=style.GREY, linewidth=0.7, linestyle=style.DASHES, label="chord", zorder=0)
    if len(shown) < len(curves):
        missing = f"{len(curves) - len(shown)} that do not fall are not shown"
        axes.text(0.98, 0.96, missing, size=6, ha="right", va="top", transform=axes.transAxes)


@style.styled
def plot_statistics(run: InterpolationRun) -> Figure:
    """Draw the statistics of all networks of the training loss, a row a kind: networks, and mean with its interval."""
    names = {"delta": "largest rise of a step", "local_convexity": "local convexity", "global_convexity": "global"}
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
    panels[0].set_xscale("symlog", linthresh=1e-2, linscale=0.7)
    style.mark(panels[0], 0)
    panels[0].set_yticks(range(len(run.kinds)), list(run.kinds))
    panels[0].set_ylim(len(run.kinds) - 0.5, -0.5)
    return figure
