"""One look for all figures: sizes, type, colours, and the axes and marks that recur."""

from collections.abc import Mapping
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

PAGE_WIDTH, COLUMN_WIDTH = 7.0, 3.4
"""Inches: the text of a page, and one of its two columns."""

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    "#666666",
)
"""Palette of Okabe and Ito (2008), which colour-blind readers can tell apart, and a grey for marks."""

CHAINS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
SPACE_COLORS = {"function_space": BLUE, "weight_space": VERMILLION}
ARCH_COLORS = {
    "standard": BLACK,
    "w_asym": BLUE,
    "sigma_asym": VERMILLION,
    "w_sigma_asym": PURPLE,
    "pruned": ORANGE,
    "syre": GREEN,
    "fixed_bias": SKY,
}
CONTROL_COLORS = {
    "different_masks": "#882255",
    "w_asym_start": "#117733",
    "small_standard": "#999999",
    "random_features": "#332288",
}
PREDICTOR_COLORS = {"posterior": BLUE, "ensemble": GREEN, "map": ORANGE}

styled = matplotlib.rc_context(
    {
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.titlelocation": "left",
        "axes.labelsize": 8,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.titlesize": 9,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.fontsize": 7,
        "legend.frameon": False,
        "lines.linewidth": 1.2,
        "lines.markersize": 4,
        "savefig.dpi": 200,
        "pdf.fonttype": 42,
    }
)
"""Decorator of every function that draws or saves a figure."""

DASHES = (0, (4, 2))

RHAT_RANGE = (1.001, 3.0)
RHAT_TICKS = {1.001: "≤1.001", 1.01: "1.01", 1.05: "1.05", 1.2: "1.2", 3.0: "≥3"}
RHAT_SCALE = "(log scale of R-hat - 1)"
RHAT_THRESHOLD, ESS_THRESHOLD = 1.01, 400
"""Those of the verdict, said again because what imports them imports JAX."""


def place_rhat(rhat: ArrayLike) -> np.ndarray:
    """Return where R-hats, even infinite ones, stand on an axis made by :func:`rhat_axis`."""
    return np.clip(rhat, *RHAT_RANGE) - 1


def rhat_axis(axes: Axes, which: Literal["x", "y"] = "x") -> None:
    """Make an axis logarithmic in R-hat - 1, as ``RHAT_SCALE`` says, with ticks at R-hats, and mark the threshold."""
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    limits = (0.9 * (RHAT_RANGE[0] - 1), 1.1 * (RHAT_RANGE[1] - 1))
    axes.set(**{f"{which}scale": "log", f"{which}lim": limits})
    axis.set_ticks([tick - 1 for tick in RHAT_TICKS], list(RHAT_TICKS.values()))
    axis.set_ticks([], minor=True)
    place, name = RHAT_THRESHOLD - 1, "good "
    mark(axes, place, which=which)
    if which == "x":
        _name_mark(axes, place, 1, name, "right", axes.get_xaxis_transform())
    else:
        _name_mark(axes, 1, place, name, "right", axes.get_yaxis_transform())


def ess_axis(axes: Axes) -> None:
    """Make the x axis logarithmic and mark the threshold of the effective sample size."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("")
    mark(axes, ESS_THRESHOLD)
    _name_mark(axes, ESS_THRESHOLD, 1, f" good ≥ {ESS_THRESHOLD}", "left", axes.get_xaxis_transform())


def _name_mark(axes: Axes, x: float, y: float, name: str, side: str, transform: Any) -> None:
    axes.text(x, y, name, color=GREY, size=6, ha=side, va="top", transform=transform)


def mark(axes: Axes, *places: float, which: Literal["x", "y"] = "x") -> None:
    """Draw thin lines across an axis at thresholds."""
    for place in places:
        {"x": axes.axvline, "y": axes.axhline}[which](place, color=GREY, linewidth=0.7, linestyle=DASHES, zorder=0)


def kind_colors(kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a colour a kind of networks: its method's, the lighter the earlier where a setting varies.

    Parameters
    ----------
    kinds : name -> entry of summary.json, with ``arch`` and ``varied``.
    """
    colors = {}
    for name, kind in kinds.items():
        siblings = [other for other, entry in kinds.items() if entry.get("varied") and entry["arch"] == kind["arch"]]
        strength = (siblings.index(name) + 1) / len(siblings) if name in siblings else 1.0
        color = np.array(to_rgb(CONTROL_COLORS.get(name) or ARCH_COLORS[kind["arch"]]))
        colors[name] = to_hex(tuple((1 - (0.3 + 0.7 * strength) * (1 - color)).tolist()))
    return colors


def new_figure(width: float, height: float, *title: str) -> Figure:
    """Make a figure, in inches; the parts of its title get lines of their own where it is narrow."""
    figure = Figure(figsize=(width, height), layout="constrained")
    separator = "\n" if width < PAGE_WIDTH else ", "
    figure.suptitle(separator.join(title), x=0.01, horizontalalignment="left")
    return figure


def draw_diagonal(axes: Axes) -> None:
    """Draw the line on which both axes agree."""
    axes.axline((0, 0), slope=1, color=GREY, linewidth=0.7, linestyle=DASHES, zorder=0)


def draw_shares(axes: Axes, values: np.ndarray, edges: np.ndarray, color: str, label: str | None = None) -> None:
    """Draw a histogram whose bars add up to one; what is behind it can be seen."""
    weights = np.full(len(values), 1 / max(1, len(values)))
    axes.hist(
        values,
        edges.tolist(),
        weights=weights,
        histtype="stepfilled",
        facecolor=(color, 0.25),
        edgecolor=color,
        label=label,
        linewidth=0.9,
    )
