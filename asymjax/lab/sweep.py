"""A sweep over seeds: the same training, one network a seed, in rounds of compiled and resumable chunks."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.divisors import largest_divisor
from asymjax.errors import DivergedError
from asymjax.lab import devices, memory, processes
from asymjax.lab.devices import Inside, Placement, map_leading
from asymjax.lab.loop import Chunk, compile_ahead, run_phase
from asymjax.lab.recorder import Recorder
from asymjax.train.trainer import Trainer, TrainState
from asymjax.types import Array, Frozen, Graph, Key, PyTree, Split

AXIS = "seed"
REMEDY = "lower the learning rate, warm it up or clip the gradient"
MAX_ROUND, MAX_ROUND_OF_A_DEVICE = 1024, 64
MAX_SHARE = 0.5  # Of the memory of a device, for the networks of a round.
# Between checkpoints; an accelerator takes them in seconds, too.
STEPS_PER_CHUNK, ACCELERATED_STEPS_PER_CHUNK = 500, 10_000
NODES_PER_CHUNK = 100_000  # A step on a graph passes all its nodes.

# (members int [size], [size] whether each is there for the first time, state [size, ...]) -> None
Finish = Callable[[np.ndarray, np.ndarray, TrainState], None]


def failures(failed_step: Any) -> dict[int, int]:
    """Return the networks whose loss left the finite numbers, each with its first such step; the others have -1."""
    return {network: int(step) for network, step in enumerate(np.asarray(failed_step)) if step >= 0}


def why_failed(failed_step: Any) -> dict[int, str]:
    """Return why networks failed in training, by their places; ``failed_step`` int [network]."""
    return {network: f"loss not finite at step {step}" for network, step in failures(failed_step).items()}


def max_round() -> int:
    """Return how many networks a program trains at most, unless more are asked for."""
    return max(MAX_ROUND, MAX_ROUND_OF_A_DEVICE * jax.device_count())


def fitting_round(trainer: Trainer, key: Key, frozen: Frozen, data: Split, inside: Inside) -> int:
    """Return how many networks a program may train: a power of two up to :func:`max_round` that memory has room for.

    A power of two, so that any usual number of devices and processes divides it.

    Parameters
    ----------
    key : key of one network, or whatever stands in its place.
    inside : placement on each device.
    """
    state, one = _trace_epoch(trainer, key, frozen, data)
    shared, limit = trees.num_bytes((frozen, data)), memory.limit_bytes(jax.local_device_count())
    per_network: int | None = 2 * trees.num_bytes(state)  # As argument and as result.
    if devices.width_of(inside, max_round()) > 1:  # Temporaries of each beside it.
        needed = memory.needed_bytes(one.lower().compile())
        per_network = None if needed is None else needed - shared
    if per_network is None or limit is None:
        return _power_of_two(max_round())
    fitting = max(1, int((MAX_SHARE * limit - shared) / per_network) * jax.device_count())
    return _power_of_two(min(max_round(), fitting))


def _power_of_two(limit: int) -> int:
    return 1 << (limit.bit_length() - 1)


def flops_per_step(trainer: Trainer, key: Key, frozen: Frozen, data: Split) -> float | None:
    """Return the FLOPs of one optimizer step of one network, as ``memory.count_flops``; ``key`` as there is of one."""
    return memory.count_flops(_trace_epoch(trainer, key, frozen, data)[1])


def _trace_epoch(trainer: Trainer, key: Key, frozen: Frozen, data: Split) -> tuple[TrainState, jax.stages.Traced]:
    """Return the shape structs of one network in training, and the trace of one pass over the rows."""
    state = jax.eval_shape(trainer.init, key, frozen)
    return state, jax.jit(partial(_advance, trainer, 1)).trace(key, state, frozen, jax.tree.map(jnp.asarray, data))


def epochs_per_chunk(data: Split, steps_per_epoch: int) -> int:
    """Return how many passes over the rows a compiled chunk makes at most."""
    scale = 1 if jax.default_backend() == "cpu" else ACCELERATED_STEPS_PER_CHUNK // STEPS_PER_CHUNK
    if isinstance(data.inputs, Graph):
        return max(1, scale * NODES_PER_CHUNK // len(data.inputs.features))
    return max(1, scale * STEPS_PER_CHUNK // steps_per_epoch)


def run_sweep(
    run: Recorder,
    trainer: Trainer,
    init_keys: PyTree,
    keys: PyTree,
    frozen: Frozen,
    data: Split,
    placement: Placement,
    num_epochs: int,
    epochs_per_chunk: int,
    may_fail: bool = False,
    phase: str = "train",
    finish: Finish | None = None,
) -> TrainState:
    """Train one network a seed, resuming what the run directory holds.

    Parameters
    ----------
    run : the run directory.
    trainer : training of one network.
    init_keys, keys : [seed] keys of the initial positions and of the order of the rows, or trees of arrays that the
        trainer takes in their place, leaves [seed, ...].
    frozen : constants, the same for all seeds.
    data : training rows.
    placement : where the networks run, and in how many rounds.
    num_epochs : passes over the rows.
    epochs_per_chunk : upper bound on the passes in one compiled chunk.
    may_fail : whether some seeds may diverge; the others then go on, and their status tells.
    phase : name of the phase in the run directory.
    finish : takes the networks of a round when they are trained, before that is committed: it is called again for a
        round that a kill interrupts. Each process calls it, so it may write rows of its own.

    Returns
    -------
    TrainState of the last round on its devices, [size, ...]; NumPy leaves [total, ...] where the placement has more
    members than there are networks; None where ``finish`` took it.

    Raises
    ------
    DivergedError
        If a loss leaves the finite numbers (any seed's, or with ``may_fail`` every seed's, where all train in one
        round); names networks and steps.
    """
    epochs = largest_divisor(num_epochs, epochs_per_chunk)
    chunks_per_round = num_epochs // epochs
    init = jax.jit(map_leading(trainer.init, placement, [True, False], AXIS))
    advance = map_leading(partial(_advance, trainer, epochs), placement, [True, True, False, False], AXIS)
    put_shared = partial(devices.put, placement=placement, is_mapped=False, axis=AXIS)
    frozen, data = put_shared(frozen), put_shared(jax.tree.map(jnp.asarray, data))

    def of_round(index: int, tree: PyTree) -> PyTree:
        members = placement.members(index)
        return devices.put(jax.tree.map(lambda leaf: leaf[members], tree), placement, is_mapped=True, axis=AXIS)

    first, first_init = of_round(0, keys), of_round(0, init_keys)
    shapes = devices.abstract(jax.eval_shape(init, first_init, frozen), placement, is_mapped=True, axis=AXIS)
    compiled = compile_ahead(run, advance, first, shapes, frozen, data, donate=(1,), phase=phase)
    is_filled_up = placement.size > placement.total
    kept = partial(_each_once, count=placement.total) if is_filled_up else lambda state: state

    def chunk(index: int, state: TrainState) -> Chunk:
        number, within = divmod(index, chunks_per_round)
        if within == 0 and number > 0:
            state = init(of_round(number, init_keys), frozen)
        own_state = of_round(number, state) if is_filled_up else state
        state, losses = compiled(of_round(number, keys), own_state, frozen, data)
        members, is_new = placement.members(number), placement.is_new(number)
        is_last = within == chunks_per_round - 1
        failed = _find_failed(processes.gather(state.failed_step), members, is_new)
        if failed and (not may_fail or len(failed) == placement.total):
            raise DivergedError(_failure_message(failed))
        if is_last and failed and processes.is_leader():
            print(f"warning: {_failure_message(failed)}", file=sys.stderr)
        if is_last and finish is not None:
            finish(members, is_new, state)
        own = _own_metrics(losses, members, is_new, failed)
        finite = own["loss"][np.isfinite(own["loss"])]
        # What finish has kept needs no checkpoint.
        return Chunk(
            None if is_last and finish else kept(state),
            metrics={"round": number, "epoch": (within + 1) * epochs} | own,
            note=f"loss {finite.mean():.4f}" if finite.size else "",
        )

    return run_phase(
        run,
        phase,
        placement.num_rounds * chunks_per_round,
        lambda: kept(init(first_init, frozen)),
        chunk,
        _first_rows(shapes, placement.total) if is_filled_up else shapes,
        (placement.total, "networks"),
    )


def _find_failed(failed_step: np.ndarray, members: np.ndarray, is_new: np.ndarray) -> dict[int, int]:
    """Return the first failing step of each network that failed, those aside that fill a round up."""
    return {int(members[row]): step for row, step in failures(failed_step).items() if is_new[row]}


def _each_once(state: TrainState, count: int) -> TrainState:
    """Return NumPy leaves [count, ...], a checkpoint that suits processes that fill a program up otherwise."""
    return jax.tree.map(lambda leaf: leaf[:count], processes.gather(state))


def _first_rows(shapes: PyTree, count: int) -> PyTree:
    """Return the shape structs of the first rows of arrays, on no devices."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), shapes)


def _own_metrics(losses: Array, members: np.ndarray, is_new: np.ndarray, failed: dict[int, int]) -> dict[str, Any]:
    """Return the last loss of each of this process's networks, of [network, epoch], and which of them failed."""
    start, stop = processes.local_rows(losses)
    mine = members[start:stop][is_new[start:stop]].tolist()
    return {"loss": processes.local(losses)[is_new[start:stop], -1], "failed": [one for one in mine if one in failed]}


def _advance(
    trainer: Trainer, epochs: int, key: Key, state: TrainState, frozen: Frozen, data: Split
) -> tuple[TrainState, Array]:
    return trainer.advance(key, state, frozen, data, epochs)


def _failure_message(failed: dict[int, int]) -> str:
    places = [f"network {network} at step {step}" for network, step in failed.items()]
    more = f" and {len(places) - 10} more" if len(places) > 10 else ""
    where = ", ".join(places[:10]) + more
    return f"the loss is not finite: {where}; {REMEDY}"
