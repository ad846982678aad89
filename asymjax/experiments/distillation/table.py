"""Tables of distillations: how good networks are that are trained on them, what they cost, and published numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from asymjax.experiments.distillation.figures import METHODS, DistillRun
from asymjax.experiments.linear_connectivity.table import interval
from asymjax.report.table import Table, number

NOTE = (
    "Test accuracy, means over networks ± half the 95 % interval (t). Start: where the images began. Random: as many "
    "real rows, each network's own draw. All are trained as many steps, without augmentation."
)
COST_NOTE = (
    "Stored images, the rows that they are decoded to, the real rows that were looked at, as often as each was, and "
    "gradient steps of images and networks together."
)
PUBLISHED: Mapping[str, Mapping[int, str]] = {
    "random": {1: "64.9", 10: "95.1", 50: "97.9"},
    "gradient": {1: "91.7", 10: "97.4", 50: "98.8"},
    "distribution": {1: "89.7", 10: "97.5", 50: "98.6"},
}
PUBLISHED_NOTE = (
    "MNIST, ConvNet of three blocks of 128 channels with instance norm, in percent, as tables of Zhao et al. (2021) "
    "and Zhao & Bilen (2023) have them; from memory of those tables, so check before you repeat them. Here other networks "
    "with fewer channels, Adam and fewer steps for the images, and no augmentation: the numbers are not of one recipe."
)


def distillation_tables(runs: Sequence[DistillRun]) -> list[Table]:
    """Compare runs: accuracy beside real rows, cost, and published numbers where the data are theirs."""
    columns = ["kind", "data", "network", "images a class", "distilled", "start", "random", "all real rows", "networks"]
    tables = [
        Table("Networks trained on distilled rows", NOTE, columns, list(map(_accuracy_row, runs))),
        Table(
            "Cost",
            COST_NOTE,
            ["kind", "images a class", "stored", "decoded", "visited", "gradient steps"],
            list(map(_cost_row, runs)),
        ),
    ]
    rows = [row for run in runs for row in _beside(run)]
    columns = ["kind", "images a class", "ours (%)", "published (%)", "ours, random (%)", "published, random (%)"]
    return [*tables, Table("Beside published numbers", PUBLISHED_NOTE, columns, rows)] if rows else tables


def _accuracy_row(run: DistillRun) -> list[str]:
    found, own = run.summary["accuracy"], run.own
    model = run.record["config"]["model"]
    network = f"{run.summary['arch']} {run.summary['backbone']} {'-'.join(map(str, model.get('widths', [])))}".strip()
    cells = [interval(found.get(name)) for name in ("distilled", "start", "random", "whole")]
    count = str(len(found["distilled"]["networks"]))
    return [run.name, run.summary["dataset"], network, str(own["images_per_class"]), *cells, count]


def _cost_row(run: DistillRun) -> list[str]:
    counts = (f"{run.summary['counts'][name]:,}" for name in ("stored", "decoded", "visited", "gradient_steps"))
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
    gap = found["distilled"]["mean"] - found["random"]["mean"]
    verdict = "better than" if gap > 0 else "no better than"
    return [
        f"{METHODS[run.own['method']]}: networks trained on {counts['decoded']:,} distilled rows have a test accuracy of "
        f"{found['distilled']['mean']:.3f}, {verdict} on random real ones ({found['random']['mean']:.3f}){all_rows}.",
        f"As a dataset: --dataset distilled/{run.path}",
    ]
