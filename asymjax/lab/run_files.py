"""Reading run directories back. Imports no JAX, so that reports start at once."""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from asymjax.errors import InputError


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
    all else as process 0 says.
    """
    processes = [0, *sorted(int(file.name.split(".")[1][1:]) for file in path.glob("metrics.p*.jsonl"))]
    chunks: dict[tuple[str, int], dict[str, Any]] = {}
    for process in processes:
        for line in map(json.loads, (path / metrics_file(process)).read_text().splitlines()):
            whole = chunks.setdefault((line["phase"], line["chunk"]), line)
            if whole is not line:
                whole |= {name: whole[name] + part for name, part in line.items() if isinstance(part, list)}
    return list(chunks.values())


def read_arrays(path: Path, *prefixes: str) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file whose names begin with one of ``prefixes``; all of them where none is given.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    try:
        with open(path, "rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in arrays if name.startswith(prefixes or "")}
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; is its run finished?") from None
    except Exception as error:  # NumPy raises many kinds for damaged archives.
        raise InputError(f"{path} is damaged: {error}") from error


def read_chunks(path: Path, *prefixes: str) -> Iterator[dict[str, np.ndarray]]:
    """Yield the committed chunks of draws of a run directory in order, arrays [chain, draw, ...].

    Parameters
    ----------
    path : the run directory.
    prefixes : read only arrays whose names begin with one of these; all of them where none is given.

    Raises
    ------
    InputError
        If there are no draws, or a file is damaged.
    """
    files = sorted((path / "draws").glob("chunk-*.p*.npz"), key=_chunk_and_process)
    if not files:
        raise InputError(f"{path / 'draws'} holds no draws")
    for _, group in groupby(files, key=lambda file: _chunk_and_process(file)[0]):
        parts = [read_arrays(file, *prefixes) for file in group]
        yield {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _chunk_and_process(file: Path) -> tuple[int, int]:
    """Return both numbers in ``chunk-00012.p3.npz``; each process holds its own chains."""
    chunk, process = file.stem.removeprefix("chunk-").split(".p")
    return int(chunk), int(process)


def read_draws(path: Path, *prefixes: str) -> dict[str, np.ndarray]:
    """Return the draws whose names begin with one of ``prefixes``, [chain, draw, ...] over all chunks."""
    chunks = list(read_chunks(path, *prefixes))
    return {name: np.concatenate([chunk[name] for chunk in chunks], axis=1) for name in chunks[0]}
