"""Reading run directories back. Imports no JAX, so that reports start at once."""

import json
from collections.abc import Iterator
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
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; is {path.parent} a run directory, and is its run finished?") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is damaged: {error}") from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl of a run directory."""
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays of an .npz file.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; is its run finished?") from None
    except Exception as error:  # NumPy raises many kinds for damaged archives.
        raise InputError(f"{path} is damaged: {error}") from error


def read_chunks(path: Path) -> Iterator[dict[str, np.ndarray]]:
    """Yield the committed chunks of draws of a run directory in order, arrays [chain, draw, ...]."""
    files = sorted((path / "draws").glob("chunk-*.npz"))
    if not files:
        raise InputError(f"{path / 'draws'} holds no draws")
    yield from map(read_arrays, files)


def read_draws(path: Path, *prefixes: str) -> dict[str, np.ndarray]:
    """Return the draws whose names begin with one of ``prefixes``, [chain, draw, ...] over all chunks."""
    chunks = [
        {name: array for name, array in chunk.items() if name.startswith(prefixes)} for chunk in read_chunks(path)
    ]
    return {name: np.concatenate([chunk[name] for chunk in chunks], axis=1) for name in chunks[0]}
