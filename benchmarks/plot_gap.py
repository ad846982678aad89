"""Draw what a learner sees of symmetry, from the rows of ``gap_curve.py``.

    python benchmarks/plot_gap.py [results/gap_curve.json] [--out FIGURE.png]

Above, the gap in Kendall's tau against each knob, with 95 % intervals over zoos (Student's t), between the gaps of
standard networks of own starts and of a shared one. Below, the gap of every zoo against the linear barrier and against
the swap cost of its best networks, where that is finite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asymjax.lab import run_files
from asymjax.report import style
from asymjax.symmetry.interpolation import over_networks

RESULTS = Path(__file__).parent / "results"
STARTS = {"own start": style.BLACK, "shared start": style.GREEN}
KNOBS = {"fixed scale": style.BLUE, "fixed share": style.SKY, "gate scale": style.VERMILLION}
WHERE = {
    "fixed scale": "scale of what is fixed (w_asym)",
    "fixed share": "share of weights fixed (w_asym)",
    "gate scale": "scale of gates (sigma_asym)",
}
MEASURES = {"barrier": "linear barrier (nats)", "swap_cost": "swap cost (signed root)"}
LIMITS = (-0.06, 0.46)
"""Of gaps."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Config:
    """What is drawn."""

    path: tyro.conf.Positional[Path] = RESULTS / "gap_curve.json"
    """Rows, one a kind of networks."""
    out: Path = RESULTS / "gap_curve.png"
    """The figure."""


@style.styled
def plot(rows: Sequence[Row]) -> Figure:
    """Draw the gap against what breaks the symmetry, and against what that does to networks."""
    figure = style.new_figure(
        style.PAGE_WIDTH, 4.2, "What knowing the symmetry is worth to a network that reads weights"
    )
    grid = figure.add_gridspec(2, 6)
    above = [figure.add_subplot(grid[0, 2 * i : 2 * i + 2]) for i in range(3)]
    below = [figure.add_subplot(grid[1, 3 * i : 3 * i + 3]) for i in range(2)]
    for axes, knob in zip(above, KNOBS, strict=True):
        _draw_knob(axes, rows, knob)
    for axes, measure in zip(below, MEASURES, strict=True):
        _draw_measure(axes, rows, measure)
    figure.legend(*below[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _draw_knob(axes: Axes, rows: Sequence[Row], knob: str) -> None:
    for start, color in STARTS.items():
        level = np.mean([row["gap"] for row in rows if row["knob"] == start])
        axes.axhline(level, color=color, linestyle=style.DASHES, linewidth=0.8)
    own = sorted((row for row in rows if row["knob"] == knob), key=lambda row: row["value"])
    found = [over_networks(np.asarray(row["gap"])) for row in own]
    mean, low, high = (np.array([one[part] for one in found]) for part in ("mean", "low", "high"))
    places = np.arange(len(own))  # Zero has a place among the others.
    axes.errorbar(places, mean, (high - low) / 2, color=KNOBS[knob], marker="o", capsize=2)
    axes.set_xticks(places, [f"{row['value']:.3g}" for row in own])
    axes.set(xlabel=WHERE[knob], ylim=LIMITS, ylabel="gap in tau" if knob == next(iter(KNOBS)) else None)


def _draw_measure(axes: Axes, rows: Sequence[Row], measure: str) -> None:
    for knob, color in (STARTS | KNOBS).items():
        points = [
            point
            for row in rows
            if row["knob"] == knob and row[measure][0] is not None
            for point in zip(row[measure], row["gap"], strict=True)
        ]
        finite = np.array([point for point in points if np.isfinite(point[0])]).reshape(-1, 2)
        axes.plot(*finite.T, "o", color=color, markersize=3, label=knob)
    if measure == "swap_cost":
        axes.set_xscale("symlog", linthresh=1)
    axes.set(xlabel=MEASURES[measure], ylim=LIMITS, ylabel="gap in tau" if measure == "barrier" else None)


def main(config: Config) -> None:
    """Draw the figure."""
    plot(run_files.read_json(config.path)["rows"]).savefig(config.out)
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
