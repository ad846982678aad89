"""The run directory: the only thing a run leaves, and all that a resumed run or a report reads.

    config.json metrics.jsonl checkpoints/ results.zarr/ summary.json figures/ DONE

Work is divided into named phases, phases into chunks. A chunk is committed in this order: its draws, its metrics, its
checkpoint. When a run resumes, metrics beyond the last checkpoint are deleted and draws are written again, the same, so
a run that is killed anywhere and resumed leaves the same results as one that never stopped.

With several processes the directory lies on a file system that all share. Each writes the draws and metrics of its own
members (``metrics.pP.jsonl``) and its part of the checkpoint, process 0 all else. A run may go on with other processes
than it began with.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, TextIO
from uuid import uuid4

import jax
import numpy as np
import orbax.checkpoint as ocp
import xarray

from asymjax.diagnostics.datatree import LEADING, to_datatree
from asymjax.errors import InputError
from asymjax.lab import processes, results, run_files
from asymjax.lab.run_config import RunConfig, how_to_go_on
from asymjax.lab.run_files import dumps
from asymjax.tree_paths import differences
from asymjax.types import PyTree

Summary = tuple[Mapping[str, Any], results.Named]
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "blackjax", "numpy")


# Names and records -----------------------------------------------------------------------------------------------


def config_hash(scientific: Mapping[str, Any]) -> str:
    """Return eight hexadecimal digits that identify a scientific configuration."""
    return hashlib.sha256(dumps(scientific, sort_keys=True).encode()).hexdigest()[:8]


def _git(*words: str) -> str:
    folder = Path(__file__).parent
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def provenance() -> dict[str, Any]:
    """Return where numbers come from: command, commit, versions, devices, precision."""
    device = jax.devices()[0]
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": _git("rev-parse", "HEAD") or None,
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "versions": processes.versions(*LIBRARIES) | {"python": sys.version.split()[0]},
        "device": {"kind": device.device_kind, "platform": device.platform, "count": jax.device_count()},
        "num_processes": jax.process_count(),
        "numerics": {
            name: jax.config.values[name]
            for name in ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl")
        },
    }


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file whole or not at all: under a temporary name, to the disk, then renamed."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _write_json(path: Path, value: Any) -> None:
    with _replacing(path) as file:
        file.write(dumps(value, indent=1).encode())


def _locked(path: Path) -> TextIO:
    """Open and lock the lock file of a run directory, and write a mark into it; it is held until the process ends.

    Raises
    ------
    InputError
        If another process holds it.
    """
    lock = open(path / ".lock", "a")  # noqa: SIM115  (another process's mark stays)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise InputError(f"{path} is in use by another process; wait for it, or choose another --run-dir") from None
    lock.truncate(0)
    os.write(lock.fileno(), uuid4().hex.encode())
    os.fsync(lock.fileno())
    return lock


# The directory ---------------------------------------------------------------------------------------------------


class _Manager(ocp.CheckpointManager):
    """Does not ask JAX about preemption in its own count of steps, as that of `processes.is_preempted` is another."""

    def reached_preemption(self, step: int) -> bool:
        return False


class RunDir:
    """One run directory, open for writing and locked against a second run.

    Attributes
    ----------
    path : the directory.
    seconds : wall-clock seconds by kind of work, accumulated over resumed runs.
    show_progress : whether progress bars are shown.
    """

    is_quiet = False

    def __init__(self, path: Path, show_progress: bool = True, lock: TextIO | None = None, profile: bool = False):
        self.path = path
        self.seconds: dict[str, float] = {}
        self.show_progress = show_progress and processes.is_leader()
        self._managers: dict[str, ocp.CheckpointManager] = {}
        self._profile, self._profiled = profile, set[str]()
        self._has_draws = False  # Whether their groups are there.
        self._lock = lock  # Held until the process ends.

    # Records

    @property
    def record(self) -> dict[str, Any]:
        """The content of config.json."""
        return json.loads((self.path / "config.json").read_text())

    def identify(self, **checksums: str) -> None:
        """Note checksums of what the run depends on, or compare them with those noted before.

        Raises
        ------
        InputError
            If one differs: the run would go on with another dataset or other frozen constants.
        """
        processes.agree("checksums", checksums)
        processes.lead(partial(self._identify, checksums))

    def _identify(self, checksums: Mapping[str, str]) -> None:
        record = self.record
        known = record.setdefault("checksums", {})
        for name, value in checksums.items():
            if known.setdefault(name, value) != value:
                raise InputError(
                    f"{self.path}: the checksum of {name} is {value[:12]}, the run began with {known[name][:12]}; "
                    "restore what it began with, or begin anew with --force or another --run-dir"
                )
        _write_json(self.path / "config.json", record)

    def settle(self, name: str, value: int, check: Callable[[int], Any] = lambda value: None) -> int:
        """Return what was settled under a name when the run began; on the first call for it, note ``value``.

        For what cuts work into chunks and would follow the number of devices, which may be another when a run resumes.
        ``check`` raises where a value cannot be, before it is noted for good.
        """

        def note() -> None:
            record = self.record
            settled = record.setdefault("settled", {})
            check(settled.setdefault(name, value))
            _write_json(self.path / "config.json", record)

        processes.lead(note)
        return self.record["settled"][name]

    @contextmanager
    def clock(self, kind: str) -> Iterator[None]:
        """Add the wall-clock seconds of the block to ``seconds[kind]``."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[kind] = self.seconds.get(kind, 0.0) + perf_counter() - start

    # Phases

    def _manager(self, phase: str) -> ocp.CheckpointManager:
        if phase not in self._managers:
            options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
            self._managers[phase] = _Manager(self.path / "checkpoints" / phase, options=options)
        return self._managers[phase]

    def restore(self, phase: str, like: PyTree, has_draws: bool = False) -> tuple[int, PyTree]:
        """Return the chunks done in a phase and the state after them, and delete metrics of what lies beyond.

        Where draws of a chunk are lost or damaged, the phase goes back to a checkpoint before it, or to its beginning.

        Parameters
        ----------
        phase : name of the phase.
        like : a state of the same structure and shapes: shape structs, or arrays. Where structs have a sharding, each
            process reads its own part.
        has_draws : whether the chunks of this phase leave draws.

        Returns
        -------
        ``(num_done, state)``, with NumPy leaves where there is no sharding. The state is None where none was committed.

        Raises
        ------
        InputError
            If the checkpoint is damaged or holds another structure, or metrics of what is done are lost.
        """
        if has_draws:
            num_whole, reason = processes.together(partial(self._count_whole, phase))
            processes.lead(partial(self._go_back, phase, num_whole, reason))
        done = self._manager(phase).latest_step() or 0
        processes.lead(partial(self._truncate, phase, done))
        if done == 0:
            return 0, None
        folder = self.path / "checkpoints" / phase / str(done)
        items: dict[str, Any] = {"meta": ocp.args.JsonRestore()}
        if (folder / "state").exists():
            items["state"] = ocp.args.StandardRestore(jax.tree.map(_template, like))
        try:
            kept = self._manager(phase).restore(done, args=ocp.args.Composite(**items))
        except Exception as error:  # Orbax raises many kinds for damaged files.
            if processes.is_loss(error):
                raise
            raise InputError(
                f"{folder} cannot be read ({type(error).__name__}: {str(error)[:200]}); delete that folder to go on "
                "from the checkpoint before it"
            ) from error
        if kept["meta"]["has_metrics"]:
            processes.lead(partial(self._require_metrics, phase, done))
        for kind, seconds in kept["meta"]["seconds"].items():
            self.seconds[kind] = max(seconds, self.seconds.get(kind, 0.0))
        return done, kept.get("state")

    def commit(
        self,
        phase: str,
        num_done: int,
        num_chunks: int,
        state: PyTree,
        draws: Mapping[str, np.ndarray] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a chunk permanent: draws, then metrics, then the checkpoint.

        Parameters
        ----------
        phase : name of the phase.
        num_done, num_chunks : chunks done, this one included, and all chunks of the phase.
        state : what the next chunk starts from; None where it starts anew.
        draws : arrays of this process's chains, if any, as of ``diagnostics.to_datatree``; equally long in each chunk.
        metrics : one line for this process's ``metrics.jsonl``, if any; lists have one entry a member of its own.

        Raises
        ------
        InputError
            If the disk is full or cannot be written.
        """
        what = f"chunk {num_done} of {phase}"
        if draws is not None:
            self.write_draws(what, num_done - 1, num_chunks, draws)
        if metrics is not None:
            processes.together(partial(self._write_metrics, phase, num_done - 1, metrics))
        meta = {"seconds": self.seconds, "has_metrics": metrics is not None}
        items: dict[str, Any] = {"meta": ocp.args.JsonSave(meta)}
        if state is not None:
            items["state"] = ocp.args.StandardSave(state)
        with self.explaining(what):
            self._manager(phase).save(num_done, args=ocp.args.Composite(**items), force=True)

    def write_draws(self, what: str, index: int, num_chunks: int, draws: Mapping[str, np.ndarray]) -> None:
        """Write this process's chains of a chunk, ``index`` of ``num_chunks``; as of :meth:`commit`."""
        shape = next(iter(draws.values())).shape[:2]
        if not self._has_draws:
            total = shape[0] * jax.process_count(), shape[1] * num_chunks
            like = {name: np.broadcast_to(values[0, 0], total + values.shape[2:]) for name, values in draws.items()}
            for name, template in to_datatree(like).children.items():
                self.create_group(name, template.to_dataset(), dict(zip(LEADING, shape, strict=True)))
            self._has_draws = True
        groups = {name: group.data_vars for name, group in to_datatree(draws).children.items()}
        starts = {"chain": jax.process_index() * shape[0], "draw": index * shape[1]}
        self.write_rows(what, groups, starts, "chain", range(0, shape[0] * jax.process_count(), shape[0]))

    def create_group(
        self, name: str, template: xarray.Dataset, chunks: Mapping[str, int], begin: Mapping[str, Any] | None = None
    ) -> None:
        """Create a group of results on process 0, or find it as this run left it; see ``results.create_group``."""

        def create() -> None:
            with self.explaining(name):
                results.create_group(self.path, name, template, chunks, begin)

        processes.lead(create)

    def write_rows(
        self,
        what: str,
        groups: Mapping[str, Mapping[Any, Any]],
        starts: Mapping[str, int],
        dimension: str,
        boundaries: Sequence[int],
    ) -> None:
        """Write rows of groups of results, each process its own; in turn where a file has rows of two of them.

        Parameters
        ----------
        what : what they are, for messages.
        groups : group -> variable -> this process's rows, in the order in which they are written.
        starts : as of ``results.write_rows``.
        dimension, boundaries : what processes share, and the rows along it with which those of a process begin.
        """

        def write() -> None:
            with self.explaining(what):
                for name, arrays in groups.items():
                    results.write_rows(self.path, name, starts, arrays)

        shares = jax.process_count() > 1 and any(
            results.shares_files(self.path, name, arrays, dimension, boundaries) for name, arrays in groups.items()
        )
        (processes.in_turn if shares else processes.together)(write)

    def _write_metrics(self, phase: str, index: int, metrics: Mapping[str, Any]) -> None:
        line = {"phase": phase, "chunk": index, "seconds": sum(self.seconds.values()), **metrics}
        with (
            self.explaining(f"chunk {index + 1} of {phase}"),
            open(self.path / run_files.metrics_file(jax.process_index()), "a") as file,
        ):
            file.write(dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def profiled(self, phase: str) -> Iterator[None]:
        """Trace the block into ``profile/`` where profiles are asked for: the first of each phase in this process."""
        if not self._profile or phase in self._profiled:
            yield
            return
        self._profiled.add(phase)
        folder = self.path / "profile" / phase
        with jax.profiler.trace(str(folder)):
            yield
        print(f"{phase}: its first chunk is traced in {folder}", flush=True)

    @contextmanager
    def explaining(self, what: str) -> Iterator[None]:
        """Turn a failing disk into an error that says what to do."""
        try:
            yield
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) and "os_error_code" not in str(error):
                raise  # TensorStore reports errors of the system as ValueError, but this is none.
            reason = getattr(error, "strerror", None) or str(error).rsplit(": ", 1)[-1].split(" [")[0]
            raise InputError(
                f"{self.path}: {what} cannot be written ({reason}); what was committed before is kept, so free some "
                f"space and {how_to_go_on()}"
            ) from error

    def _checkpoints(self, phase: str) -> dict[int, Path]:
        """Return the checkpoints of a phase by the chunks that were done."""
        found = (self.path / "checkpoints" / phase).glob("*")
        return {int(folder.name): folder for folder in found if folder.name.isdecimal()}

    def _count_whole(self, phase: str) -> tuple[int, str]:
        """Return how many chunks left draws that can be read, and why the next one's cannot."""
        return results.count_whole_chunks(self.path, max(self._checkpoints(phase), default=0))

    def _go_back(self, phase: str, num_whole: int, reason: str) -> None:
        """Delete the checkpoints that follow draws which cannot be read."""
        beyond = {done: folder for done, folder in self._checkpoints(phase).items() if done > num_whole}
        if beyond:
            left = max(self._checkpoints(phase).keys() - beyond, default=0)
            print(f"warning: {reason}\n{phase}: drawn again from chunk {left + 1} on", file=sys.stderr, flush=True)
            if left == 0:
                shutil.rmtree(self.path / results.RESULTS, ignore_errors=True)
        for folder in beyond.values():
            shutil.rmtree(folder)

    def _require_metrics(self, phase: str, done: int) -> None:
        """Refuse to go on where metrics of chunks that are done are lost."""
        known = {line["chunk"] for line in run_files.read_metrics(self.path) if line["phase"] == phase}
        if lost := set(range(done)) - known:
            raise InputError(
                f"{self.path / run_files.metrics_file(0)} lacks chunk {min(lost) + 1} of {phase}, which is done; "
                "restore the file, or begin anew with --force or another --run-dir"
            )

    def _truncate(self, phase: str, done: int) -> None:
        """Delete metrics of a phase that no checkpoint covers."""
        for metrics in self.path.glob("metrics*.jsonl"):
            lines = metrics.read_text(errors="replace").splitlines(keepends=True)
            kept = [line for line in lines if _is_covered(line, phase, done)]
            if kept != lines:
                with _replacing(metrics) as file:
                    file.write("".join(kept).encode())

    # The end

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file of the run's own, whole or not at all; process 0 does.

        Raises
        ------
        InputError
            If the disk is full or cannot be written.
        """

        def write() -> None:
            with self.explaining(name), _replacing(self.path / name) as file:
                file.write(content)

        processes.lead(write)

    def finish(self, summarise: Callable[[], Summary]) -> None:
        """Write the arrays of figures and summary.json, then DONE.

        Parameters
        ----------
        summarise : () -> what summary.json says, and arrays as of ``results.write_arrays``. Process 0 alone calls it.
        """

        def write() -> None:
            summary, arrays = summarise()
            with self.explaining(results.RESULTS):
                results.write_arrays(self.path, arrays)
            with self.explaining("summary.json"):
                _write_json(self.path / "summary.json", summary)
                (self.path / "DONE").touch()

        processes.lead(write)


def _template(leaf: Any) -> Any:
    """Return what Orbax restores a leaf into: NumPy, unless the struct says on which devices it lies."""
    return np.zeros(leaf.shape, leaf.dtype) if getattr(leaf, "sharding", None) is None else leaf


def _is_covered(line: str, phase: str, done: int) -> bool:
    try:
        entry = json.loads(line)
        return entry["phase"] != phase or entry["chunk"] < done
    except (json.JSONDecodeError, TypeError, KeyError):
        return False  # A line cut short by a kill.


UNREADABLE = "*?[]\\"
"""What Orbax and TensorStore take for a pattern or another path."""


def open_run(experiment: str, name: str, scientific: Mapping[str, Any], run: RunConfig) -> RunDir:
    """Create the run directory of a configuration, or open it to resume.

    Parameters
    ----------
    experiment : name of the experiment, the folder below ``run.out``.
    name : readable part of the directory's name, such as ``"mlp-w_asym-digits-hmc"``.
    scientific : the fields that decide the result; they name the directory and must agree with it.
    run : where it goes.

    Raises
    ------
    InputError
        If the directory holds a finished run or one with another configuration, is in use, or cannot be written.
    """
    path = run.run_dir or run.out / experiment / f"{name}-{config_hash(scientific)}"
    scientific = json.loads(dumps(scientific))
    processes.agree("the run", {"directory": str(path), "force": run.force, "config": scientific})
    lock = processes.lead(partial(_create, path, experiment, scientific, run.force))
    mark = processes.together(partial(_mark, path))
    processes.agree(f"{path}, on a file system that all processes share,", {".lock": mark})
    return RunDir(path.absolute(), run.progress, lock, run.profile)


def _create(path: Path, experiment: str, scientific: Mapping[str, Any], force: bool) -> TextIO:
    """Make a run directory, or find it as this configuration left it, and return its lock."""
    named = str(path.absolute())
    # What is no text, of another encoding than the locale's, Python keeps as surrogates.
    if strange := sorted(one for one in set(named) if one in UNREADABLE or "\ud800" <= one <= "\udfff"):
        raise InputError(
            f"{named!r} has {' '.join(map(repr, strange))} in it, by which checkpoints cannot be read again; "
            "choose another --out or --run-dir"
        )
    record_path = path / "config.json"
    _check_is_run(path)
    if record_path.exists() and not force:
        _check_same(path, scientific)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = _locked(path)
        if force:
            _clear(path)
        if not record_path.exists():
            _write_json(record_path, {"experiment": experiment, "config": scientific, "provenance": provenance()})
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another --out or --run-dir") from error
    return lock


def _mark(path: Path) -> str:
    """Return what process 0 wrote into the lock file, by which all see that they have one directory."""
    try:
        return (path / ".lock").read_text()
    except OSError:
        raise InputError(
            f"{path} was made by process 0 and cannot be seen from here; choose an --out on a file system that all "
            "processes share"
        ) from None


def _content(path: Path) -> list[Path]:
    """Return what is in a run directory, config.json last, but for the lock."""
    entries = path.iterdir() if path.is_dir() else ()
    return sorted((entry for entry in entries if entry.name != ".lock"), key=lambda entry: entry.name == "config.json")


def _check_is_run(path: Path) -> None:
    """Refuse a directory with something in it that is no run, or one whose record is lost.

    A run begun there would go on from checkpoints of another configuration, and --force would delete what is not its.
    """
    found = [entry.name for entry in _content(path) if not entry.name.startswith(".")]
    if found and not _is_run(path):
        raise InputError(
            f"{path} is not a run directory: it holds {', '.join(found[:5])}, and no config.json of a run, so none is "
            "begun and nothing is deleted there; restore config.json, empty it, or choose another --run-dir"
        )


def _is_run(path: Path) -> bool:
    """Return whether config.json is a run's: it says so, or is damaged beside a run's lock."""
    record_path = path / "config.json"
    with suppress(InputError):
        return ((path / ".lock").exists() and record_path.exists()) or "experiment" in run_files.read_json(record_path)
    return False


def _clear(path: Path) -> None:
    """Delete the content of a run directory, but for the lock that this process holds."""
    for entry in _content(path):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _check_same(path: Path, scientific: Mapping[str, Any]) -> None:
    try:
        known = run_files.read_json(path / "config.json")["config"]
    except (InputError, KeyError) as error:
        raise InputError(
            f"{path / 'config.json'} is damaged; restore it, or begin anew with --force or another --run-dir"
        ) from error
    if changed := differences(known, scientific):
        raise InputError(
            f"{path} holds a run with another configuration; it differs in\n  " + "\n  ".join(changed) + "\n"
            "choose another --run-dir, or --force to delete that run and start again"
        )
    if (path / "DONE").exists():
        raise InputError(
            f"{path} is finished; see summary.json and results.zarr there, draw all else with "
            "runs/report.py, or --force to start again"
        )


def require_space(path: Path, num_bytes: int) -> None:
    """Refuse to start what the disk cannot hold.

    Raises
    ------
    InputError
        On every process, if fewer than ``num_bytes`` are free where ``path`` lies.
    """

    def look() -> None:
        free = shutil.disk_usage(path).free
        if free < num_bytes:
            raise InputError(
                f"{path} has {free / 1e6:,.0f} MB free, this run needs about {num_bytes / 1e6:,.0f} MB; "
                "free some space, choose another --out, keep fewer draws or --keep outputs"
            )

    processes.lead(look)
