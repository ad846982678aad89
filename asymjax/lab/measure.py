"""Measurements of many networks, or of many paths: compiled once, spread over devices, in resumable chunks."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np

from asymjax.lab import devices, processes
from asymjax.lab.devices import map_leading
from asymjax.lab.loop import Chunk, compile_ahead, run_phase
from asymjax.lab.recorder import Recorder
from asymjax.lab.run_config import RunConfig
from asymjax.types import PyTree


def measure_members(
    run: Recorder,
    phase: str,
    measure: Callable[..., PyTree],
    members: Callable[[np.ndarray], Sequence[PyTree]],
    shared: Sequence[PyTree],
    count: int,
    min_per_chunk: int,
    what: str,
    run_config: RunConfig,
) -> PyTree:
    """Measure members one by one, chunk after chunk.

    Parameters
    ----------
    run, phase : where chunks are committed.
    measure : (arguments of one member, shared arguments) -> tree of arrays.
    members : int [member] -> the arguments of those members, leaves [member, ...].
    shared : arguments of all members.
    count : members.
    min_per_chunk : members of a chunk at least; it has a multiple of the devices that there are at first.
    what : what the members are, in the plural.
    run_config : where work runs.

    Returns
    -------
    What ``measure`` returns, NumPy leaves [member, ...].
    """
    num_devices = run_config.num_devices or jax.device_count()
    size = run.settle(f"{phase}_chunk", num_devices * -(-min_per_chunk // num_devices))
    placement = devices.place(size, run_config.num_devices, run_config.placement)
    num_chunks = -(-count // size)
    order = np.arange(num_chunks * size) % count  # The last chunk is filled up with members measured before.
    put_members = partial(devices.put, placement=placement, is_mapped=True)
    shared = devices.put(tuple(shared), placement, is_mapped=False)
    example = tuple(members(order[:1]))
    shapes = jax.eval_shape(measure, *jax.tree.map(lambda leaf: leaf[0], example), *shared)
    chunk = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype), example)
    is_mapped = [True] * len(example) + [False] * len(shared)
    compiled = compile_ahead(
        run,
        map_leading(measure, placement, is_mapped),
        *devices.abstract(chunk, placement, is_mapped=True),
        *shared,
    )

    def init() -> PyTree:
        return jax.tree.map(lambda leaf: np.zeros((count, *leaf.shape), leaf.dtype), shapes)

    def advance(index: int, state: PyTree) -> Chunk:
        chosen = order[index * size : (index + 1) * size]
        values = processes.gather(compiled(*put_members(tuple(members(chosen))), *shared))
        state = jax.tree.map(lambda old, new: _with_rows(old, chosen, new), state, values)
        num_done = min((index + 1) * size, count)
        return Chunk(state, metrics={f"num_{what}": num_done})

    return run_phase(run, phase, num_chunks, init, advance, init(), (count, what))


def _with_rows(array: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    changed = np.array(array)
    changed[rows] = values
    return changed
