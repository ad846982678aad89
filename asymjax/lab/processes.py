"""Several processes, one job: how they meet, share errors and values, and end when one of them is lost.

Every process runs the same script. Whatever all of them call here is called by all of them, in the same order.
"""

import ctypes
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from asymjax.errors import DivergedError, InputError, LostProcessError, StopRequestedError
from asymjax.tree_paths import differences
from asymjax.types import PyTree

T = TypeVar("T")

HEARTBEAT_SECONDS = 15
"""A process that gives no sign of life for so long is lost."""
MAX_WAIT_SECONDS = 7 * 24 * 3600
"""For a process that lives, as one that summarises a run while the others are done."""

LOST = "a process of this job was lost; what was committed is kept, start the job again, with any number of processes"
UNMET = "the processes of this job did not come together; JAX's runtime says above why"
EXIT_UNMET, EXIT_LOST = 2, 75

_WORDS = ("coordinator_address", "num_processes", "process_id")
_GREETING, _GO = "asymjax", "go"
_SHARED = {kind.__name__: kind for kind in (InputError, DivergedError, StopRequestedError, LostProcessError)}


# Meeting ---------------------------------------------------------------------------------------------------------


def connect(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    detect: bool = False,
    timeout: float = 300.0,
) -> None:
    """Make this process one of a job of several. Call before anything touches a device; without arguments, do nothing.

    The processes meet at the coordinator's port before JAX's runtime starts there, because that ends the process,
    with a stack trace, where one is missing or wrong, and a running job that a stranger joins.

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
        If an argument is missing or out of range, the port is taken, a process does not come in time or was given
        other arguments, no cluster is found, or the processes differ in versions, platform or number of devices.
    """
    given = {"--coordinator": coordinator, "--num-processes": num_processes, "--process-id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given) and not detect:
        return
    if detect and len(missing) < len(given):
        raise InputError(f"--distributed finds {', '.join(given)} itself; give either it or them")
    if not detect:
        if missing:
            raise InputError(f"{', '.join(missing)} missing; a job of several processes needs {', '.join(given)}")
        assert coordinator is not None and num_processes is not None and process_id is not None
        _meet(coordinator, num_processes, process_id, timeout)
    met, handler = _exit_when_lost(), signal.getsignal(signal.SIGTERM)
    _initialize({} if detect else dict(zip(_WORDS, given.values(), strict=True)))
    signal.signal(signal.SIGTERM, handler)  # JAX's preemption service took its place, and would swallow the signal.
    met.set()
    _check_alike()


def _initialize(given: dict[str, Any]) -> None:
    try:
        jax.distributed.initialize(
            **given,
            cluster_detection_method="deactivate" if given else None,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except ValueError as error:
        raise InputError(
            f"--distributed found no cluster ({error}); give --coordinator, --num-processes and --process-id"
        ) from error


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"--coordinator {coordinator!r} is no address; give HOST:PORT, such as 10.0.0.1:12345")
    return host.strip("[]"), int(port)


def _meet(coordinator: str, num_processes: int, process_id: int, timeout: float) -> None:
    """Return when all processes of the job have reported to process 0."""
    host, port = _address(coordinator)
    if num_processes < 1:
        raise InputError(f"--num-processes {num_processes}; give at least 1")
    if not 0 <= process_id < num_processes:
        raise InputError(f"--process-id {process_id} is not in 0 to {num_processes - 1} (--num-processes less 1)")
    if process_id == 0:
        _await_processes(port, num_processes, timeout)
    else:
        _report_to(host, port, num_processes, process_id, timeout)


def _await_processes(port: int, num_processes: int, timeout: float) -> None:
    """Listen as process 0 until all others have reported, and tell them to go on or why not."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        server = socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6)
    except OSError as error:
        raise InputError(
            f"process 0 cannot listen on port {port} ({error.strerror}); a job that still runs may hold it (a stale "
            "coordinator), so end that job or choose another port"
        ) from error
    came: dict[int, socket.socket] = {}
    with closing(server):
        verdict = _receive(server, came, num_processes, timeout)
        for guest in came.values():
            with closing(guest), suppress(OSError):
                guest.sendall(f"{_GREETING} {verdict}\n".encode())
    if verdict != _GO:
        raise InputError(verdict)


def _receive(server: socket.socket, came: dict[int, socket.socket], num_processes: int, timeout: float) -> str:
    """Add to ``came`` who comes; return ``_GO`` when all are there, or what is wrong with the job."""
    deadline = time.monotonic() + timeout
    is_said = False
    port = server.getsockname()[1]
    while len(came) < num_processes - 1:
        missing = "process " + ", ".join(str(one) for one in range(1, num_processes) if one not in came)
        if time.monotonic() > deadline:
            return f"{missing} of {num_processes} did not come to port {port} within {timeout:g} s"
        server.settimeout(min(1.0, timeout))
        try:
            guest, _ = server.accept()
        except TimeoutError:
            if not is_said:
                print(f"waiting on port {port} for {missing}", file=sys.stderr, flush=True)
            is_said = True
            continue
        verdict = _admit(guest, came, num_processes)
        if verdict != _GO:
            return verdict
    return _GO


def _admit(guest: socket.socket, came: dict[int, socket.socket], num_processes: int) -> str:
    """Read who came; return ``_GO``, or what is wrong with the job."""
    guest.settimeout(5.0)
    try:
        name, theirs, process_id = guest.makefile().readline(200).split()
        process, count = int(process_id), int(theirs)
    except (OSError, ValueError):
        name = ""
    if name != _GREETING:
        guest.close()  # Not one of ours.
        return _GO
    verdict = _GO
    if count != num_processes:
        verdict = f"process {process} was given --num-processes {count}, process 0 {num_processes}"
    elif process in came:
        verdict = f"two processes were given --process-id {process}"
    came[process if verdict == _GO else -1] = guest
    return verdict


def _report_to(host: str, port: int, num_processes: int, process_id: int, timeout: float) -> None:
    """Report to process 0, and return when it says that all are there."""
    with closing(_reach(host, port, timeout)) as guest:
        try:
            guest.sendall(f"{_GREETING} {num_processes} {process_id}\n".encode())
            guest.settimeout(timeout + 5)
            answer = guest.makefile(errors="replace").readline(1000)
        except OSError:
            answer = ""
    name, _, verdict = answer.strip().partition(" ")
    if name != _GREETING:
        raise InputError(
            f"what listens at {host}:{port} is no process 0 that waits for process {process_id}: a job that runs "
            "already (a stale coordinator), another service, or a process 0 that ended; check --coordinator and the "
            "output of process 0, or choose another port"
        )
    if verdict != _GO:
        raise InputError(verdict)


def _reach(host: str, port: int, timeout: float) -> socket.socket:
    """Connect to process 0, which may start later."""
    start = time.monotonic()
    is_said = False
    while True:
        try:
            return socket.create_connection((host, port), timeout=5.0)
        except OSError as error:
            waited = time.monotonic() - start
            if waited > timeout:
                raise InputError(
                    f"no process 0 at {host}:{port} within {timeout:g} s ({error}); check --coordinator, and that "
                    "process 0 runs"
                ) from error
        if waited > 1 and not is_said:
            print(f"waiting for process 0 at {host}:{port}", file=sys.stderr, flush=True)
            is_said = True
        time.sleep(0.2)


def _check_alike() -> None:
    counts = np.bincount([device.process_index for device in jax.devices()], minlength=jax.process_count())
    if len(set(counts.tolist())) > 1:
        raise InputError(
            "every process needs the same number of devices; there are "
            + ", ".join(f"{count} on process {process}" for process, count in enumerate(counts))
        )
    versions = {name: version(name) for name in ("asymjax", "jax", "jaxlib")}
    agree("the environment", {"platform": jax.default_backend(), "versions": versions})


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
    InputError, DivergedError, StopRequestedError, LostProcessError
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
    _await_all()
    kind = "" if error is None else "InputError" if isinstance(error, OSError) else type(error).__name__
    outcomes = [json.loads(text) for text in _exchange(json.dumps([kind, str(error)]), what)]
    failed = [process for process, (theirs, _) in enumerate(outcomes) if theirs]
    if not failed:
        return result
    first = failed[0]
    if error is not None and (first == jax.process_index() or kind not in _SHARED):
        raise error
    kind, message = outcomes[first]
    if kind in _SHARED:
        raise _SHARED[kind](f"process {first}: {message}")
    raise RuntimeError(f"process {first} failed{' in ' + what if what else ''}: {kind}: {message}")


def lead(fn: Callable[[], T], what: str = "") -> T | None:
    """Call a function on process 0 alone; return its result there and None elsewhere. Errors as of `together`."""
    return together(lambda: fn() if is_leader() else None, what)


def in_turn(fn: Callable[[], None], what: str = "") -> None:
    """Call a function on one process after the other. Errors as of `together`; those after the one that fails rest."""
    for process in range(jax.process_count()):
        together(fn if process == jax.process_index() else _nothing, what)


def _nothing() -> None:
    """Do nothing."""


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
    if jax.process_count() == 1:
        return
    first, *others = [json.loads(text) for text in _exchange(json.dumps(values, sort_keys=True), what)]
    changed = [
        f"process {process}: {difference}"
        for process, theirs in enumerate(others, 1)
        for difference in differences(first, theirs)
    ]
    if changed:
        raise InputError(f"{what} must be the same on all processes; from process 0 differs\n  " + "\n  ".join(changed))


def anyone(flag: bool) -> bool:
    """Return whether a flag is set on any process."""
    return bool(np.any(_all(np.array(flag))))


def is_preempted() -> bool:
    """Return whether JAX had word that a process of this job is to be preempted: on all processes at the same call.

    JAX counts in steps that must not fall or jump, on all processes alike; here they are the calls.
    """
    if jax.process_count() == 1 or not jax.config.values["jax_enable_preemption_service"]:
        return False
    return multihost_utils.reached_preemption_sync_point(next(_calls))


_calls = itertools.count(1)


def _await_all() -> None:
    """Wait until all processes are here, as long as they live; collectives on CPU give up after half an hour."""
    with _telling_loss():
        everyone = set(range(jax.process_count()))
        ocp.multihost.sync_global_processes(f"asymjax-{next(_waits)}", timeout=MAX_WAIT_SECONDS, processes=everyone)


_waits = itertools.count()


def _exchange(text: str, what: str) -> list[str]:
    """Return the texts of all processes, in their order."""
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = _all(np.array([zlib.crc32(what.encode()) & 0x7FFFFFFF, len(data)], np.int32))
    if len(set(sizes[:, 0].tolist())) > 1:
        raise RuntimeError(f"the processes are not at the same place of the program; this one is at {what!r}")
    padded = _all(np.pad(data, (0, sizes[:, 1].max() - len(data))))
    return [row[:size].tobytes().decode() for row, size in zip(padded, sizes[:, 1], strict=True)]


def _all(array: np.ndarray) -> np.ndarray:
    """Return the arrays of all processes [processes, *shape]; shapes and dtypes are alike, values differ."""
    if jax.process_count() == 1:
        return array[None]
    with _telling_loss():
        return np.asarray(multihost_utils.process_allgather(array)).reshape(jax.process_count(), *array.shape)


@contextmanager
def _telling_loss() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_loss(error):
            raise LostProcessError(LOST) from error
        raise


# Arrays over processes -------------------------------------------------------------------------------------------


def local_rows(array: Any) -> tuple[int, int]:
    """Return ``(start, stop)``, the rows of the leading axis that this process holds; ``(0, 0)`` if none."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return 0, len(array)
    places = [shard.index[0].indices(len(array))[:2] for shard in array.addressable_shards]
    return (min(start for start, _ in places), max(stop for _, stop in places)) if places else (0, 0)


def local(tree: PyTree) -> PyTree:
    """Return this process's rows of a tree of arrays split along their leading axis, as NumPy; keys as their data."""
    return jax.tree.map(_local, tree)


def _local(array: Any) -> np.ndarray:
    if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return np.asarray(array)
    if array.is_fully_replicated and array.addressable_shards:
        return np.asarray(array.addressable_shards[0].data)
    pieces = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    if not pieces:
        return np.zeros((0, *array.shape[1:]), array.dtype)
    return np.concatenate([np.asarray(pieces[start]) for start in sorted(pieces)])


def gather(tree: PyTree) -> PyTree:
    """Return a tree of arrays split along their leading axis whole on every process, as NumPy; keys as their data.

    Called by all processes, unless every array is on this one.
    """
    return jax.tree.map(_gather, tree)


def _gather(array: Any) -> np.ndarray:
    mine = _local(array)
    if not isinstance(array, jax.Array) or array.is_fully_addressable or array.is_fully_replicated:
        return mine
    sizes = _all(np.array(len(mine), np.int32))
    padded = _all(np.pad(mine, [(0, sizes.max() - len(mine))] + [(0, 0)] * (mine.ndim - 1)))
    return np.concatenate([rows[:size] for rows, size in zip(padded, sizes, strict=True)])


# Ending ----------------------------------------------------------------------------------------------------------


def is_loss(error: BaseException) -> bool:
    """Return whether an error says that another process is gone: what JAX's collectives and barriers raise."""
    signs = ("Gloo", "NCCL", "CoordinationService", "Connection closed", "Connection reset", "Socket closed")
    return (
        isinstance(error, jax.errors.JaxRuntimeError | ValueError)  # The latter where it shows before a program runs.
        and jax.distributed.is_initialized()
        and any(sign in str(error) for sign in signs)
    )


def leave(code: int, at_once: bool = False) -> NoReturn:
    """End this process before the job is done: at once where there are others, which JAX's shutdown would wait for.

    The others end by themselves: with the same error if it was shared, else because this process is lost.

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
    if has_others and is_leader():
        time.sleep(2.0)  # JAX's runtime ends the others as soon as process 0 is gone; let them end by themselves.
    os._exit(code)


def _exit_when_lost() -> threading.Event:
    """Exit with a line and a code of ours where JAX's runtime aborts because a process is missing or lost.

    It aborts in a thread of its own, but for when it starts. An abort of the main thread, which runs our program, stays
    what it is.

    Returns
    -------
    Event to set when the runtime has started.
    """
    met = threading.Event()

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def handle(number: int) -> None:
        if met.is_set() and threading.current_thread() is threading.main_thread():
            return
        print(LOST if met.is_set() else UNMET, file=sys.stderr, flush=True)
        os._exit(EXIT_LOST if met.is_set() else EXIT_UNMET)

    _handlers.append(handle)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), handle)
    return met


_handlers: list[Any] = []  # What C calls has to stay alive.
