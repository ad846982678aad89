"""Draw bounds and scores of fits against the width of the network, from rows of ``fit`` and ``width``.

    python benchmarks/plot_widths.py [results/mnist_widths.json ...] [--out FIGURE.png]

Means over fits with 95 % intervals (Student's t) of the bound; scores are those of the mixture of the fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from asymjax.lab import run_files
from asymjax.report import style
from asymjax.symmetry.interpolation import over_networks

RESULTS = Path(__file__).parent / "results"
COLORS = style.ARCH_COLORS | {"ordered": style.SKY, "bethe": style.ORANGE}
PANELS = {"elbo": "ELBO (thousands of nats)", "nll": "test NLL (nats)", "accuracy": "test accuracy"}


@dataclass(frozen=True)
class Config:
    """What is drawn."""

    paths: tyro.conf.Positional[tuple[Path, ...]] = (RESULTS / "mnist_widths.json", RESULTS / "mnist_bethe.json")
    """Rows, one a kind of fit and width; where several files have one, the first."""
    out: Path = RESULTS / "mnist_widths.png"
    """The figure."""


@style.styled
def plot(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw a panel a number and a line a kind of fit."""
    figure = style.new_figure(style.PAGE_WIDTH, 2.9)
    kinds = list(dict.fromkeys(row["fit"] for row in rows))
    for (name, label), axes in zip(PANELS.items(), figure.subplots(1, len(PANELS)), strict=True):
        for kind in kinds:
            own = sorted((row for row in rows if row["fit"] == kind), key=lambda row: row["width"])
            widths = [row["width"] for row in own]
            if name == "elbo":
                found = [over_networks(np.asarray(row[name]) / 1000) for row in own]
                mean, low, high = (np.array([one[part] for one in found]) for part in ("mean", "low", "high"))
                axes.errorbar(widths, mean, (high - low) / 2, color=COLORS[kind], marker="o", capsize=2, label=kind)
            else:
                axes.plot(widths, [row[name] for row in own], color=COLORS[kind], marker="o", label=kind)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({row["width"] for row in rows}), sorted({str(row["width"]) for row in rows}, key=int))
        axes.set_xlabel("hidden units")
        axes.set_title(label)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(kinds))
    return figure


def main(config: Config) -> None:
    """Draw the figure."""
    rows = [row for path in config.paths for row in run_files.read_json(path)["rows"]]
    first = {(row["fit"], row["width"]): row for row in reversed(rows)}
    figure = plot(list(reversed(first.values())))
    figure.savefig(config.out)
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
