"""Runs of ``sparse_lmc`` of several methods, as one table, one JSON file and one figure.

    python benchmarks/plot_sparse.py RUN_DIR RUN_DIR ... --name sparse_digits

Above: how far the test error rises between twins of tickets of the first step, by where masks come from. Below: the
test error of networks under their own mask, that of another seed as it is, and that aligned, against the step that
tickets begin at, at the sparsity of ``--pruned``.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asymjax.experiments.sparse_connectivity.figures import COLORS, read_sparse, sources_of
from asymjax.report import style

ROOT = Path(__file__).resolve().parents[1]
FROM_ROWS, TRANSFERRED = ("imp", "distilled", "subset", "random"), ("imp", "naive", "permuted")
MEASURED = ("test.error", "test.error.over_mean", "test.loss", "test.loss.over_mean", "distance")
RISE, ERROR = "test.error.over_mean", "test.error"
KEPT = ("arch", "step", "counts", "costs", "cells", "between", "successive", "failed", "stability")


@dataclass(frozen=True)
class Config:
    """What is collected."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Finished run directories, one or more a method."""
    pruned: float = 0.867
    """Sparsity of the lower panels; the nearest that was measured."""
    name: str = "sparse_digits"
    """Of the JSON file in results/, and of the figure in docs/figures/."""


def collect(runs: tuple[Path, ...]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the studies of all runs, and what made each run."""
    studies, origins = [], []
    for path in runs:
        run = read_sparse(path)
        origin = run.record["provenance"]
        words = [Path(word).name if Path(word).is_absolute() else word for word in origin["command"]]
        origins.append({**origin, "command": words, "seconds": run.summary["seconds"]})
        studies += [{name: study.get(name) for name in KEPT} for study in run.studies]
    return studies, origins


def test_alone(cell: dict[str, Any]) -> dict[str, Any]:
    """Return a cell with test rows alone, rises by the first definition, and curvature at ends and middle."""
    measures = {name: {**cell["measures"][name], "std": None} for name in MEASURED if name in cell["measures"]}
    beside = {name: one for name, one in cell["beside_imp"].items() if name in MEASURED}
    curvature = {name: points[::2] for name, points in cell.get("curvature", {}).items()}
    return {**cell, "measures": measures, "beside_imp": beside, "curvature": curvature}


def shortened(study: dict[str, Any]) -> dict[str, Any]:
    """Return a study with what the page tells."""
    between = {
        kind: {name: measures[name] for name in MEASURED if name in measures}
        for kind, measures in study["between"].items()
    }
    steps = [
        {**one, "measures": {name: one["measures"][name] for name in MEASURED if name in one["measures"]}}
        for one in study["successive"]
    ]
    return {**study, "cells": list(map(test_alone, study["cells"])), "between": between, "successive": steps}


def rounded(value: Any) -> Any:
    """Return a tree whose floating numbers have five digits."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return list(map(rounded, value))
    return float(f"{value:.5g}") if isinstance(value, float) else value


@style.styled
def draw(studies: list[dict[str, Any]], pruned: float) -> Figure:
    """Draw the figure, a column a method."""
    archs = list(dict.fromkeys(study["arch"] for study in studies))
    figure = style.new_figure(style.PAGE_WIDTH, 4.4, "Tickets with permutations and without")
    panels = figure.subplots(2, len(archs), sharey="row", squeeze=False)
    for arch, (above, below) in zip(archs, panels.T, strict=True):
        own = sorted((study for study in studies if study["arch"] == arch), key=lambda study: study["step"])
        above.set_title(arch)
        for source, cells in sources_of(own[0]).items():
            if source in FROM_ROWS:
                draw_line(above, [1 - cell["sparsity"] for cell in cells], cells, RISE, source)
        for source in TRANSFERRED:
            cells = [nearest(study, source, pruned) for study in own]
            draw_line(below, list(range(len(own))), cells, ERROR, source)
        left = [1 - cell["sparsity"] for cell in sources_of(own[0])["imp"]]
        above.set_xscale("log")
        above.set_xticks(left, [f"{share:.0%}" for share in left])
        above.set_xticks([], minor=True)
        above.set_xlim(1.2, 0.8 * left[-1])
        above.set_xlabel(f"weights left, step {own[0]['step']}")
        below.set_xticks(range(len(own)), [str(study["step"]) for study in own])
        below.set_xlim(-0.3, len(own) - 0.7)
        below.set_xlabel("step that tickets begin at")
    panels[0, 0].set_ylabel("rise of the test error\nbetween twins")
    panels[1, 0].set_ylabel(f"test error, {pruned:.0%} pruned")
    panels[0, 0].set_ylim(-0.02, 0.62)
    panels[1, 0].set_ylim(0, 0.4)
    for row, words in zip(
        panels, ({}, {"imp": "own mask", "naive": "of another seed", "permuted": "aligned"}), strict=True
    ):
        handles, labels = row[0].get_legend_handles_labels()
        row[-1].legend(handles, [words.get(label, label) for label in labels], fontsize=6)
    return figure


def nearest(study: dict[str, Any], source: str, pruned: float) -> dict[str, Any]:
    """Return the cell of a source whose sparsity is nearest."""
    cells = [cell for cell in study["cells"] if cell["source"] == source]
    return min(cells, key=lambda cell: abs(cell["sparsity"] - pruned))


def draw_line(axes: Axes, places: list[float], cells: list[dict[str, Any]], measure: str, source: str) -> None:
    """Draw means with their intervals."""
    mean, low, high = (
        np.array([cell["measures"][measure][name] for cell in cells]) for name in ("mean", "low", "high")
    )
    axes.errorbar(
        places, mean, [mean - low, high - mean], color=COLORS[source], label=source, marker="o", elinewidth=0.7
    )


def main(config: Config) -> None:
    """Write both files and print a table."""
    studies, origins = collect(config.runs)
    results = ROOT / "benchmarks" / "results" / f"{config.name}.json"
    rows = [rounded(shortened(study)) for study in studies]
    results.write_text(json.dumps({"rows": rows, "ceilings": {}, "provenance": origins}, separators=(",", ":")))
    figure = ROOT / "docs" / "figures" / f"{config.name.replace('_', '-')}.png"
    draw(studies, config.pruned).savefig(figure)
    for study in studies:
        for cell in study["cells"]:
            told = {name: cell["measures"].get(name) for name in (ERROR, RISE, "test.loss.over_mean")}
            words = [
                f"{one['mean']:.3f} ± {(one['high'] - one['low']) / 2:.3f}" if one else "-" for one in told.values()
            ]
            place = (study["arch"], str(study["step"]), cell["source"], f"{cell['sparsity']:.1%}")
            print("| " + " | ".join((*place, *words)) + " |")
    print(results, figure, sep="\n")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
