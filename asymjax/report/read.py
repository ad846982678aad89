"""From a run directory to what figures and tables need of it."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from asymjax.errors import InputError
from asymjax.lab import results, run_files

RECORD = {"experiment": str, "config": dict, "provenance": dict}


def read_each(paths: Iterable[Path], read: Callable[[Path], Any]) -> list[Any]:
    """Read run directories.

    Raises
    ------
    InputError
        If any cannot be read; the message names every one of them.
    """
    runs, errors = [], []
    for path in paths:
        try:
            with naming_edits(path):
                runs.append(read(path))
        except InputError as error:
            errors.append(str(error))
    if errors:
        raise InputError("\n  ".join(errors))
    return runs


@contextmanager
def naming_edits(path: Path) -> Iterator[None]:
    """Turn what an entry raises that is not there, or not what was written, into an InputError that names the run."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: its config.json or summary.json is edited, or of another version ({type(error).__name__}: "
            f"{error}); restore them, or run its command again with --force"
        ) from error


def read_record(path: Path) -> dict[str, Any]:
    """Read config.json of a finished run.

    Raises
    ------
    InputError
        If it is not a run directory, its run is not finished, or an entry is not what it was.
    """
    if not (path / "config.json").is_file():
        raise InputError(f"{path} is not a run directory: there is no config.json in it")
    record = read_required(run_files.read_json, path / "config.json", *RECORD)
    if wrong := [name for name, kind in RECORD.items() if not isinstance(record[name], kind)]:
        raise InputError(f"{path / 'config.json'} is damaged: {wrong[0]} is {record[wrong[0]]!r}; restore it")
    if not (path / "DONE").exists():
        with naming_edits(path):
            command = shlex.join(record["provenance"]["command"])
        raise InputError(f"{path} is not finished (there is no DONE); run its command again to go on: {command}")
    return record


def read_required(read: Callable[[Path], dict[str, Any]], path: Path, *names: str) -> dict[str, Any]:
    """Read a file, and require what must be in it."""
    content = read(path)
    if missing := [name for name in names if name not in content]:
        raise InputError(f"{path} lacks {', '.join(missing)}; was it written by this version?")
    return content


def as_numbers(values: Any) -> np.ndarray:
    """Return numbers of a summary as float64; NaN where it has none, since JSON knows no other than finite numbers."""
    return np.asarray(values, np.float64)


def read_results(path: Path, group: str, *names: str) -> dict[str, np.ndarray]:
    """Read the arrays below a group of a run's results, ``"predictions/"``, and require what must be there.

    Returns
    -------
    Arrays by their path below the group.

    Raises
    ------
    InputError
        If one of ``names`` is not there, or a file is lost or damaged.
    """
    found = {name.removeprefix(group): array for name, array in results.read_arrays(path, group).items()}
    return read_required(lambda _: found, path / results.RESULTS / group, *names)


def labels(runs: Sequence[Any]) -> list[str]:
    """Name each run by its method and by the settings that set these runs apart: ``"w_asym, num_draws 200"``."""
    settings = [{name: v for group in run.record["config"].values() for name, v in group.items()} for run in runs]
    varying = [name for name in settings[0] if any(other.get(name) != settings[0][name] for other in settings)]
    return [", ".join([setting["arch"], *_told(setting, varying)]) for setting in settings]


def _told(setting: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Write named settings in words; not the method, nor what is left to its default."""
    values = {name: setting.get(name) for name in names if name != "arch"}
    words = {name: "-".join(map(str, value)) if isinstance(value, list) else value for name, value in values.items()}
    return [f"{name} {word}" for name, word in words.items() if word not in (None, "")]
