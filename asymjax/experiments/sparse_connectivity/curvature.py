"""Curvature on the paths between twins, and of the networks that tickets begin from."""

from typing import Any

import jax
import numpy as np

from asymjax import rng
from asymjax.diagnostics.curvature import Curvature, curvature_along, largest_eigenvalue, mean_loss, stability_ratio
from asymjax.experiments.sparse_connectivity.config import Config
from asymjax.lab.measure import measure_members
from asymjax.lab.rundir import RunDir
from asymjax.sparse.masks import Mask
from asymjax.symmetry.connectivity import Rows, in_batches
from asymjax.train.optimizers import MOMENTUM
from asymjax.types import Array, Dataset, Frozen, Model, Position, PyTree

POINTS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
MIN_PER_CHUNK = 4


def path_curvatures(
    run: RunDir,
    phase: str,
    model: Model,
    frozen: Frozen,
    dataset: Dataset,
    position: Position,
    kept: Mask,
    pairs: np.ndarray,
    config: Config,
) -> Curvature:
    """Measure the curvature of the training loss at ``POINTS`` of paths between twins, leaves [pair, point].

    All networks meet the same rows and the same probes, each among the entries that its mask keeps.

    Parameters
    ----------
    run, phase : where chunks are committed.
    model, frozen, dataset : the network, and the data.
    position, kept : networks and their masks, leaves [network, ...].
    pairs : int [pair, 2] of one ticket each.
    config : rows and probes.
    """
    key, count = rng.role_key(config.seeds.seed, "curvature"), config.sparse.num_probes

    def measure(start: Position, end: Position, kept: Mask, frozen: Frozen, rows: Rows) -> PyTree:
        loss = mean_loss(model, dataset.task, frozen, rows)
        return curvature_along(loss, start, end, POINTS, key, kept, count, count)

    def members(index: np.ndarray) -> list[PyTree]:
        starts, ends = ([leaf[pairs[index, i]] for leaf in jax.tree.leaves(position)] for i in (0, 1))
        masks = [leaf[pairs[index, 0]] for leaf in jax.tree.leaves(kept)]
        return [
            jax.tree.unflatten(jax.tree.structure(tree), leaves)
            for tree, leaves in ((position, starts), (position, ends), (kept, masks))
        ]

    shared = (frozen, in_batches(dataset.train, config.sparse.curvature_rows))
    return measure_members(run, phase, measure, members, shared, len(pairs), MIN_PER_CHUNK, "paths", config.run)


def start_stability(
    run: RunDir, phase: str, model: Model, frozen: Frozen, dataset: Dataset, position: Position, config: Config
) -> dict[str, Any]:
    """Measure the largest eigenvalue of the loss where tickets begin, and what the learning rate is beside it.

    Returns
    -------
    ``largest`` [seed], and ``ratio`` [seed] of :func:`~asymjax.diagnostics.curvature.stability_ratio`, of SGD alone.
    """
    key, count = rng.role_key(config.seeds.seed, "curvature"), config.sparse.num_probes

    def measure(position: Position, frozen: Frozen, rows: Rows) -> Array:
        return largest_eigenvalue(mean_loss(model, dataset.task, frozen, rows), position, key, num_steps=count).value

    def members(index: np.ndarray) -> list[PyTree]:
        return [jax.tree.map(lambda leaf: leaf[index], position)]

    shared = (frozen, in_batches(dataset.train, config.sparse.curvature_rows))
    num_seeds = len(jax.tree.leaves(position)[0])
    largest = measure_members(run, phase, measure, members, shared, num_seeds, MIN_PER_CHUNK, "networks", config.run)
    optimizer = config.optimizer
    is_sgd = optimizer.optimizer == "sgd"
    ratio = np.asarray(stability_ratio(optimizer.learning_rate, MOMENTUM, largest)) if is_sgd else None
    return {"largest": largest, "ratio": ratio}
