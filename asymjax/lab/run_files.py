"""The JSON of run directories, written and read. Imports no JAX, so that reports start at once."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from asymjax.errors import InputError


def to_json(value: Any) -> Any:
    """Return dataclasses, paths, tuples and arrays as what JSON can hold; numbers that are not finite are None."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_json(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if hasattr(value, "tolist"):
        return to_json(value.tolist())  # NumPy's and JAX's.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def dumps(value: Any, **form: Any) -> str:
    """Write as strict JSON what :func:`to_json` takes; ``form`` as of ``json.dumps``."""
    return json.dumps(to_json(value), allow_nan=False, **form)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file of a run directory.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; is {path.parent} a run directory, and is its run finished?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it holds a {type(content).__name__}, no object with names")
    return content


def metrics_file(process: int) -> str:
    """Return the name of the file with the metrics of one process of a run."""
    return "metrics.jsonl" if process == 0 else f"metrics.p{process}.jsonl"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run directory, one entry a chunk.

    What a chunk's processes wrote is put together: lists, which have an entry a network or chain, one after the other;
    all else is of process 0.

    Raises
    ------
    InputError
        If a line is no entry, or one that is there already; its file and number are named.
    """
    processes = [0, *sorted(int(file.name.split(".")[1][1:]) for file in path.glob("metrics.p*.jsonl"))]
    chunks: dict[tuple[str, int], dict[str, Any]] = {}
    for process in processes:
        seen = set[tuple[str, int]]()
        for number, line in enumerate(_read_lines(path / metrics_file(process)), 1):
            place = line["phase"], line["chunk"]
            if place in seen:
                file = path / metrics_file(process)
                raise InputError(f"{file}, line {number} repeats chunk {place[1] + 1} of {place[0]}; restore the file")
            seen.add(place)
            whole = chunks.setdefault(place, line)
            if whole is not line:
                whole |= {name: whole[name] + part for name, part in line.items() if isinstance(part, list)}
    return list(chunks.values())


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Return the entries of a file of metrics, one a line."""
    if not path.exists():
        raise InputError(f"{path} does not exist; restore the file, or begin anew with --force")
    for number, text in enumerate(path.read_text(errors="replace").splitlines(), 1):
        try:
            line = json.loads(text)
            line["phase"], line["chunk"]
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise InputError(f"{path}, line {number} is damaged ({text[:40]!r}); restore the file") from error
        yield line
