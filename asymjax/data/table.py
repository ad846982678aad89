"""Plain tables of numbers: comma-, tab- or space-separated, with or without a header; the target is the last column."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asymjax.data.assemble import FLOAT32_MAX, checked_rows, split_at_random
from asymjax.data.files import data_folder, existing_file, read_text
from asymjax.errors import InputError
from asymjax.types import Dataset


def load(name: str, data_dir: str | Path | None, data_seed: int) -> Dataset:
    """Load ``"table/FILE"`` as regression, split at random; see :func:`asymjax.data.load`."""
    path = existing_file(data_folder(name, data_dir), name.removeprefix("table/"))
    return load_table(name, path, data_seed)


def load_table(name: str, path: Path, data_seed: int, dropped: Sequence[str] = ()) -> Dataset:
    """Load a table as regression, split at random.

    Parameters
    ----------
    name : the dataset's name.
    path : the file.
    data_seed : decides the split; 0 or more.
    dropped : header names of columns that are not features.

    Raises
    ------
    InputError
        For what :func:`read_table` refuses, and for fewer than two columns.
    """
    table = read_table(path, dropped)
    if table.shape[1] < 2:
        raise InputError(f"{path}: {table.shape[1]} column, expected at least one feature and the target")
    return split_at_random(name, checked_rows(path, table[:, :-1], table[:, -1:]), (), data_seed)


def read_table(path: Path, dropped: Sequence[str] = ()) -> np.ndarray:
    """Read a table of numbers.

    The first line is a header if none of its fields is a number. Empty lines are skipped.

    Parameters
    ----------
    path : the file.
    dropped : header names of columns to leave out; these may hold anything.

    Returns
    -------
    float64 [rows, columns]

    Raises
    ------
    InputError
        For no rows, a line with another number of fields than the first, or a field that is not a finite number, with
        its line and column (both from 1); for a name in ``dropped`` that the header lacks.
    """
    records = _read_records(path)
    header = records.pop(0)[1] if records and not any(map(_is_number, records[0][1])) else []
    if missing := set(dropped) - set(header):
        raise InputError(f"{path}: expected a header with {', '.join(sorted(missing))}, got {header or 'no header'}")
    if not records:
        raise InputError(f"{path}: no rows of numbers")
    first = header or records[0][1]
    kept = [column for column, name in enumerate(first) if name not in dropped]
    for line, fields in records:
        if len(fields) != len(first):
            raise InputError(f"{path}, line {line}: {len(fields)} fields, expected {len(first)} as in the first line")
    return np.array([[_number(path, line, column, fields[column]) for column in kept] for line, fields in records])


def _read_records(path: Path) -> list[tuple[int, list[str]]]:
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line]
    delimiter = next((mark for mark in ",\t" if lines and mark in lines[0][1]), None)
    return [(number, line.split(delimiter)) for number, line in lines]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _number(path: Path, line: int, column: int, field: str) -> float:
    number = float(field) if _is_number(field) else math.nan
    if not abs(number) <= FLOAT32_MAX:
        raise InputError(f"{path}, line {line}, column {column + 1}: expected a finite float32 number, got {field!r}")
    return number


def read_index(path: Path, first: int, bound: int) -> np.ndarray:
    """Read a file of row or column numbers, int64 [numbers], from ``first`` up to but not including ``bound``.

    Raises
    ------
    InputError
        For a number that is out of range, not whole, or repeated.
    """
    index = read_table(path).ravel()
    bad = index[(index != np.floor(index)) | (index < first) | (index >= bound)]
    if len(bad):
        raise InputError(f"{path}: index {bad[0]:g}, expected a whole number from {first} to {bound - 1}")
    values, counts = np.unique(index, return_counts=True)
    if len(values) < len(index):
        raise InputError(f"{path}: index {values[counts > 1][0]:g} appears more than once")
    return index.astype(np.int64)
