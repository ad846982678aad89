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

from asymjax.errors import InputError
from asymjax.lab import run_files
from asymjax.report import style

RESULTS = Path(__file__).parent / "results"
COLORS = (*style.CHAINS, *style.CONTROL_COLORS.values(), "#999933", "#661100")
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
    axes = figure.subplots(2 * bands, columns, squeeze=False, sharex=True)
    gradients = np.log10([end for row in rows for end in np.array(row["curve"]["num_grad_evals"])[[0, -1]]])
    axes[0, 0].set(xscale="log", xlim=10.0 ** np.array([np.floor(gradients.min()), np.ceil(gradients.max())]))
    for unused in axes[-2:, len(targets) - columns * (bands - 1) :].flat:
        unused.set_visible(False)
    for number, target in enumerate(targets):
        band, column = divmod(number, columns)
        pair = axes[2 * band : 2 * band + 2, column]
        for row in (row for row in rows if row["target"] == target):
            color = COLORS[samplers.index(row["sampler"]) % len(COLORS)]
            _draw(pair, row["curve"], color, LINES[archs.index(row["arch"]) % len(LINES)])
        _finish(pair, target, is_first=column == 0)
    figure.legend(handles=_marks(samplers, archs), loc="outside lower center", ncols=max(2, 2 * columns))
    return figure


def _marks(samplers: list[str], archs: list[str]) -> list[Line2D]:
    marks = [Line2D([], [], color=COLORS[i % len(COLORS)], label=name) for i, name in enumerate(samplers)]
    return marks + [
        Line2D([], [], color=style.GREY, linestyle=LINES[i % len(LINES)], label=name) for i, name in enumerate(archs)
    ]


def _draw(pair: np.ndarray, curve: dict[str, list[float]], color: str, linestyle: Any) -> None:
    """Draw one row into the axes of R-hat and LPPD."""
    values = style.place_rhat(np.array(curve["rhat_max"], float)), curve["lppd"]
    for axes, of_axes in zip(pair, values, strict=True):
        axes.plot(curve["num_grad_evals"], of_axes, color=color, linestyle=linestyle, linewidth=0.9)


def _finish(pair: np.ndarray, target: str, is_first: bool) -> None:
    """Label the axes of a target."""
    rhat, lppd = pair
    rhat.set_title(target)
    style.rhat_axis(rhat, "y")
    rhat.tick_params(labelbottom=False)
    lppd.tick_params(labelbottom=True)
    lppd.set_xlabel("gradients")
    _zoom(lppd)
    if is_first:
        rhat.set_ylabel("R-hat, maximum")
        lppd.set_ylabel("test LPPD")
    else:
        rhat.set_yticklabels([])


def _zoom(axes: Axes) -> None:
    """Cut the axis of LPPD off where curves are far below: four times as far from the best as half of all points."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    values = values[np.isfinite(values)]
    low, middle, high = np.quantile(values, (0, 0.5, 1))
    low = max(low, high - 4 * (high - middle))
    margin = 0.05 * (high - low) + 1e-3
    axes.set_ylim(low - margin, high + margin)


def main(config: Config) -> None:
    """Draw the figure.

    Raises
    ------
    InputError
        If the file is missing or damaged, or no case in it has a curve.
    """
    rows = run_files.read_json(config.path).get("rows", [])
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
