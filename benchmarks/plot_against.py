"""Draw the ratios of ESS a second of whole runs, from results of bench_against.py.

    python benchmarks/plot_against.py [results/against.json ...] [--out FIGURE.png]

A column is a clock, a line a target with a sampler of ours and an opponent. Points are medians over seeds, lines go
from the least to the greatest; grey ticks are the aims. Open points: R-hat was above 1.05 in one of the runs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from bench_against import FACTORS, ratio_rows
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from asymjax.errors import InputError
from asymjax.lab import run_files
from asymjax.report import style

RESULTS = Path(__file__).parent / "results"
COLUMNS = {
    "sampling": "sampling",
    "with warmup": "starts, warmup, sampling",
    "processor, with warmup": "the same, processor time",
}
MARKS = {"ess_min": (style.BLUE, "o", "slowest function"), "ess_median": (style.VERMILLION, "s", "median function")}
NAMES = {"numpyro": "NumPyro", "blackjax": "BlackJAX", "hmc": "HMC", "nuts": "NUTS"}


@dataclass(frozen=True)
class Config:
    """What is drawn."""

    paths: tyro.conf.Positional[tuple[Path, ...]] = (RESULTS / "against.json", RESULTS / "against_digits.json")
    """Results of bench_against.py."""
    out: Path = RESULTS / "against.png"
    """The figure."""


@style.styled
def plot(rows: list[dict[str, Any]]) -> Figure:
    """Draw the ratios of all rows that hold one."""
    lines = list(dict.fromkeys((row["target"], row["sampler"], row["opponent"]) for row in rows))
    figure = style.new_figure(style.PAGE_WIDTH, 0.9 + 0.22 * len(lines))
    panels = figure.subplots(1, len(COLUMNS), sharex=True, sharey=True)
    for axes, (clock, title) in zip(panels, COLUMNS.items(), strict=True):
        _draw(axes, [row for row in rows if row["clock"] == clock and row["ess"] in MARKS], lines)
        axes.set_title(title)
    panels[0].set(xscale="log", ylim=(len(lines) - 0.5, -0.5))
    panels[0].set_yticks(range(len(lines)), [_name(*line) for line in lines])
    panels[0].xaxis.set_major_formatter("{x:g}")
    panels[1].set_xlabel("our effective draws a second over theirs (log scale)")
    marks = [Line2D([], [], color=color, marker=mark, label=name) for color, mark, name in MARKS.values()]
    marks.append(Line2D([], [], color=style.GREY, marker="|", linestyle="", markersize=9, label="aim"))
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks))
    return figure


def _name(target: str, sampler: str, opponent: str) -> str:
    return f"{target}: {NAMES[sampler]} over {NAMES[opponent]}"


def _draw(axes: Axes, rows: list[dict[str, Any]], lines: list[tuple[str, str, str]]) -> None:
    """Draw the ratios of one clock."""
    style.mark(axes, 1)
    for row in rows:
        place = lines.index((row["target"], row["sampler"], row["opponent"]))
        color, mark, _ = MARKS[row["ess"]]
        y = place + (-0.15 if row["ess"] == "ess_min" else 0.15)
        fill = color if row["converged"] else "white"
        axes.plot([row["low"], row["high"]], [y, y], color=color, linewidth=0.9)
        axes.plot(row["median"], y, color=color, marker=mark, markerfacecolor=fill)
        aim = FACTORS.get((row["sampler"], row["opponent"]))
        if aim is not None:
            axes.plot(aim, place, color=style.GREY, marker="|", markersize=11)


def main(config: Config) -> None:
    """Draw the figure.

    Raises
    ------
    InputError
        If a file is missing or damaged, or none has a ratio.
    """
    rows = [ratio for path in config.paths for ratio in ratio_rows(run_files.read_json(path).get("rows", []))]
    if not rows:
        raise InputError("no file holds runs of both sides; run benchmarks/bench_against.py first")
    plot(rows).savefig(config.out)
    print(config.out)


if __name__ == "__main__":
    try:
        main(tyro.cli(Config, description=__doc__))
    except InputError as problem:
        raise SystemExit(f"error: {problem}") from None
