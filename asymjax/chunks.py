"""The host loop: compiled chunks, one after the other, committed to the run directory and resumed from it."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from asymjax import memory, trees
from asymjax.errors import StopRequestedError
from asymjax.rundir import RunDir
from asymjax.types import PyTree


class Chunk(NamedTuple):
    """What one chunk leaves.

    Attributes
    ----------
    state : what the next chunk starts from.
    draws : arrays to keep, or None.
    metrics : one line of metrics, or None.
    note : a few words for the progress bar.
    """

    state: PyTree
    draws: Mapping[str, np.ndarray] | None = None
    metrics: Mapping[str, Any] | None = None
    note: str = ""


def chunk_size(total: int, target: int) -> int:
    """Return the largest divisor of ``total`` that is at most ``target`` (at least 1)."""
    return max(size for size in range(1, max(1, min(total, target)) + 1) if total % size == 0)


def compile_ahead(
    run: RunDir, fn: Callable[..., PyTree], *args: Any, donate: tuple[int, ...] = (), phase: str | None = None
) -> Callable:
    """Compile a function for these arguments, on the clock of "compile".

    With the name of a phase, print what its chunks take of memory: the estimate, then beside it the compiler's figure.

    Raises
    ------
    InputError
        If the estimate is far above the memory that there is.
    """
    with run.clock("compile"):
        traced = jax.jit(fn, donate_argnums=donate).trace(*args)
        estimated, limit = memory.estimate_bytes(traced), memory.limit_bytes(traced)
        memory.require_memory(estimated, limit)
        if phase is not None:
            print(f"{phase}, on each device: {memory.describe(estimated, limit)}", end="", flush=True)
        compiled = traced.lower().compile()
    if phase is not None:
        print(memory.describe_compiled(compiled), flush=True)
    return compiled


@contextmanager
def _stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM into a flag for the duration of the block."""
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGTERM, before)


def run_phase(
    run: RunDir,
    phase: str,
    num_chunks: int,
    init: Callable[[], PyTree],
    advance: Callable[[int, PyTree], Chunk],
) -> PyTree:
    """Run the chunks of a phase that are not committed yet, and return the state after the last.

    Parameters
    ----------
    run : the run directory.
    phase : name of the phase; its key on the clock too.
    num_chunks : chunks in all.
    init : () -> state before the first chunk; its structure is traced when the phase resumes.
    advance : (index, state) -> Chunk. Raises to end the run; chunks committed before stay.

    Raises
    ------
    StopRequestedError
        If SIGTERM came; the chunk under way is finished and committed first.
    """
    num_done, state = run.restore(phase, jax.eval_shape(init))
    if num_done == 0:
        state = init()
    columns = (
        TextColumn(f"{phase:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not run.show_progress) as bar, _stop_on_sigterm() as asked:
        task = bar.add_task(phase, total=num_chunks, completed=num_done, note="")
        for index in range(num_done, num_chunks):
            with run.clock(phase):
                chunk = jax.block_until_ready(advance(index, state))
            state = chunk.state
            run.commit(phase, index + 1, state, chunk.draws, chunk.metrics)
            bar.update(task, advance=1, note=chunk.note)
            if asked():
                raise StopRequestedError(f"asked to stop; {phase} chunk {index + 1} of {num_chunks} is kept")
    # On the host, so that what follows computes the same bits after a phase that ran and one that was restored.
    return trees.to_host(state)
