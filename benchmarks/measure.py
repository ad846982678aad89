"""What the benchmarks share: the machine's ceilings, timing, and where results go."""

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asymjax.lab import devices
from asymjax.lab.run_files import dumps
from asymjax.lab.rundir import provenance
from asymjax.types import PyTree

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(os.environ.get("ASYMJAX_BENCHMARK_RESULTS", ROOT / "benchmarks" / "results"))
Call = Callable[[], Any]
# When JAX was at work on a program (tracing, lowering, compiling), from and to, in seconds; emptied by `Meter`.
COMPILATIONS: list[tuple[float, float]] = []


def _note_compilation(event: str, duration_secs: float, **_: Any) -> None:
    if event.startswith("/jax/core/compile/"):
        COMPILATIONS.append((time.perf_counter() - duration_secs, time.perf_counter()))


jax.monitoring.register_event_duration_secs_listener(_note_compilation)


class Spent(NamedTuple):
    """What work took, compilation apart.

    Attributes
    ----------
    seconds, processor_seconds : without compilation, on the clock and of all cores together.
    compile_seconds : on the clock.
    """

    seconds: float
    processor_seconds: float
    compile_seconds: float


def in_all(spent: Iterable[Spent]) -> Spent:
    """Return the sum."""
    return Spent(*map(sum, zip(*spent, strict=True)))


class Meter:
    """Reads clock and processor time of this process, all threads, every few milliseconds while the context is open.

    Other work on the machine lengthens seconds on the clock; those of the processor hardly.
    """

    INTERVAL = 0.005

    def __enter__(self) -> Self:
        COMPILATIONS.clear()
        self._readings = [self._now()]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def _read(self) -> None:
        while not self._done.wait(self.INTERVAL):
            self._readings.append(self._now())

    def __exit__(self, *_: Any) -> None:
        self._done.set()
        self._thread.join()
        self._readings.append(self._now())

    def spent(self, start: float | None = None, stop: float | None = None) -> Spent:
        """Return what was spent between two readings of the clock, by default all, after the context was closed."""
        clock, used = np.transpose(self._readings)
        start, stop = clock[0] if start is None else start, clock[-1] if stop is None else stop
        spans = compilations(start, stop)

        def processor_seconds(begin: float, end: float) -> float:
            return float(np.diff(np.interp([begin, end], clock, used))[0])

        compile_seconds = sum(end - begin for begin, end in spans)
        of_compiling = sum(processor_seconds(*span) for span in spans)
        return Spent(stop - start - compile_seconds, processor_seconds(start, stop) - of_compiling, compile_seconds)


def timed(call: Call) -> tuple[Any, Spent]:
    """Return what a call returns, and what it took.

    Also where a library compiles out of sight. Tracing inside of tracing counts once.
    """
    with Meter() as meter:
        result = jax.block_until_ready(call())
    return result, meter.spent()


def compiling(start: float, stop: float) -> float:
    """Return the seconds between two readings of the clock in which JAX was at work on a program."""
    return sum(end - begin for begin, end in compilations(start, stop))


def compilations(start: float, stop: float) -> list[tuple[float, float]]:
    """Return when JAX was at work on a program between two readings of the clock, spans that do not overlap."""
    spans = []
    for begin, end in sorted(COMPILATIONS):
        begin, end = max(begin, start), min(end, stop)
        if begin < end:
            spans.append((begin, end))
            start = end
    return spans


class Stopwatch:
    """Seconds that functions take, without compilation and without what other functions on the watch take inside them.

    Attributes
    ----------
    calls : part -> seconds of each call.
    """

    def __init__(self) -> None:
        self.calls: dict[str, list[float]] = {}
        self._inside: list[float] = []  # Of each call under way, what the calls inside it took.

    def on(self, part: str, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, on the watch; it waits for what it computes."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            self._inside.append(0.0)
            start = time.perf_counter()
            try:
                return jax.block_until_ready(fn(*args, **kwargs))
            finally:
                stop = time.perf_counter()
                total = stop - start - compiling(start, stop)
                self.calls.setdefault(part, []).append(total - self._inside.pop())
                if self._inside:
                    self._inside[-1] += total

        return watched


def interleaved(calls: Sequence[Call], num_rounds: int) -> list[float]:
    """Return the median seconds of each call over rounds that visit all of them, after one round outside the clock.

    Drift of the machine then falls on all alike.
    """
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(num_rounds + 1):
        for call, samples in zip(calls, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(call())
            samples.append(time.perf_counter() - start)
    return [statistics.median(samples[1:]) for samples in times]


def seconds(call: Call, num_rounds: int = 5) -> float:
    """Return the median seconds of one call."""
    return interleaved([call], num_rounds)[0]


def seconds_each(fn: Callable[[PyTree], PyTree], argument: PyTree, repeats: int) -> float:
    """Return the seconds of one call when every device applies ``fn`` to its own result again and again.

    Divided by the number of devices, so that its inverse is the rate of the whole machine.
    """
    placement = devices.place(jax.device_count())
    arguments = jax.tree.map(lambda leaf: jnp.tile(leaf, (placement.size,) + (1,) * leaf.ndim), argument)
    arguments = devices.put(arguments, placement, is_mapped=True)
    repeated = jax.jit(
        devices.map_leading(lambda a: lax.fori_loop(0, repeats, lambda _, a: fn(a), a), placement, [True])
    )
    return seconds(lambda: repeated(arguments)) / (repeats * placement.size)


def sgemm_peak(size: int = 1024) -> float:
    """Return the FLOP/s of large float32 matrix products, on every device at the same time."""
    return 2 * size**3 / seconds_each(lambda a: a @ a, jnp.eye(size), 16)


def copy_bandwidth(num_bytes: int = 2**24) -> float:
    """Return the bytes/s read plus written when every device adds one to an array of ``num_bytes``.

    The default is about the size of one network of the training benchmark with its moments and gradient, and so as
    near to the processor as those.
    """
    return 2 * num_bytes / seconds_each(lambda a: a + 1, jnp.ones(num_bytes // 4), 16)


def ceilings() -> dict[str, float]:
    """Return both ceilings of this machine."""
    return {"sgemm_flops_per_second": sgemm_peak(), "copy_bytes_per_second": copy_bandwidth()}


def has_changes() -> bool:
    """Return whether files other than results differ from the commit, or none is known."""
    command = ["git", "status", "--porcelain", "--", ".", ":(exclude)benchmarks/results"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode != 0 or bool(done.stdout.strip())


def save(name: str, rows: list[dict[str, Any]], machine: dict[str, float]) -> Path:
    """Write rows with ceilings and provenance to ``results/NAME.json``, or ``NAME.json`` for an absolute path.

    Of absolute paths in the command the last part is kept: the others are those of one machine.
    """
    RESULTS.mkdir(exist_ok=True)
    path, origin = RESULTS / f"{name}.json", provenance()
    origin["command"] = without_folders(origin["command"])
    path.write_text(dumps({"rows": rows, "ceilings": machine, "provenance": origin}, indent=1))
    return path


def without_folders(words: list[str]) -> list[str]:
    """Return the words of a command, of absolute paths the last part alone."""
    return [Path(word).name if Path(word).is_absolute() else word for word in words]
