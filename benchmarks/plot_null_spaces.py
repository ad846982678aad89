"""Draw null spaces in three parts, and the spectra beside them, from the rows of ``null_spaces.py``.

python benchmarks/plot_null_spaces.py [results/null_spaces.json] [--out FIGURE.png]
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measure import RESULTS

from asymjax.experiments.invariant_paths.figures import NULL_COLORS
from asymjax.lab import run_files
from asymjax.report import style

NAMES = {
    "mlp": "64-16-10, ReLU",
    "deep": "64-10-10-10, ReLU",
    "normed": "64-12-10, LayerNorm, GELU",
    "cnn": "convolutions 4, 8, ReLU",
}
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Config:
    """What is drawn."""

    path: tyro.conf.Positional[Path] = RESULTS / "null_spaces.json"
    """Rows, one a method and backbone."""
    out: Path = RESULTS / "null_spaces.png"
    """The figure."""


@style.styled
def plot(rows: Sequence[Row]) -> Figure:
    """Draw the shares of null directions above, and median eigenvalues of the metric below."""
    networks = [name for name in NAMES if any(row["network"] == name for row in rows)]
    figure = style.new_figure(style.PAGE_WIDTH, 4.6, "Directions that leave the outputs on training rows as they are")
    panels = figure.subplots(2, len(networks), squeeze=False)
    for (above, below), network in zip(panels.T, networks, strict=True):
        own = [row for row in rows if row["network"] == network]
        _draw_parts(above, own)
        above.set_title(NAMES[network], size=7)
        for row in own:
            values = np.array(row["spectrum"])
            places = np.linspace(0, 1, len(values))
            below.plot(places, values / values[0], color=style.ARCH_COLORS[row["arch"]], label=row["arch"])
        below.set(yscale="log", ylim=(1e-12, 2), xlabel="share of directions")
    panels[0, 0].set_ylabel("share of parameters")
    panels[1, 0].set_ylabel("eigenvalue, of the largest")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    figure.legend(*panels[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _draw_parts(axes: Axes, rows: Sequence[Row]) -> None:
    bottom: np.ndarray = np.zeros(len(rows))
    for part, color in NULL_COLORS.items():
        if part != "rank":
            heights = np.array([np.mean(row[part]) / row["num_parameters"] for row in rows])
            axes.bar([row["arch"] for row in rows], heights, bottom=bottom, color=color, label=part)
            bottom = bottom + heights
    axes.set_xticks(range(len(rows)), [row["arch"] for row in rows], rotation=45, horizontalalignment="right")


def main(config: Config) -> None:
    """Draw the figure."""
    plot(run_files.read_json(config.path)["rows"]).savefig(config.out)
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
