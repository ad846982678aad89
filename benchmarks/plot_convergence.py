"""Draw R-hat and predictive LPPD against gradients for every sampler, from results of bench_convergence.py.

    python benchmarks/plot_convergence.py [results/convergence.json] [--out FIGURE.png]

A column is a target, a colour a sampler, a style of lines a method; thin horizontal lines are the thresholds.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from asymjax import results
from asymjax.errors import InputError
from asymjax.report import style

RESULTS = Path(__file__).parent / "results"
COLORS = (*style.CHAINS, *style.CONTROL_COLORS.values(), style.GREY)
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
MAX_COLUMNS, COLUMN = 6, 1.75


@dataclass(frozen=True)
class Config:
    """What is drawn."""

    path: tyro.conf.Positional[Path] = RESULTS / "convergence.json"
    """Results of bench_convergence.py."""
    out: Path = RESULTS / "convergence.png"
    """The figure."""


@style.styled
def plot(rows: list[dict[str, Any]]) -> Figure:
    """Draw the curves of all rows that have one; targets beyond six begin a further pair of lines."""
    rows = [row for row in rows if "curve" in row]
    targets, samplers, archs = (
        list(dict.fromkeys(row[name] for row in rows)) for name in ("target", "sampler", "arch")
    )
    columns = min(MAX_COLUMNS, len(targets))
    bands = -(-len(targets) // columns)
    figure = style.new_figure(max(style.COLUMN_WIDTH, 0.5 + COLUMN * columns), 0.8 + 3 * bands)
    axes = figure.subplots(2 * bands, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_visible(False)
    for number, target in enumerate(targets):
        band, column = divmod(number, columns)
        pair = axes[2 * band : 2 * band + 2, column]
        for row in (row for row in rows if row["target"] == target):
            color = COLORS[samplers.index(row["sampler"]) % len(COLORS)]
            _draw(pair, row["curve"], color, LINES[archs.index(row["arch"]) % len(LINES)])
        _finish(pair, target, is_first=column == 0)
    marks = [Line2D([], [], color=COLORS[i % len(COLORS)], label=name) for i, name in enumerate(samplers)]
    marks += [
        Line2D([], [], color=style.GREY, linestyle=LINES[i % len(LINES)], label=name) for i, name in enumerate(archs)
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=max(2, 2 * columns))
    return figure


def _draw(pair: np.ndarray, curve: dict[str, list[float]], color: str, linestyle: Any) -> None:
    """Draw one row into the axes of R-hat and LPPD."""
    values = style.place_rhat(np.array(curve["rhat_max"], float)), curve["lppd"]
    for axes, of_axes in zip(pair, values, strict=True):
        axes.plot(curve["num_grad_evals"], of_axes, color=color, linestyle=linestyle, linewidth=0.9)


def _finish(pair: np.ndarray, target: str, is_first: bool) -> None:
    rhat, lppd = pair
    rhat.set_title(target)
    style.rhat_axis(rhat, "y")
    for axes in pair:
        axes.set_visible(True)
        axes.set_xscale("log")
    rhat.tick_params(labelbottom=False)
    lppd.set_xlabel("gradients")
    lppd.sharex(rhat)
    _zoom(lppd)
    if is_first:
        rhat.set_ylabel("R-hat, maximum")
        lppd.set_ylabel("LPPD")
    else:
        rhat.set_yticklabels([])


def _zoom(axes: Axes) -> None:
    """End the axis of LPPD where most curves are: what is far below its best values is cut off."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    best, typical = np.max(values), np.quantile(values, 0.1)
    axes.set_ylim(best - 1.3 * max(best - typical, 0.01), best + 0.1 * max(best - typical, 0.01))


def main(config: Config) -> None:
    """Draw the figure.

    Raises
    ------
    InputError
        If the file is missing or damaged, or no case in it has a curve.
    """
    rows = results.read_json(config.path).get("rows", [])
    if not any("curve" in row for row in rows):
        raise InputError(f"{config.path} holds no case with a curve; run benchmarks/bench_convergence.py first")
    figure = plot(rows)
    figure.savefig(config.out)
    print(config.out)


if __name__ == "__main__":
    try:
        main(tyro.cli(Config, description=__doc__))
    except InputError as problem:
        raise SystemExit(f"error: {problem}") from None
