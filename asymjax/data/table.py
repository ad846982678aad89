"""Plain tables: separated by commas, semicolons, tabs or spaces, quoted or not, with or without a header."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from asymjax.data.assemble import FLOAT32_MAX, checked_rows, split_at_random
from asymjax.data.files import data_folder, existing_file, read_text
from asymjax.errors import InputError
from asymjax.settings import Settings
from asymjax.types import Dataset

MISSING = frozenset({"", "na", "n/a", "null", "none", "nan", "?"})
"""What stands for a missing value, in small letters."""


@dataclass(frozen=True)
class TableConfig(Settings):
    """How a table of one's own, table/FILE, is read."""

    target: str = ""
    """Column of the target: its name in the header, or its number from 1. Default: the last one."""
    task: Literal["auto", "regression", "classification"] = "auto"
    """What the target is; auto takes a column of words for classes, and one with a number in it for a regression."""
    header: Literal["auto", "yes", "no"] = "auto"
    """Whether the first line names the columns; auto takes it for names if none of its cells is a number, and one of
    them is no missing value."""
    drop: tuple[str, ...] = ()
    """Columns to leave out, by name or number; they may hold anything. A first column without a name in the header, as
    pandas writes its index, is left out in any case."""


class Table(NamedTuple):
    """The cells of a file.

    Attributes
    ----------
    path : the file.
    header : names of the columns; empty where there is no header.
    records : line, from 1, and cells of each row.
    """

    path: Path
    header: list[str]
    records: list[tuple[int, list[str]]]

    @property
    def num_columns(self) -> int:
        """Columns, named or not."""
        return len(self.header or self.records[0][1])

    def column(self, name: str) -> int:
        """Return the column of a name in the header, or of a number from 1.

        Raises
        ------
        InputError
            If there is none.
        """
        if name in self.header:
            return self.header.index(name)
        if name.isdecimal() and 1 <= int(name) <= self.num_columns:
            return int(name) - 1
        names = f"the header has {', '.join(self.header)}" if self.header else "there is no header"
        raise InputError(f"{self.path}: no column {name!r}; {names}, and numbers go from 1 to {self.num_columns}")

    def numbers(self, columns: Sequence[int]) -> np.ndarray:
        """Return columns as float64 [rows, columns].

        Raises
        ------
        InputError
            If a cell is not a finite float32 number; its line and column, both from 1, are named.
        """
        rows = [[_number(self.path, line, column, cells[column]) for column in columns] for line, cells in self.records]
        return np.array(rows).reshape(len(rows), len(columns))


def load(name: str, data_dir: str | Path | None, data_seed: int, config: TableConfig = TableConfig()) -> Dataset:
    """Load ``"table/FILE"``, split at random; see :func:`asymjax.data.load`."""
    path = existing_file(data_folder(name, data_dir), name.removeprefix("table/"))
    return load_table(name, path, data_seed, config)


def load_table(name: str, path: Path, data_seed: int, config: TableConfig = TableConfig()) -> Dataset:
    """Load a table, split at random.

    Parameters
    ----------
    name : the dataset's name.
    path : the file.
    data_seed : decides the split; 0 or more.
    config : how it is read.

    Raises
    ------
    InputError
        For what :func:`read_cells` refuses, a column that is not there, fewer than two columns, a feature or a target
        of a regression that is not a finite number, and a missing or single class.
    """
    table = read_cells(path, config.header)
    dropped = {table.column(one) for one in config.drop} | ({0} if table.header and not table.header[0] else set())
    kept = [column for column in range(table.num_columns) if column not in dropped]
    target = table.column(config.target) if config.target else kept[-1] if kept else -1
    features = [column for column in kept if column != target]
    if not features or target in dropped:
        raise InputError(f"{path}: {len(kept)} column, expected at least one feature and the target")
    inputs, cells = table.numbers(features), [record[target] for _, record in table.records]
    if config.task == "regression" or (config.task == "auto" and any(map(_is_number, cells))):
        return split_at_random(name, checked_rows(path, inputs, table.numbers([target])), (), data_seed)
    classes = _classes(table, target)
    labels = np.array([classes.index(cell) for cell in cells])
    return split_at_random(name, checked_rows(path, inputs, labels, len(classes)), classes, data_seed)


