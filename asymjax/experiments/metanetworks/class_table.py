"""Tables of metanetworks that tell classes: which chain a draw is of."""

from collections.abc import Mapping
from typing import Any

from asymjax.experiments.metanetworks.figures import MetanetRun
from asymjax.experiments.metanetworks.table import score_table
from asymjax.report.table import Table

OF_ZOOS = (
    "Blocks: networks that hang together, as consecutive draws, and are on one side of the split; of these, those for "
    "the test. Chance: the share of the largest class among the test networks."
)
OF_ACCURACY = (
    "Share of test networks whose class is told, mean over metanetworks of several seeds ± half its 95 % interval over "
    "blocks of test networks (t), taken as independent."
)


def class_tables(run: MetanetRun) -> list[Table]:
    """Compare how well metanetworks tell the classes of zoos."""

    def row(name: str, zoo: Mapping[str, Any]) -> list[str]:
        target, parts = zoo["target"], zoo["num_parts"]
        counts = (zoo["num_networks"], zoo["num_trainable"])
        split = " / ".join(f"{parts[side]:,}" for side in ("train", "validation", "test"))
        cells = [str(target["num_blocks"]), str(target["num_classes"]), f"{target['chance']:.3f}"]
        return [name, *(f"{count:,}" for count in counts), split, *cells]

    columns = ["kind", "networks", "trainable", "training / validation / test", "blocks", "classes", "chance"]
    zoos = Table("Zoos", OF_ZOOS, columns, [row(name, zoo) for name, zoo in run.zoos.items()])
    return [zoos, score_table(run, "accuracy", "Accuracy", OF_ACCURACY)]


def class_words(run: MetanetRun) -> list[str]:
    """Say who tells the classes of each zoo beyond chance: the whole interval of the accuracy is above it."""
    sentences = []
    for zoo, entry in run.zoos.items():
        own = [cell for cell in run.cells if cell["zoo"] == zoo]
        largest, chance = max(cell["num_train"] for cell in own), entry["target"]["chance"]
        accuracy = {cell["metanet"]: cell["scores"]["accuracy"] for cell in own if cell["num_train"] == largest}
        told = [name for name, found in accuracy.items() if (found["low"] or 0) > chance]
        others = [name for name in accuracy if name not in told]
        sentences.append(f"{zoo}: told beyond chance, {chance:.3f}, by {_listed(told)}; not by {_listed(others)}.")
    return sentences


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
