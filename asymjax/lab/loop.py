"""The host loop: compiled chunks, one after the other, committed to a run directory or kept in memory."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from asymjax.errors import StopRequestedError
from asymjax.lab import memory, processes
from asymjax.lab.recorder import Recorder
from asymjax.types import PyTree

LINE_SECONDS = 30.0


class Chunk(NamedTuple):
    """What one chunk leaves.

    Attributes
    ----------
    state : what the next chunk starts from; None where it starts anew, so that nothing of it need be kept.
    draws : arrays to keep, or None.
    metrics : one line of metrics, or None.
    note : a few words for the progress bar.
    """

    state: PyTree
    draws: Mapping[str, np.ndarray] | None = None
    metrics: Mapping[str, Any] | None = None
    note: str = ""


def compile_ahead(
    run: Recorder, fn: Callable[..., PyTree], *args: Any, donate: tuple[int, ...] = (), phase: str | None = None
) -> Callable:
    """Compile a function for these arguments, on the clock of "compile".

    With the name of a phase, print what its chunks take of memory, as the compiler says.

    Raises
    ------
    InputError
        If that is more than there is.
    """
    with run.clock("compile"):
        compiled = jax.jit(fn, donate_argnums=donate).lower(*args).compile()
    needed, limit = memory.needed_bytes(compiled), memory.limit_bytes(memory.count_devices(compiled))
    processes.together(partial(memory.require_memory, needed, limit))  # Hosts may differ.
    if phase is not None and not run.is_quiet:
        print(f"{phase}, on each device: {memory.describe(needed, limit)}", flush=True)
    return compiled


@contextmanager
def _stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM into a flag for the duration of the block.

    Of several processes JAX's runtime tells all; a thread beside the main one hears of no signal.
    """
    if jax.process_count() > 1:
        yield processes.is_preempted
        return
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGTERM, before)


def run_phase(
    run: Recorder,
    phase: str,
    num_chunks: int,
    init: Callable[[], PyTree],
    advance: Callable[[int, PyTree], Chunk],
    like: PyTree,
    work: tuple[int, str],
    has_draws: bool = False,
) -> PyTree:
    """Run the chunks of a phase that are not committed yet, and return the state after the last.

    Parameters
    ----------
    run : where chunks are kept.
    phase : name of the phase; its key on the clock too.
    num_chunks : chunks in all, equal shares of the work.
    init : () -> state before the first chunk.
    advance : (index, state) -> Chunk; the state is that of the chunk before, None if it left none. Raises, on all
        processes alike, to end the run; chunks committed before stay.
    like : shape structs of the state, with the shardings of what lies on the devices of a placement; or arrays.
    work : how much there is to do, and of what: ``(10_000, "networks")``.
    has_draws : whether chunks leave draws.

    Raises
    ------
    StopRequestedError
        If SIGTERM came to one of the processes, or word of a preemption; the chunk under way is finished and committed
        first.
    """
    num_done, state = run.restore(phase, like, has_draws)
    if num_done == 0:
        state = init()
    elif not run.is_quiet:
        print(f"{phase}: chunks 1 to {num_done} of {num_chunks} are from before", flush=True)
    with _progress(run, phase, num_chunks, num_done, work) as show, _stop_on_sigterm() as asked:
        for index in range(num_done, num_chunks):
            with run.clock(phase), run.profiled(phase):
                chunk = jax.block_until_ready(advance(index, state))
            state = chunk.state
            run.commit(phase, index + 1, num_chunks, state, chunk.draws, chunk.metrics)
            show(index + 1, chunk.note)
            if asked():
                raise StopRequestedError(f"asked to stop; {phase} chunk {index + 1} of {num_chunks} is kept")
    return state


@contextmanager
def _progress(
    run: Recorder, phase: str, num_chunks: int, num_before: int, work: tuple[int, str]
) -> Iterator[Callable[[int, str], None]]:
    """Show one line: chunks, how much of the work is done, how fast, time left, a note and memory.

    Where standard error is no terminal, as in the log of a cluster's job, a line now and then.
    """
    total, unit = work
    start = said = perf_counter()
    console = Console(stderr=True)
    columns = TextColumn(f"{phase:<8}"), BarColumn(bar_width=10), TimeElapsedColumn(), TextColumn("{task.fields[line]}")
    with Progress(*columns, console=console, disable=not (run.show_progress and console.is_terminal)) as bar:
        task = bar.add_task(phase, total=num_chunks, completed=num_before, line=f"{num_before}/{num_chunks}")

        def show(num_done: int, note: str) -> None:
            nonlocal said
            now = perf_counter()
            a_chunk = (now - start) / (num_done - num_before)
            words = [
                f"{num_done}/{num_chunks}",
                f"{num_done / num_chunks:.0%} of {total:,} {unit}",
                f"{total / num_chunks / a_chunk:,.3g} a second",
                f"{timedelta(seconds=round(a_chunk * (num_chunks - num_done)))} left",
                *([note] if note else []),
                f"{memory.in_use_bytes() / 1e6:,.0f} MB",
            ]
            bar.update(task, completed=num_done, line=", ".join(words))
            if bar.disable and run.show_progress and (now - said > LINE_SECONDS or num_done == num_chunks):
                print(f"{phase:<8} {', '.join(words)}", file=sys.stderr, flush=True)
                said = now

        yield show
