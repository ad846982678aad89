"""Distillation as a phase of a run, in chunks that resume."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from asymjax import trees
from asymjax.divisors import largest_divisor
from asymjax.errors import DivergedError
from asymjax.lab import devices
from asymjax.lab.loop import Chunk, compile_ahead, run_phase
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import RunDir
from asymjax.sparse.distillation import (
    ByClass,
    DistillationConfig,
    Distilled,
    Distiller,
    DistillState,
    by_class,
    check_start,
    collect,
    make_distiller,
    not_finite,
)
from asymjax.types import Array, Dataset, Frozen, Key, Model, Split

NUM_CHUNKS, NUM_SNAPSHOTS = 20, 4


class Progress(NamedTuple):
    """What a chunk of distillation leaves, host arrays.

    Attributes
    ----------
    state : images, networks and optimizer.
    losses : [step] mean losses over networks; 0 of steps to come.
    snapshots : stored images [snapshot, classes, images, ...], from the start on; 0 of those to come.
    """

    state: DistillState
    losses: Any
    snapshots: Any


class Snapshots(NamedTuple):
    """Distilled data, and what they were on the way.

    Attributes
    ----------
    distilled : the end.
    steps : int [snapshot] steps done.
    rows : decoded rows at each.
    """

    distilled: Distilled
    steps: np.ndarray
    rows: list[Split]


def distil_data(
    run: RunDir,
    phase: str,
    key: Key,
    model: Model,
    frozen: Frozen,
    dataset: Dataset,
    config: DistillationConfig,
    run_config: RunConfig,
) -> Split:
    """Distil the training rows of a dataset as a phase of a run; resumes one that was stopped.

    Parameters
    ----------
    run, phase : where chunks are committed.
    key : of first images, random networks and batches.
    model, frozen : the random networks, each with an initialisation of its own.
    dataset : classes, and no graph.
    config : how data are distilled.
    run_config : where work runs: networks of a step at once, or one after the other.

    Returns
    -------
    The decoded rows, host arrays, in the dataset's units: float32 [rows, *input_shape] and int32 [rows].

    Raises
    ------
    InputError
        If the dataset or a setting does not suit.
    DivergedError
        If the loss leaves the finite numbers.
    StopRequestedError
        If SIGTERM came.
    """
    distilled = distil_snapshots(run, phase, key, model, frozen, dataset, config, run_config).distilled
    return Split(distilled.inputs, distilled.targets)


def distil_snapshots(
    run: RunDir,
    phase: str,
    key: Key,
    model: Model,
    frozen: Frozen,
    dataset: Dataset,
    config: DistillationConfig,
    run_config: RunConfig,
) -> Snapshots:
    """Distil as :func:`distil_data` does, and return what the images were on the way too."""
    rows = by_class(dataset.train, dataset.num_outputs)
    check_start(config, rows)
    at_once = devices.width_of(run_config.placement, config.num_networks)
    distiller = make_distiller(model, config, dataset.input_shape, dataset.num_outputs, at_once)
    per_chunk = largest_divisor(config.num_steps, -(-config.num_steps // NUM_CHUNKS))
    num_chunks = config.num_steps // per_chunk
    points = np.unique(np.linspace(0, num_chunks, NUM_SNAPSHOTS + 1).round().astype(int))
    first = jax.eval_shape(distiller.init, key, frozen, rows)
    chunk = partial(_advance, distiller, per_chunk)
    compiled = compile_ahead(run, chunk, key, first, frozen, rows, phase=phase)

    def init() -> Progress:
        state = trees.to_host(jax.jit(distiller.init)(key, frozen, rows))
        snapshots = np.zeros((len(points), *state.images.shape), state.images.dtype)
        snapshots[0] = state.images
        return Progress(state, np.zeros(config.num_steps, np.float32), snapshots)

    def advance(index: int, progress: Progress) -> Chunk:
        state, found = trees.to_host(compiled(key, progress.state, frozen, rows))
        if not np.isfinite(found).all():
            raise DivergedError(not_finite(found, index * per_chunk))
        losses, snapshots = np.array(progress.losses), np.array(progress.snapshots)
        losses[index * per_chunk : (index + 1) * per_chunk] = found
        snapshots[points == index + 1] = state.images
        loss = float(found.mean())
        metrics = {"step": (index + 1) * per_chunk, "loss": loss}
        return Chunk(Progress(state, losses, snapshots), metrics=metrics, note=f"loss {loss:.4f}")

    images = first.images
    like = Progress(
        first,
        jax.ShapeDtypeStruct((config.num_steps,), np.dtype(np.float32)),
        jax.ShapeDtypeStruct((len(points), *images.shape), images.dtype),
    )
    done = run_phase(run, phase, num_chunks, init, advance, like, (config.num_steps, "steps"))
    decode = jax.jit(lambda images: distiller.decode(done.state._replace(images=images)).together())
    decoded = [Split(*trees.to_host(decode(images))) for images in done.snapshots]
    return Snapshots(collect(distiller, done.state, done.losses, config), points * per_chunk, decoded)


def _advance(
    distiller: Distiller, num_steps: int, key: Key, state: DistillState, frozen: Frozen, rows: ByClass
) -> tuple[DistillState, Array]:
    return distiller.advance(key, state, frozen, rows, num_steps)
