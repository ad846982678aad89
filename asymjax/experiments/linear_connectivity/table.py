"""Tables of linear connectivity: kind by kind, and beside published numbers."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from asymjax.experiments.linear_connectivity.dose_response import variance_table
from asymjax.experiments.linear_connectivity.figures import ConnectivityRun
from asymjax.experiments.published import BARRIERS, SOURCE, Published, beside_published, what_differs
from asymjax.report.read import as_numbers
from asymjax.report.table import Table, number

Kind = Mapping[str, Any]
Cell = Callable[[Kind], str]

BARRIER_NOTE = (
    "Means over all pairs, plus or minus half their 95 % interval, in which pairs share networks (jackknife over "
    "networks). Midpoint: loss there minus the mean of both ends. Maximum: largest excess over the straight line "
    "between the ends. Recalibrated: each network on the path with its best softmax temperature."
)
ALIGNED_NOTE = (
    " Aligned: after permuting the units of one network of each pair to match the other; where weights or gates are "
    "fixed, such a path leaves the set of the model."
)
CORRUPTION_NOTE = "Test: as they are. Each corruption has one fixed strength, see asymjax/data/corruptions.py."
GATES_NOTE = " Gates are permuted with the units and interpolated."
GATED = frozenset({"sigma_asym", "w_sigma_asym"})
ACCURACY_NOTE = "As above; how far accuracy falls below the straight line between the ends."
NETWORK_NOTE = (
    "Means over networks. Distance: Euclidean, of the weights of a pair, plus or minus as above. Average: one network "
    "whose weights are the means over all networks."
)
MATCHING_NOTE = (
    " Matching: inner product of the permuted weights of a pair, and how far below the best start the worst one ended, "
    "means over pairs."
)
STRENGTH_NOTE = (
    "Means over the first three networks. Swap cost of two units: how much larger the squared norm of their free "
    "weights has to be for each to be the other's function, on the directions that hold {share:.0%} of the variance of "
    "what enters the layer (arXiv 2606.04754); signed roots of the median over all pairs of units, of the lowest 5 %, "
    "and the share that is negative. Coherence: largest squared norm of an input's row in these directions' basis. "
    "Distance: Euclidean, from the set of the model to the nearest network with two units of the layer swapped."
)


def interval(statistics: Mapping[str, float] | None, form: str = ".4f") -> str:
    """Write a mean with half its interval; a dash where nothing was measured."""
    if statistics is None:
        return "-"
    if statistics["low"] is None:
        return number(statistics["mean"], form)
    return f"{statistics['mean']:{form}} ± {(statistics['high'] - statistics['low']) / 2:{form}}"


def left_out(summary: Mapping[str, Any]) -> str:
    """Write which networks, and which kinds as a whole, are left out and why; nothing where none is."""
    excluded = [f"{arch}, {why}" for arch, why in summary["diverged"].items()]
    excluded += [
        f"{arch} seed {name}, {why}"
        for arch, kind in summary["kinds"].items()
        for name, why in kind["excluded"].items()
    ]
    return f" Excluded: {'; '.join(excluded)}." if excluded else ""


def _barrier(split: str, metric: str, which: str) -> Cell:
    return lambda kind: interval(kind["barrier"][split].get(metric, {}).get(which))


def _aligned(kind: Kind) -> str:
    return interval(kind["aligned"] and kind["aligned"]["barrier"]["test"]["loss"]["midpoint"])


def _matching(name: str, form: str) -> Cell:
    def cell(kind: Kind) -> str:
        found = (kind["aligned"] or {}).get("matching")
        return "-" if found is None else f"{found[name]['mean']:{form}}"

    return cell


def _mean(split: str, metric: str) -> Cell:
    def cell(kind: Kind) -> str:
        values = kind["alone"][split].get(metric)
        return number(None if values is None else float(np.mean(as_numbers(values))), ".4f")

    return cell


def _average(metric: str) -> Cell:
    return lambda kind: number((kind["average"]["test"].get(metric) or [None])[-1], ".4f")


LOSS: dict[str, Cell] = {
    "test accuracy": _mean("test", "accuracy"),
    "pairs": lambda kind: str(kind["num_pairs"]),
    "test: midpoint": _barrier("test", "loss", "midpoint"),
    "test: maximum": _barrier("test", "loss", "maximum"),
    "test: recalibrated midpoint": _barrier("test", "recalibrated_loss", "midpoint"),
    "training: midpoint": _barrier("train", "loss", "midpoint"),
    "test: aligned midpoint": _aligned,
}
ACCURACY: dict[str, Cell] = {
    "fall at the midpoint": _barrier("test", "accuracy", "midpoint"),
    "largest fall": _barrier("test", "accuracy", "maximum"),
    "training: fall at the midpoint": _barrier("train", "accuracy", "midpoint"),
}
NETWORKS: dict[str, Cell] = {
    "networks": lambda kind: str(len(kind["networks"])),
    "excluded": lambda kind: str(len(kind["excluded"])),
    "trainable": lambda kind: f"{kind['num_trainable']:,}",
    "fixed": lambda kind: f"{kind['num_fixed']:,}",
    "training loss": _mean("train", "loss"),
    "test loss": _mean("test", "loss"),
    "distance": lambda kind: interval(kind["distance"], ".2f"),
    "average: test loss": _average("loss"),
    "average: test accuracy": _average("accuracy"),
    "matching: objective": _matching("best", ".4g"),
    "matching: spread": _matching("spread", ".2%"),
}


def connectivity_tables(run: ConnectivityRun) -> list[Table]:
    """Compare the kinds of a run, and where the paper has the same model, each with its published number."""
    rows = rows_measured(run)
    aligned = [kind["arch"] for kind in run.kinds.values() if kind["aligned"]]
    note = BARRIER_NOTE + (ALIGNED_NOTE if aligned else "") + (GATES_NOTE if GATED & set(aligned) else "")
    note += f" Rows: {rows['test']:,} to test, {rows['train']:,} of training."
    tables = [Table("Barriers of the loss", note, *_by_kind(run, LOSS))]
    if "accuracy" in run.metrics:
        tables.append(Table("Fall of accuracy", ACCURACY_NOTE, *_by_kind(run, ACCURACY)))
    tables += _robustness_tables(run)
    if variance := variance_table(run):
        tables.append(variance)
    is_matched = any((kind["aligned"] or {}).get("matching") for kind in run.kinds.values())
    note = NETWORK_NOTE + (MATCHING_NOTE if is_matched else "") + left_out(run.summary)
    tables.append(Table("Networks", note, *_by_kind(run, NETWORKS)))
    if any(kind.get("strength") for kind in run.kinds.values()):
        tables.append(_strength_table(run))
    if beside_published(run.record["config"]):
        tables.append(_published_table(run))
    return tables


def _robustness_tables(run: ConnectivityRun) -> list[Table]:
    corruptions = [split for split in rows_measured(run) if split not in ("train", "test")]
    if not corruptions:
        return []
    cells: dict[str, dict[str, Cell]] = {"barrier": {}, "accuracy": {}}
    for split in ["test", *corruptions]:
        cells["barrier"][split] = _barrier(split, "loss", "midpoint")
        cells["accuracy"][split] = _mean(split, "accuracy")
    tables = [Table("Midpoint barriers on corrupted test rows", CORRUPTION_NOTE, *_by_kind(run, cells["barrier"]))]
    if "accuracy" in run.metrics:
        note = f"Means over networks. {CORRUPTION_NOTE}"
        tables.append(Table("Accuracy on corrupted test rows", note, *_by_kind(run, cells["accuracy"])))
    return tables


def rows_measured(run: ConnectivityRun) -> dict[str, int]:
    """Return how many rows of each split were measured."""
    return run.summary["num_measured_rows"]


STRENGTH: dict[str, tuple[str, str]] = {
    "directions": ("num_dimensions", ".1f"),
    "coherence": ("coherence", ".3f"),
    "swap cost: median": ("swap_cost_median", ".3f"),
    "swap cost: lowest 5 %": ("swap_cost_low", ".3f"),
    "negative": ("share_negative", ".1%"),
    "distance": ("distance", ".3f"),
}


def _strength_table(run: ConnectivityRun) -> Table:
    measured = {name: kind["strength"] for name, kind in run.kinds.items() if kind.get("strength")}
    rows = [
        [
            name,
            layer.removesuffix("/kernel"),
            *(number(np.mean(as_numbers(values[key])), form) for key, form in STRENGTH.values()),
        ]
        for name, strength in measured.items()
        for layer, values in strength["layers"].items()
    ]
    note = STRENGTH_NOTE.format(share=next(iter(measured.values()))["share_of_variance"])
    return Table("Strength of asymmetry", note, ["kind", "layer", *STRENGTH], rows)


def _by_kind(run: ConnectivityRun, columns: Mapping[str, Cell]) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows, without the columns in which nothing was measured."""
    cells = {header: [cell(kind) for kind in run.kinds.values()] for header, cell in columns.items()}
    shown = {header: column for header, column in cells.items() if set(column) != {"-"}}
    return ["kind", *shown], [list(row) for row in zip(run.kinds, *shown.values(), strict=True)]


