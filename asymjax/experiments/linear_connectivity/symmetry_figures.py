"""Figures of symmetry: loss on planes through three networks, and what swapping units costs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from asymjax.experiments.linear_connectivity.figures import PANELS_PER_ROW, UNITS, ConnectivityRun
from asymjax.report import style

NUM_LEVELS = 16
MAX_DECADES = 4.0
NUM_BINS = 48
METRICS = {
    "filter": "lengths in units of the norms of filters",
    "raw": "Euclidean lengths over all parameters",
}


def planes(run: ConnectivityRun) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of each kind's plane, of the kinds that have one."""
    names = ("corners", "first", "second", "loss")
    return {
        kind: {name: run.arrays[f"{kind}/plane/{name}"] for name in names}
        for kind, entry in run.kinds.items()
        if entry.get("plane")
    }


@style.styled
def plot_planes(run: ConnectivityRun) -> Figure:
    """Draw the test loss on the plane through three networks of each kind, on one scale of colours."""
    drawn = planes(run)
    num_rows, columns = -(-len(drawn) // PANELS_PER_ROW), min(len(drawn), PANELS_PER_ROW)
    metric = METRICS[next(entry["plane"]["metric"] for entry in run.kinds.values() if entry.get("plane"))]
    figure = style.new_figure(
        style.PAGE_WIDTH, 0.7 + 2.2 * num_rows, f"{run.title}: test loss on planes through three networks"
    )
    panels = figure.subplots(num_rows, columns, squeeze=False)
    levels = _levels([plane["loss"] for plane in drawn.values()])
    for (kind, plane), axes in zip(drawn.items(), panels.flat, strict=False):
        image = _draw_plane(axes, plane, levels)
        _draw_corners(axes, plane["corners"], run.kinds[kind]["plane"]["networks"])
        axes.set_title(kind)
    for axes in panels.flat[len(drawn) :]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=panels, label=f"test loss{UNITS[run.summary['task']]}", shrink=0.9, aspect=30)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.set_ticks(levels[:: max(1, NUM_LEVELS // 6)].tolist())
    figure.supxlabel(f"● the networks, by seed; {metric}", size=7)
    return figure


def _levels(losses: Sequence[np.ndarray]) -> np.ndarray:
    """Return levels in equal ratios from the smallest loss to the largest, over ``MAX_DECADES`` at most."""
    values = np.concatenate([loss[np.isfinite(loss)] for loss in losses])
    high = values.max()
    low = max(values.min(), high * 10**-MAX_DECADES, np.finfo(np.float32).tiny)
    return np.geomspace(low, max(high, 1.001 * low), NUM_LEVELS)


def _draw_plane(axes: Axes, plane: Mapping[str, np.ndarray], levels: np.ndarray) -> QuadContourSet:
    norm = LogNorm(levels[0], levels[-1])
    loss = np.clip(plane["loss"], levels[0], levels[-1])
    image = axes.contourf(plane["first"], plane["second"], loss, levels, norm=norm, cmap="viridis")
    axes.contour(plane["first"], plane["second"], loss, levels, colors="white", linewidths=0.25, alpha=0.6)
    axes.set_aspect("equal")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=2)
    axes.locator_params(nbins=4)
    return image


def _draw_corners(axes: Axes, places: np.ndarray, names: Sequence[str]) -> None:
    axes.plot(*places[[0, 1, 2, 0]].T, color="white", linewidth=0.7, linestyle=style.DASHES)
    axes.plot(*places.T, "o", color="white", markeredgecolor="black", markersize=9)
    for (x, y), name in zip(places, names, strict=True):
        axes.text(x, y, name, size=5.5, ha="center", va="center_baseline")


def strengths(run: ConnectivityRun) -> dict[str, dict[str, np.ndarray]]:
    """Return signed roots of swap costs [pair], kind -> layer, of the kinds that have them."""
    return {
        kind: {layer: run.arrays[f"{kind}/strength/{layer}"] for layer in entry["strength"]["layers"]}
        for kind, entry in run.kinds.items()
        if entry.get("strength")
    }


@style.styled
def plot_swap_costs(run: ConnectivityRun) -> Figure:
    """Draw the distribution of swap costs in the first network of each kind: rows are kinds, columns layers."""
    drawn, colors = strengths(run), style.kind_colors(run.kinds)
    layers = list(next(iter(drawn.values())))
    figure = style.new_figure(style.PAGE_WIDTH, 0.9 + 0.75 * len(drawn), f"{run.title}: costs of swapping two units")
    panels = figure.subplots(len(drawn), len(layers), squeeze=False, sharex="col")
    for column, layer in zip(panels.T, layers, strict=True):
        costs = {kind: of_kind[layer][np.isfinite(of_kind[layer])] for kind, of_kind in drawn.items()}
        edges = _edges(np.concatenate(list(costs.values())))
        for (kind, values), axes in zip(costs.items(), column, strict=True):
            style.draw_shares(axes, values, edges, colors[kind])
            style.mark(axes, 0.0)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
        column[0].set_title(layer.removesuffix("/kernel"))
        column[-1].set_xlabel("signed root of the swap cost")
    for kind, axes in zip(drawn, panels[:, 0], strict=True):
        axes.set_ylabel(kind, rotation=0, ha="right", va="center")
    return figure


def _edges(values: np.ndarray) -> np.ndarray:
    """Return edges of bins around all values, one of which is centred on zero."""
    low, high = min(values.min(initial=0.0), -0.1), max(values.max(initial=0.0), 0.1)
    width = (high - low) / NUM_BINS
    return width * (np.arange(np.floor(low / width) - 1, np.ceil(high / width) + 1) + 0.5)
