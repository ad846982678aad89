"""Draw posteriors of sparse networks beside those of dense ones, from the rows of ``sparse_posterior.py``.

    python benchmarks/plot_sparse_posterior.py [results/sparse_posterior.json] [--out FIGURE.png]

Against the sparsity, means over networks with 95 % intervals (Student's t): the largest R-hat and the median ESS a
thousand gradients, in weight space and in function space, and what the mixture of all draws predicts. Prints the same
as a table.
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


def _of_space(space: str, name: str, factor: float = 1) -> Callable[[Row], float]:
    return lambda row: factor * row[space][name]


MEASURES: dict[str, Callable[[Row], float]] = {
    "R-hat, weights": _of_space("weights", "rhat_max"),
    "median R-hat, weights": _of_space("weights", "rhat_median"),
    "R-hat, functions": _of_space("functions", "rhat_max"),
    "ESS, weights": _of_space("weights", "ess_bulk_median_per_grad_eval", 1000),
    "ESS, functions": _of_space("functions", "ess_bulk_median_per_grad_eval", 1000),
    "NLL": _of_space("predictive", "nll"),
    "accuracy": _of_space("predictive", "accuracy"),
    "ECE": _of_space("predictive", "ece"),
    "NLL, trained": _of_space("trained", "nll"),
}
DRAWN = ("R-hat, weights", "R-hat, functions", "NLL", "ESS, weights", "ESS, functions", "ECE")
LOGARITHMIC = ("ESS, weights", "ESS, functions")


@dataclass(frozen=True)
class Config:
    """What is drawn."""

    path: tyro.conf.Positional[Path] = RESULTS / "sparse_posterior.json"
    """Rows, one a posterior."""
    out: Path = RESULTS / "sparse_posterior.png"
    """The figure."""


def means(rows: Sequence[Row], arch: str, measure: str) -> dict[str, np.ndarray]:
    """Return sparsity, mean and interval over networks of one method, [level]."""
    own = [row for row in rows if row["arch"] == arch]
    levels = sorted({row["num_rounds"] for row in own})
    at = [[row for row in own if row["num_rounds"] == level] for level in levels]
    found = [over_networks(np.array([MEASURES[measure](row) for row in level])) for level in at]
    sparsity = [np.mean([row["trained"]["sparsity"] for row in level]) for level in at]
    return {"sparsity": np.array(sparsity)} | {key: np.array([one[key] for one in found]) for key in found[0]}


@style.styled
def plot(rows: Sequence[Row]) -> Figure:
    """Draw the measures, a panel each."""
    figure = style.new_figure(style.PAGE_WIDTH, 4.2, "Posteriors of sparse networks, Hamiltonian Monte Carlo")
    panels = figure.subplots(2, 3, sharex=True).ravel()
    archs = dict.fromkeys(row["arch"] for row in rows)
    for axes, measure in zip(panels, DRAWN, strict=True):
        for i, arch in enumerate(archs):
            found = means(rows, arch, measure)
            places = np.arange(len(found["mean"])) + 0.08 * (i - (len(archs) - 1) / 2)
            spread = np.nan_to_num([found["mean"] - found["low"], found["high"] - found["mean"]])
            axes.errorbar(
                places, found["mean"], spread, color=style.ARCH_COLORS[arch], marker="o", markersize=3, label=arch
            )
            axes.set_xticks(np.arange(len(found["mean"])), [f"{100 * share:.0f}" for share in found["sparsity"]])
        if measure in LOGARITHMIC:
            axes.set_yscale("log", nonpositive="clip")
        axes.set(ylabel=f"{measure} / 1000 gradients" if measure in LOGARITHMIC else measure)
    for axes in panels[3:]:
        axes.set_xlabel("weights pruned (%)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(archs))
    return figure


def table(rows: Sequence[Row]) -> str:
    """Return mean and half width of the interval of every measure, a line a method and level."""
    lines = [f"| method | pruned | {' | '.join(MEASURES)} |", "|---" * (len(MEASURES) + 2) + "|"]
    for arch in dict.fromkeys(row["arch"] for row in rows):
        found = {name: means(rows, arch, name) for name in MEASURES}
        for i, share in enumerate(found["NLL"]["sparsity"]):
            cells = [f"{one['mean'][i]:.3g} ± {one['high'][i] - one['mean'][i]:.2g}" for one in found.values()]
            lines.append(f"| {arch} | {100 * share:.0f} % | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(config: Config) -> None:
    """Draw the figure and print the table."""
    rows = run_files.read_json(config.path)["rows"]
    print(table(rows))
    plot(rows).savefig(config.out)
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
