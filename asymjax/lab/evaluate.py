"""Scores of the networks of a sweep, where they lie."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from asymjax.lab import devices, processes
from asymjax.lab.devices import Placement
from asymjax.models import vary_frozen
from asymjax.train.losses import TASK_LOSSES
from asymjax.types import Dataset, Frozen, Hyper, Model, Position, Split

ROWS_PER_BATCH = 1000
SPLITS = ("train", "validation", "test")


class Evaluate(NamedTuple):
    """Scores of the networks of a program.

    Attributes
    ----------
    names : what is scored: ``"test.loss"`` and, of classifiers, ``"test.accuracy"``, of every split with rows.
    score : (positions on their devices, frozen, settings of their own) -> name -> float64 [network] of this process's
        networks.
    """

    names: list[str]
    score: Callable[[Position, Frozen, Hyper], dict[str, np.ndarray]]


def make_evaluate(model: Model, dataset: Dataset, placement: Placement) -> Evaluate:
    """Build the scoring of the networks of a program, where they lie."""
    loss, is_classifier = TASK_LOSSES[dataset.task], dataset.task == "classification"
    splits = {name: getattr(dataset, name) for name in SPLITS if len(getattr(dataset, name).targets)}

    def one(position: Position, hyper: Hyper, frozen: Frozen, rows: Split) -> dict[str, jax.Array]:
        own = vary_frozen(model, frozen, hyper)
        metrics = {"loss": loss(model.apply, position, own, rows)}
        if is_classifier:
            predicted = jnp.argmax(model.apply(position, own, rows.inputs), axis=-1)
            accuracy = jnp.mean(predicted == rows.targets)
            metrics["accuracy"] = jnp.where(jnp.isnan(metrics["loss"]), jnp.nan, accuracy)
        return metrics

    compiled = jax.jit(devices.map_leading(one, placement, [True, True, False, False]))
    put = partial(devices.put, placement=placement)

    def score(positions: Position, frozen: Frozen, hyper: Hyper) -> dict[str, np.ndarray]:
        totals: dict[str, np.ndarray] = {}
        hyper, frozen = put(hyper, is_mapped=True), put(frozen, is_mapped=False)
        for split, rows in splits.items():
            for start in range(0, len(rows.targets), ROWS_PER_BATCH):
                batch = jax.tree.map(jnp.asarray, rows.take(slice(start, start + ROWS_PER_BATCH)))
                weight = batch.targets.shape[0] / len(rows.targets)
                for metric, values in compiled(positions, hyper, frozen, put(batch, is_mapped=False)).items():
                    name = f"{split}.{metric}"
                    totals[name] = totals.get(name, 0.0) + weight * processes.local(values).astype(np.float64)
        return totals

    metrics = ("loss", "accuracy") if is_classifier else ("loss",)
    return Evaluate([f"{split}.{metric}" for split in splits for metric in metrics], score)
