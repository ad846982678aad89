"""Tables of monotonic linear interpolation: kind by kind, and beside published numbers."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from asymjax.experiments.linear_connectivity.table import interval, left_out
from asymjax.experiments.monotonic_interpolation.figures import SPLITS, InterpolationRun
from asymjax.experiments.published import PATHS, PATHS_SOURCE, PublishedPaths, what_differs_on_paths
from asymjax.report.table import Table, number

Kind = Mapping[str, Any]
Cell = Callable[[Kind], str]

STATISTIC_NAMES = {
    "delta": "delta",
    "is_monotonic": "share monotonic",
    "local_convexity": "local convexity",
    "global_convexity": "global convexity",
    "global_convexity_released": "global, released rule",
}
PATH_NOTE = (
    "Delta: largest change of the loss from one point to the next; monotonic: delta is zero or less. Local convexity: "
    "share of inner points with a second difference of zero or more; global: share at or below the chord between both "
    "ends; released rule: the same with the second point's loss at the chord's end, as in the paper's code, by which "
    "every falling path has 1. Mean and standard deviation over networks, 95 % interval of the mean (Student's t; of "
    "the share monotonic, Wilson's)."
)
NETWORK_NOTE = (
    "Means over networks. Distance: Euclidean, of the weights from start to end, plus or minus half its 95 % interval."
)


def _mean(end: str, split: str, metric: str, form: str = ".4f") -> Cell:
    return lambda kind: f"{np.mean(kind[end][split][metric]):{form}}" if metric in kind[end][split] else "-"


NETWORKS: dict[str, Cell] = {
    "networks": lambda kind: str(len(kind["networks"])),
    "excluded": lambda kind: str(len(kind["excluded"])),
    "trainable": lambda kind: f"{kind['num_trainable']:,}",
    "fixed": lambda kind: f"{kind['num_fixed']:,}",
    "training loss: start": _mean("initial", "train", "loss"),
    "training loss: end": _mean("trained", "train", "loss"),
    "test loss: end": _mean("trained", "test", "loss"),
    "test accuracy": _mean("trained", "test", "accuracy"),
    "distance": lambda kind: interval(kind["distance"], ".2f"),
}


def interpolation_tables(run: InterpolationRun) -> list[Table]:
    """Compare the kinds of a run, and put each beside its published numbers."""
    return [
        _paths_table(run),
        Table("Networks", NETWORK_NOTE + left_out(run.summary), *_by_kind(run, NETWORKS)),
        _published_table(run),
    ]


def _paths_table(run: InterpolationRun) -> Table:
    rows = run.summary["num_measured_rows"]
    note = f"{PATH_NOTE} Rows: {rows['train']:,} of training, {rows['test']:,} to test."
    columns = [f"{split}: {name}" for split in SPLITS.values() for name in ("mean", "std", "95 % interval")]
    cells = [
        [label, arch, *(cell for split in SPLITS for cell in spread(kind["statistics"][split][name]))]
        for name, label in STATISTIC_NAMES.items()
        for arch, kind in run.kinds.items()
    ]
    return Table("Loss from start to end", note, ["metric", "kind", *columns], cells)


def spread(statistics: Mapping[str, float]) -> list[str]:
    """Write mean, standard deviation and interval; a dash for what is not known."""
    interval = [statistics[name] for name in ("low", "high")]
    return [
        number(statistics["mean"], ".3f"),
        number(statistics.get("std"), ".3f"),
        "-" if None in interval else "{:.3f} to {:.3f}".format(*interval),
    ]


def _by_kind(run: InterpolationRun, columns: Mapping[str, Cell]) -> tuple[list[str], list[list[str]]]:
    cells = {header: [cell(kind) for kind in run.kinds.values()] for header, cell in columns.items()}
    shown = {header: column for header, column in cells.items() if set(column) != {"-"}}
    return ["kind", *shown], [list(row) for row in zip(run.kinds, *shown.values(), strict=True)]


def _published_table(run: InterpolationRun) -> Table:
    differences = "; ".join(what_differs_on_paths(run.record["config"], run.summary["num_rows"]))
    note = (
        f"{PATHS_SOURCE}, beside ours: means ± standard deviations over networks, of the training loss. The "
        "paper defines global convexity by the chord between both ends, its released code by another: ours by both. "
        f"What was different here: {differences}."
    )
    columns = ["kind", "whose", "networks", "delta", "monotonic (%)", "local", "global, released rule", "global"]
    return Table("Beside the paper", note, columns, [row for paper in PATHS for row in _beside(run, paper)])


def _beside(run: InterpolationRun, paper: PublishedPaths) -> list[list[str]]:
    def plus_minus(mean: float, std: float | None) -> str:
        return f"{mean:.3f} ± {number(std, '.3f')}"

    theirs = [
        *(paper.name, "paper", str(paper.num_networks), plus_minus(*paper.delta), f"{100 * paper.share_monotonic:.1f}"),
        *(plus_minus(*paper.local_convexity), plus_minus(*paper.global_convexity), "-"),
    ]
    if not (kind := run.kinds.get(paper.arch)):
        return [theirs]
    found = kind["statistics"]["train"]
    delta, local, true, released = (
        plus_minus(found[name]["mean"], found[name]["std"])
        for name in ("delta", "local_convexity", "global_convexity", "global_convexity_released")
    )
    monotonic = f"{100 * found['is_monotonic']['mean']:.1f}"
    ours = [paper.arch, "ours", str(len(kind["networks"])), delta, monotonic, local, released, true]
    return [theirs, ours]
