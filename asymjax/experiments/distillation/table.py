"""Tables of distillations: how good networks are that are trained on them, what they cost, and published numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from asymjax.experiments.distillation.figures import METHODS, DistillRun
from asymjax.experiments.linear_connectivity.table import interval
from asymjax.report.table import Table, number

NOTE = (
    "Test accuracy, means over networks ± half the 95 % interval (t). Start: where the images began. Random: as many "
    "real rows, each network's own draw. All are trained as many steps, in whole passes, "
    "without augmentation."
)
COST_NOTE = (
    "Stored images, the rows that they are decoded to, real and distilled rows that passed a random network, as often "
    "as each did, and gradients of networks, those that are matched and those of their training."
)
PUBLISHED: Mapping[str, Mapping[int, str]] = {
    "random": {1: "64.9", 10: "95.1", 50: "97.9"},
    "gradient": {1: "91.7", 10: "97.4", 50: "98.8"},
    "distribution": {1: "89.7", 10: "97.5", 50: "98.6"},
}
PUBLISHED_NOTE = (
    "MNIST, ConvNet of three blocks of 128 channels with instance norm, in percent. Gradient: the authors' readme "
    "(Zhao et al. 2021, VICO-UoE/DatasetCondensation). Distribution (Zhao & Bilen 2023) and random: from memory of "
    "tables, so check before you repeat them. Here networks with fewer channels and a mean over pixels, Adam and fewer "
    "steps for the images, and training without augmentation: numbers of two recipes."
)


def distillation_tables(runs: Sequence[DistillRun]) -> list[Table]:
    """Compare runs: accuracy beside real rows, cost, and published numbers where the data are theirs."""
    columns = ["kind", "images a class", "distilled", "start", "random", "all real rows"]
    note = f"{NOTE} {'; '.join(dict.fromkeys(map(_trained, runs)))}."
    tables = [
        Table(
            f"Networks trained on distilled {runs[0].summary['dataset']}", note, columns, list(map(_accuracy_row, runs))
        ),
        Table(
            "Cost",
            COST_NOTE,
            ["kind", "images a class", "stored", "decoded", "real rows passed", "distilled rows passed", "gradients"],
            list(map(_cost_row, runs)),
        ),
    ]
    rows = [row for run in runs for row in _beside(run)]
    columns = ["kind", "images a class", "ours (%)", "published (%)", "ours, random (%)", "published, random (%)"]
    return [*tables, Table("Beside published numbers", PUBLISHED_NOTE, columns, rows)] if rows else tables


def _trained(run: DistillRun) -> str:
    """Return which networks were trained, and for how long."""
    evaluation = run.record["config"]["evaluation"]
    steps = f"{evaluation['train_steps']:,} steps of {evaluation['batch_size']} rows at most"
    return f"{evaluation['num_seeds']} {run.network}, {steps}"


def _accuracy_row(run: DistillRun) -> list[str]:
    found = run.summary["accuracy"]
    cells = [interval(found.get(name), ".3f") for name in ("distilled", "start", "random", "whole")]
    return [run.name, str(run.own["images_per_class"]), *cells]


def _cost_row(run: DistillRun) -> list[str]:
    counts = (
        f"{run.summary['counts'][name]:,}"
        for name in ("stored", "decoded", "visited", "visited_distilled", "gradient_steps")
    )
    return [run.name, str(run.own["images_per_class"]), *counts]


def _beside(run: DistillRun) -> list[list[str]]:
    size, found = run.own["images_per_class"], run.summary["accuracy"]
    if run.summary["dataset"] != "mnist" or size not in PUBLISHED["random"]:
        return []
    ours, random = (number(100 * found[name]["mean"], ".1f") for name in ("distilled", "random"))
    theirs = PUBLISHED.get(run.own["method"], {}).get(size, "-")
    return [[run.name, str(size), ours, theirs, random, PUBLISHED["random"][size]]]


def words(run: DistillRun) -> list[str]:
    """Return in a sentence what a run found."""
    found: Any = run.summary["accuracy"]
    counts = run.summary["counts"]
    all_rows = f"; on all real rows {found['whole']['mean']:.3f}" if "whole" in found else ""
    verdict = _verdict(found["distilled"], found["random"])
    return [
        f"{METHODS[run.own['method']]}: networks trained on {counts['decoded']:,} distilled rows have a test accuracy "
        f"of {found['distilled']['mean']:.3f}, {verdict} random real ones ({found['random']['mean']:.3f})"
        f"{all_rows}.",
        f"As a dataset: --dataset distilled/{run.path}",
    ]


def _verdict(distilled: Mapping[str, Any], random: Mapping[str, Any]) -> str:
    """Return how two means compare whose 95 % intervals are known; of single networks nothing is."""
    if None in (distilled["low"], random["low"]):
        return "of one network, beside that on"
    if distilled["low"] > random["high"]:
        return "better than on"
    return "worse than on" if distilled["high"] < random["low"] else "not told apart, by 95 % intervals, from that on"