def _published_table(run: ConnectivityRun) -> Table:
    differences = "; ".join(what_differs(run.record["config"], run.summary["num_rows"]))
    note = (
        f"Midpoint barrier of the test loss: {SOURCE}, mean and standard deviation over at least 5 pairs, beside ours. "
        "Within: the paper's mean lies in the 95 % interval of our mean; its own error is not known and not counted. "
        f"What was different here: {differences}."
    )
    columns = ["published", "paper: mean", "paper: std", "kind", "ours: mean", "ours: std", "ours: 95 % interval"]
    columns.append("paper's mean")
    archs = {name: published.arch for name, published in beside_published(run.record["config"]).items()}
    rows = [
        _beside(run, published, name)
        for published in BARRIERS
        for name in [name for name, arch in archs.items() if arch == published.arch] or [published.arch]
    ]
    return Table("Beside the paper", note, columns, rows)


def _beside(run: ConnectivityRun, published: Published, name: str) -> list[str]:
    theirs = [published.name, f"{published.mean:.3f}", f"{published.std:.2f}", name]
    kind = run.kinds.get(name)
    measured = kind and (kind["aligned"] if published.is_aligned else kind)
    if not measured:
        return [*theirs, "-", "-", "-", "-"]
    ours = measured["barrier"]["test"]["loss"]["midpoint"]
    if ours["low"] is None:
        return [*theirs, number(ours["mean"], ".4f"), "-", "-", "-"]
    verdict = "within" if ours["low"] <= published.mean <= ours["high"] else "outside"
    return [*theirs, f"{ours['mean']:.4f}", f"{ours['std']:.4f}", f"{ours['low']:.4f} to {ours['high']:.4f}", verdict]