def _classes(table: Table, target: int) -> list[str]:
    """Return the names of the classes in a column, in the order of numbers or letters."""
    for line, cells in table.records:
        if cells[target].lower() in MISSING:
            raise InputError(f"{table.path}, line {line}, column {target + 1}: expected a class, got {cells[target]!r}")
    found = {cells[target] for _, cells in table.records}
    is_numbers = all(map(_is_number, found))
    classes = sorted(found, key=float if is_numbers else str)
    if is_numbers and len(set(map(float, found))) < len(found):
        first, second = next(pair for pair in pairwise(classes) if float(pair[0]) == float(pair[1]))
        raise InputError(
            f"{table.path}: column {target + 1} has {first!r} and {second!r}, one number; write one of them"
        )
    if len(classes) < 2:
        raise InputError(f"{table.path}: column {target + 1} has one class, {classes[0]!r}; expected two or more")
    return classes


def read_table(path: Path, dropped: Sequence[str] = ()) -> np.ndarray:
    """Read a table of numbers.

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
        For what :func:`read_cells` refuses, a cell that is not a finite number, and a name in ``dropped`` that the
        header lacks.
    """
    table = read_cells(path)
    left_out = {table.column(name) for name in dropped}
    return table.numbers([column for column in range(table.num_columns) if column not in left_out])


def read_cells(path: Path, header: Literal["auto", "yes", "no"] = "auto") -> Table:
    """Read the cells of a table, without the space around them. Empty lines are skipped.

    Parameters
    ----------
    path : the file.
    header : as of :class:`TableConfig`.

    Raises
    ------
    InputError
        For no rows, a name that stands twice in the header, or a line with another number of cells than the first.
    """
    records = _read_records(path)
    if not records or (len(records) == 1 and header != "no" and _is_header(records[0][1])):
        raise InputError(f"{path}: no rows of numbers")
    names = records.pop(0)[1] if header == "yes" or (header == "auto" and _is_header(records[0][1])) else []
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path}: the header has {twice[0]!r} twice; give each column a name of its own")
    table = Table(path, names, records)
    if not records:
        raise InputError(f"{path}: no rows below the header")
    for line, cells in records:
        if len(cells) != table.num_columns:
            raise InputError(
                f"{path}, line {line}: {len(cells)} fields, expected {table.num_columns} as in the first line"
            )
    return table


def _read_records(path: Path) -> list[tuple[int, list[str]]]:
    lines = read_text(path).split("\n")
    first = next((line for line in lines if line.strip()), "")
    mark = next((mark for mark in ",;\t" if mark in first), None)
    rows = [(number, _cells(path, number, line, mark)) for number, line in enumerate(lines, start=1)]
    return [(number, cells) for number, cells in rows if cells and cells != [""]]


def _cells(path: Path, number: int, line: str, mark: str | None) -> list[str]:
    """Return the cells of one line: a cell ends on its line, or a lost quote would take all that follows with it."""
    if "\0" in line:
        raise InputError(f"{path}, line {number}: zero bytes; is it a text file, and whole?")
    if mark is None:
        return line.split()
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=mark, skipinitialspace=True, strict=True))]
    except csv.Error as error:
        raise InputError(
            f"{path}, line {number}: {error}; close the quotes of each cell on its line, and double those inside"
        ) from error


def _is_header(cells: Sequence[str]) -> bool:
    return not any(map(_is_number, cells)) and any(cell.lower() not in MISSING for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _number(path: Path, line: int, column: int, cell: str) -> float:
    number = float(cell) if _is_number(cell) else math.nan
    if not abs(number) <= FLOAT32_MAX:
        raise InputError(f"{path}, line {line}, column {column + 1}: expected a finite float32 number, got {cell!r}")
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
