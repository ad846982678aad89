"""A sweep over seeds: the same training, one network a seed, in compiled and resumable chunks."""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import parallel
from asymjax.chunks import Chunk, chunk_size, compile_ahead, run_phase
from asymjax.errors import DivergedError
from asymjax.parallel import Placement, map_leading
from asymjax.rundir import RunDir
from asymjax.train.trainer import Trainer, TrainState
from asymjax.types import Array, Frozen, Key, Split

AXIS = "seed"


def failures(state: TrainState) -> dict[int, int]:
    """Return the seeds whose loss left the finite numbers, each with its first such step."""
    return {seed: int(step) for seed, step in enumerate(np.asarray(state.failed_step)) if step >= 0}


def run_sweep(
    run: RunDir,
    trainer: Trainer,
    init_keys: Key,
    keys: Key,
    frozen: Frozen,
    data: Split,
    placement: Placement,
    num_epochs: int,
    epochs_per_chunk: int,
    may_fail: bool = False,
    phase: str = "train",
    has_own_masks: bool = False,
) -> TrainState:
    """Train one network a seed, resuming what the run directory holds.

    Parameters
    ----------
    run : the run directory.
    trainer : training of one network.
    init_keys, keys : [seed] keys of the initial positions and of the order of the rows.
    frozen : constants, the same for all seeds; with ``has_own_masks`` leaves [seed, ...].
    data : training rows.
    placement : where the networks run.
    num_epochs : passes over the rows.
    epochs_per_chunk : upper bound on the passes in one compiled chunk.
    may_fail : whether some seeds may diverge; the others then go on, and their status tells.
    phase : name of the phase in the run directory.

    Returns
    -------
    TrainState with a leading [seed] axis.

    Raises
    ------
    DivergedError
        If a loss leaves the finite numbers (any seed's, or with ``may_fail`` every seed's); names seeds and steps.
    """
    epochs = chunk_size(num_epochs, epochs_per_chunk)
    init = jax.jit(map_leading(trainer.init, placement, [True, has_own_masks], AXIS))
    advance = map_leading(partial(_advance, trainer, epochs), placement, [True, True, has_own_masks, False], AXIS)
    put_shared = partial(parallel.put, placement=placement, is_mapped=False, axis=AXIS)
    put_seeds = partial(parallel.put, placement=placement, is_mapped=True, axis=AXIS)
    init_keys, keys = put_seeds(init_keys), put_seeds(keys)
    frozen = put_seeds(frozen) if has_own_masks else put_shared(frozen)
    data = put_shared(jax.tree.map(jnp.asarray, data))
    shapes = parallel.abstract(jax.eval_shape(init, init_keys, frozen), placement, is_mapped=True, axis=AXIS)
    compiled = compile_ahead(run, advance, keys, shapes, frozen, data, donate=(1,), phase=phase)

    def chunk(index: int, state: TrainState) -> Chunk:
        state, losses = compiled(keys, put_seeds(state), frozen, data)
        losses = np.asarray(losses)
        failed = failures(state)
        if failed and (not may_fail or len(failed) == placement.size):
            raise DivergedError(_failure_message(failed))
        metrics = {"epoch": (index + 1) * epochs, "loss": losses[:, -1], "failed": sorted(failed)}
        return Chunk(state, metrics=metrics, note=f"loss {np.nanmean(losses[:, -1]):.4f}")

    state = run_phase(run, phase, num_epochs // epochs, partial(init, init_keys, frozen), chunk)
    if failed := failures(state):
        print(f"warning: {_failure_message(failed)}", file=sys.stderr)
    return state


def _advance(
    trainer: Trainer, epochs: int, key: Key, state: TrainState, frozen: Frozen, data: Split
) -> tuple[TrainState, Array]:
    return trainer.advance(key, state, frozen, data, epochs)


def _failure_message(failed: dict[int, int]) -> str:
    places = ", ".join(f"seed {seed} at step {step}" for seed, step in failed.items())
    return f"the loss is not finite: {places}; lower the learning rate, warm it up or clip the gradient"
