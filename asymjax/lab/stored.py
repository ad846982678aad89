"""Rows of a stored array that are read when they are asked for, so that no more than these are in memory.

A file of :mod:`asymjax.lab.results` holds consecutive rows as they are in memory, and then a checksum. Some of its rows
are read at their places, without the others; that none is damaged is known before, since all files are read once.
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from asymjax.errors import InputError
from asymjax.lab.results import CODECS, REMEDY, RESULTS, Strict, naming_damage
from asymjax.tree_paths import unflatten


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Rows of a stored array; an index of the leading axis reads them. No tree: one leaf of one.

    Attributes
    ----------
    folder : of the array's files.
    array : the whole array, of zarr.
    rows : int [row], which of its rows these are.
    """

    folder: Path
    array: Any
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape."""
        return (len(self.rows), *self.array.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of an entry."""
        return self.array.dtype

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def select(self, index: np.ndarray) -> "StoredRows":
        """Return some of the rows, of which nothing is read."""
        return replace(self, rows=self.rows[index])

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        """Read the rows of a slice, or of places int [row].

        Raises
        ------
        InputError
            If a file is lost or too short.
        """
        rows = self.rows[index]
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        length, num_bytes = self.array.chunks[0], found.itemsize * int(np.prod(self.shape[1:]))
        # Where rows do not follow one another in one file, another read begins.
        starts = np.flatnonzero((np.diff(rows, prepend=-2) != 1) | (rows % length == 0))
        with ExitStack() as stack:
            files: dict[int, Any] = {}
            for start, end in zip(starts, [*starts[1:], len(rows)], strict=False):
                chunk, first = divmod(int(rows[start]), length)
                if chunk not in files:
                    files[chunk] = stack.enter_context(self._open(chunk))
                files[chunk].seek(first * num_bytes)
                self._fill(files[chunk], found[start:end])
        return found

    def _open(self, chunk: int) -> Any:
        path = self.folder / self.array.metadata.encode_chunk_key((chunk, *(0 for _ in self.shape[1:])))
        try:
            return open(path, "rb", buffering=0)
        except FileNotFoundError:
            raise InputError(f"{path} is not there: it is lost; {REMEDY}") from None

    def _fill(self, file: Any, rows: np.ndarray) -> None:
        """Read what comes next in a file into rows."""
        if rows.size and file.readinto(rows.reshape(-1).view(np.uint8)) < rows.nbytes:
            raise InputError(f"{file.name} is too short; {REMEDY}")


def stored_tree(run_dir: Path, group: str, prefix: str) -> dict[str, Any]:
    """Return the tree of the arrays of a group whose names begin with a prefix, leaves :class:`StoredRows`.

    As ``results.tree_of``; each file is read once, to compare its checksum, and then let go.

    Raises
    ------
    InputError
        If a file is lost or damaged, or they are not stored as this version stores them, so that rows cannot be read by
        themselves.
    """
    path = run_dir / RESULTS
    with naming_damage(path / group):
        arrays = dict(zarr.open_group(Strict(path, read_only=True), path=group, mode="r").arrays())
    leaves = {
        name.removeprefix(prefix).replace(".", "/"): _rows_of(path / group / name, array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    return unflatten(leaves)


def _rows_of(folder: Path, array: Any) -> StoredRows:
    """Return all rows of an array whose files hold them one after the other, and are not damaged."""
    first, *others = array.metadata.codecs
    is_little = getattr(getattr(first, "endian", None), "value", sys.byteorder) == sys.byteorder
    if tuple(others) != CODECS or not is_little or array.chunks[1:] != array.shape[1:]:
        raise InputError(
            f"{folder} is compressed or cut otherwise than runs write it, so that networks cannot be read one by one; "
            "give the directory as the run left it"
        )
    for start in range(0, array.shape[0], array.chunks[0]):
        with naming_damage(folder):
            array[start : start + array.chunks[0]]
    return StoredRows(folder, array, np.arange(array.shape[0]))
