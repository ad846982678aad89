"""Several processes, one job: JAX's runtime joins them, and ends all when one is lost; here they share what they know.

Every process runs the same script. Whatever all of them call here is called by all of them, in the same order.
"""

import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

import asymjax
from asymjax.errors import DivergedError, InputError, StopRequestedError
from asymjax.tree_paths import differences
from asymjax.types import PyTree

T = TypeVar("T")

HEARTBEAT_SECONDS = 15
"""A process that gives no sign of life for so long is lost, and JAX's runtime aborts the others."""
LEAVE_SECONDS = 5
"""A process that fails waits so long for the others to fail with it."""
LEADER_SECONDS = 1
"""Process 0 leaves so long after the others: without it, JAX's runtime would abort them before they are out."""
MAX_WAIT_SECONDS = 7 * 24 * 3600
"""For a process that lives, as one that summarises a run while the others are done."""

LOST = "a process of this job was lost; what was committed is kept, start the job again, with any number of processes"

_SHARED = {kind.__name__: kind for kind in (InputError, DivergedError, StopRequestedError)}


# Meeting ---------------------------------------------------------------------------------------------------------


def connect(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    detect: bool = False,
    timeout: int = 300,
) -> None:
    """Make this process one of a job of several. Call before anything touches a device; without arguments, do nothing.

    From then on JAX's runtime ends this process, with its own words and SIGABRT, where another one is lost, is missing
    after ``timeout`` or comes twice; and SIGTERM is its notice of preemption, see `is_preempted`.

    Parameters
    ----------
    coordinator : ``HOST:PORT`` where process 0 listens; all other processes reach it there.
    num_processes : processes of the job.
    process_id : which of them this is, from 0.
    detect : let JAX find the three in the environment of a cluster (Slurm, Open MPI, TPU, ...).
    timeout : seconds to wait for the other processes.

    Raises
    ------
    InputError
        If an argument is missing or out of range, no cluster is found, or the processes differ in ``num_processes``,
        the number of devices, versions or platform.
    """
    if not detect and coordinator is None and num_processes is None and process_id is None:
        return
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            cluster_detection_method=None if detect else "deactivate",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (ValueError, IndexError) as error:  # The latter where there is no port.
        raise InputError(
            f"this makes no job of several processes ({error}); give --coordinator HOST:PORT, --num-processes and "
            "--process-id, from 0, or --distributed on a cluster"
        ) from error
    num_devices = Counter(device.process_index for device in jax.devices())
    if len(set(num_devices.values())) > 1:
        raise InputError(f"every process needs the same number of devices; by process there are {dict(num_devices)}")
    found = {"num_processes": num_processes, "platform": jax.default_backend(), "versions": versions("jax", "jaxlib")}
    agree("the environment", found)


def versions(*libraries: str) -> dict[str, str]:
    """Return the version of asymjax, which may be a source tree that nobody installed, and those of libraries."""
    return {"asymjax": asymjax.__version__} | {name: version(name) for name in libraries}


# Sharing ---------------------------------------------------------------------------------------------------------


def is_leader() -> bool:
    """Return whether this is process 0, which writes what there is one of."""
    return jax.process_index() == 0


def together(fn: Callable[[], T], what: str = "") -> T:
    """Call a function on every process; where it fails on one, raise on all.

    Parameters
    ----------
    fn : free of collectives.
    what : what it does, for messages; the same on all processes.

    Raises
    ------
    InputError, DivergedError, StopRequestedError
        What the first process raised that failed; an OSError of another process comes as InputError.
    RuntimeError
        If another process failed with anything else.
    """
    if jax.process_count() == 1:
        return fn()
    error: Exception | None = None
    result: Any = None
    try:
        result = fn()
    except Exception as raised:
        error = raised
    kind = "" if error is None else "InputError" if isinstance(error, OSError) else type(error).__name__
    outcomes = _exchange([kind, str(error)], what)
    first = next((process for process, (theirs, _) in enumerate(outcomes) if theirs), None)
    if first is None:
        return result
    if error is not None and (first == jax.process_index() or kind not in _SHARED):
        raise error
    kind, message = outcomes[first]
    raise _SHARED.get(kind, RuntimeError)(f"process {first}: {message if kind in _SHARED else f'{kind}: {message}'}")


def lead(fn: Callable[[], T], what: str = "") -> T | None:
    """Call a function on process 0 alone; return its result there and None elsewhere. Errors as of `together`."""
    return together(lambda: fn() if is_leader() else None, what)


def in_turn(fn: Callable[[], None], what: str = "") -> None:
    """Call a function on one process after the other. Errors as of `together`; those after the one that fails rest."""
    for process in range(jax.process_count()):
        together(fn if process == jax.process_index() else lambda: None, what)


