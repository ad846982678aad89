"""Draw how far apart units end under weight decay, from the rows of ``mirror_decay.py``.

    python benchmarks/plot_mirror.py [results/mirror.json] [--out FIGURE.png]

Against the decay, means over networks with 95 % intervals (Student's t): the smallest distance between two units of a
layer, in weights and in what they say of test rows, the share of pairs of units that say the same, and the test
accuracy. Prints the same as a table.
"""

from collections.abc import Callable, Sequence
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
Row = dict[str, Any]


def _over_layers(kind: str, fold: Callable[[list[float]], float]) -> Callable[[Row], float]:
    return lambda row: fold([layer[kind] for layer in row["layers"].values()])


MEASURES: dict[str, Callable[[Row], float]] = {
    "smallest distance of weights": _over_layers("weights", min),
    "smallest distance of responses": _over_layers("responses", min),
    "share of pairs alike": _over_layers("share_alike", max),
    "share of units vanished": _over_layers("share_vanished", max),
    "test accuracy": lambda row: row["accuracy"],
}
DRAWN = ("smallest distance of weights", "smallest distance of responses", "share of pairs alike", "test accuracy")
COLORS = style.ARCH_COLORS | {"syre, 1 %": style.CONTROL_COLORS["w_asym_start"]}


@dataclass(frozen=True)
class Config:
    """What is drawn."""

    path: tyro.conf.Positional[Path] = RESULTS / "mirror.json"
    """Rows, one a network."""
    out: Path = RESULTS / "mirror.png"
    """The figure."""


def means(rows: Sequence[Row], variant: str, measure: str) -> dict[str, np.ndarray]:
    """Return decay, mean and interval over networks of one variant, [decay]."""
    own = [row for row in rows if row["variant"] == variant]
    decays = sorted({row["decay"] for row in own})
    at = [[MEASURES[measure](row) for row in own if row["decay"] == decay] for decay in decays]
    found = [over_networks(np.array(values)) for values in at]
    return {"decay": np.array(decays)} | {key: np.array([one[key] for one in found]) for key in found[0]}


@style.styled
def plot(rows: Sequence[Row]) -> Figure:
    """Draw the measures, a panel each; layers are told by the one that is worst."""
    figure = style.new_figure(style.PAGE_WIDTH, 4.4, "Units under weight decay", "two hidden layers, digits")
    panels = figure.subplots(2, 2, sharex=True).ravel()
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    for axes, measure in zip(panels, DRAWN, strict=True):
        for i, variant in enumerate(variants):
            found = means(rows, variant, measure)
            places = np.arange(len(found["mean"])) + 0.06 * (i - (len(variants) - 1) / 2)
            spread = np.nan_to_num([found["mean"] - found["low"], found["high"] - found["mean"]])
            axes.errorbar(places, found["mean"], spread, color=COLORS[variant], marker="o", markersize=3, label=variant)
            axes.set_xticks(np.arange(len(found["mean"])), [f"{decay:g}" for decay in found["decay"].round(6)])
        axes.set_ylabel(measure)
        axes.set_ylim(0, 1.05 if measure in ("share of pairs alike", "test accuracy") else None)
    for axes in panels[2:]:
        axes.set_xlabel("weight decay")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(variants))
    return figure


def table(rows: Sequence[Row]) -> str:
    """Return mean and half width of the interval of every measure, a line a variant and decay."""
    lines = [f"| method | decay | {' | '.join(MEASURES)} |", "|---" * (len(MEASURES) + 2) + "|"]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        found = {name: means(rows, variant, name) for name in MEASURES}
        for i, decay in enumerate(found["test accuracy"]["decay"]):
            cells = [f"{one['mean'][i]:.3f} ± {one['high'][i] - one['mean'][i]:.3f}" for one in found.values()]
            lines.append(f"| {variant} | {decay:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(config: Config) -> None:
    """Draw the figure and print the table."""
    rows = run_files.read_json(config.path)["rows"]
    print(table(rows))
    plot(rows).savefig(config.out)
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