def agree(what: str, values: Mapping[str, Any]) -> None:
    """Require that values are the same on all processes.

    Parameters
    ----------
    what : what they are, for messages.
    values : nested mappings of what JSON holds.

    Raises
    ------
    InputError
        On all processes, naming each process and field that differs from process 0.
    """
    first, *others = _exchange(values, what)
    changed = [
        f"process {process}: {difference}"
        for process, theirs in enumerate(others, 1)
        for difference in differences(first, theirs)
    ]
    if changed:
        raise InputError(f"{what} must be the same on all processes; from process 0 differs\n  " + "\n  ".join(changed))


def anyone(flag: bool) -> bool:
    """Return whether a flag is set on any process."""
    return any(_exchange(flag, "anyone"))


def is_preempted() -> bool:
    """Return whether a process of this job had SIGTERM or another notice: on all processes at the same call.

    JAX counts in steps that must not fall or jump, on all processes alike; here they are the calls.
    """
    return ocp.multihost.reached_preemption(next(_calls))


_calls = itertools.count(1)


def _exchange(value: Any, what: str) -> list[Any]:
    """Return the values of all processes, which JSON holds, in their order."""
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps([what, value]).encode(), np.uint8)
    _await_all()
    sizes = multihost_utils.process_allgather(np.int32(len(text)))
    rows = multihost_utils.process_allgather(np.pad(text, (0, sizes.max() - len(text))))
    whats, values = zip(*(json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)), strict=True)
    if len(set(whats)) > 1:
        raise RuntimeError(f"the processes are not at the same place of the program, but at {', '.join(whats)}")
    return list(values)


def _await_all(name: str = "", timeout: int = MAX_WAIT_SECONDS) -> None:
    """Wait until all processes are here, as long as they live; collectives give up, the first after half a minute."""
    everyone = set(range(jax.process_count()))  # Unless Orbax is told them, it waits in a collective.
    ocp.multihost.sync_global_processes(f"asymjax-{name or next(_waits)}", timeout=timeout, processes=everyone)


_waits = itertools.count()


# Arrays over processes -------------------------------------------------------------------------------------------


def local_rows(array: Any) -> tuple[int, int]:
    """Return ``(start, stop)``, the rows of the leading axis that this process holds."""
    if not isinstance(array, jax.Array):
        return 0, len(array)
    places = [shard.index[0].indices(len(array)) for shard in array.addressable_shards]
    return min(start for start, _, _ in places), max(stop for _, stop, _ in places)


def local(tree: PyTree) -> PyTree:
    """Return this process's rows of a tree of arrays split along their leading axis, as NumPy; keys as their data."""
    return jax.tree.map(_local, tree)


def _local(array: Any) -> np.ndarray:
    array = _key_data(array)
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return np.asarray(array)
    if array.is_fully_replicated:
        return np.asarray(array.addressable_data(0))
    pieces = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(pieces[start]) for start in sorted(pieces)])


def gather(tree: PyTree) -> PyTree:
    """Return a tree of arrays split along their leading axis whole on every process, as NumPy; keys as their data.

    Called by all processes, unless every array is on this one.
    """
    return jax.tree.map(_gather, tree)


def _gather(array: Any) -> np.ndarray:
    array = _key_data(array)
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return np.asarray(array)
    _await_all()
    return multihost_utils.process_allgather(array, tiled=True)


def _key_data(array: Any) -> Any:
    is_key = isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(array) if is_key else array


# Ending ----------------------------------------------------------------------------------------------------------


def is_loss(error: BaseException) -> bool:
    """Return whether an error says that another process is gone: what JAX's collectives and barriers raise."""
    signs = ("Gloo", "NCCL", "oordination", "Connection closed", "Connection reset", "Socket closed")
    return (
        isinstance(error, jax.errors.JaxRuntimeError | ValueError)  # The latter where it shows before a program runs.
        and jax.distributed.is_initialized()
        and any(sign in str(error) for sign in signs)
    )


def leave(code: int, at_once: bool = False) -> NoReturn:
    """End this process before the job is done, with the others where they share the error; else they end after it.

    They end because this process is lost. JAX's shutdown would wait for them, then abort.

    Parameters
    ----------
    code : exit code.
    at_once : end at once in any case, as after an interrupt, which threads that write a checkpoint do not see.
    """
    has_others = jax.distributed.is_initialized()
    if not (has_others or at_once):
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    if has_others and not at_once:
        with suppress(Exception):  # As soon as process 0 is gone, JAX's runtime aborts the others.
            _await_all("leave", LEAVE_SECONDS)
            if is_leader():
                time.sleep(LEADER_SECONDS)
    os._exit(code)
