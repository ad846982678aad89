"""The store of a sweep of networks: one array a variable, a row a network, in zarr. Imports no JAX.

    RUN_DIR/networks.zarr/{seed, failed_step, train.loss, test.accuracy, position.dense_0.kernel, ...}

Rows are written in rounds, in any order and by several processes, and rounds again after a kill. Rows that are not
there yet are NaN, or -2 where they are integers; ``failed_step`` tells: -2 not trained yet, -1 trained, k the first
step whose loss was not finite. ``xarray.open_zarr(path, chunks=None)`` opens a store too.
"""

import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np
import xarray
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing
from zarr.codecs import Crc32cCodec

from asymjax.errors import InputError
from asymjax.tree_paths import differences, flatten, unflatten

STORE = "networks.zarr"
FORMAT = 1
NOT_TRAINED = -2
AXIS, RUN = "network", "run"
# Trained weights are noise that compression makes 7 to 10 % smaller and half as fast to read; a checksum finds damage.
CODECS = (Crc32cCodec(),)
KEEP_EMPTY: Any = {"write_empty_chunks": True}  # Else a file that is lost would read as one that was never written.
REMEDY = "copy it anew, or train that sweep again with --force"


# Writing ---------------------------------------------------------------------------------------------------------


def create_store(
    path: Path,
    count: int,
    chunk: int,
    variables: Mapping[str, tuple[tuple[int, ...], Any]],
    coordinates: Mapping[str, np.ndarray],
    identity: str,
) -> None:
    """Create the store of a sweep, or make sure that the one there is of this sweep.

    A kill leaves nothing at ``path`` (maybe a hidden directory beside it) or a whole store, without networks. Several
    processes may call this at once: the first to finish wins, the others compare.

    Parameters
    ----------
    path : the store, such as ``RUN_DIR / STORE``; its parent exists.
    count : number of networks, at least 1.
    chunk : networks a file, at least 1; a store that is there keeps its own.
    variables : name -> (shape of one network's value, dtype): floats, filled with NaN, or signed integers, with -2.
    coordinates : name -> what is known of every network beforehand [network], numbers or strings.
    identity : what decides the networks, such as a hash of the configuration; compared as it is.

    Raises
    ------
    InputError
        If the store there is of another sweep, damaged or no such store, or names, shapes or dtypes cannot be stored.
    OSError
        If it cannot be written.
    """
    coordinates = {name: _storable(values) for name, values in coordinates.items()}
    _require_storable(count, chunk, variables, coordinates)
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            _write_empty(temporary, count, min(chunk, count), variables, coordinates, identity)
            _sync(file for file in temporary.rglob("*") if file.is_file())
            temporary.rename(path)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            if not path.exists():  # Else another process was faster.
                raise
    _require_same(path, _record(count, variables, coordinates, identity), coordinates)


def _storable(values: np.ndarray) -> np.ndarray:
    """Return strings, of any of NumPy's three kinds, in the one that zarr's format knows."""
    values = np.asarray(values)
    return values.astype(np.dtypes.StringDType()) if values.dtype.kind in "UOT" else values


def _require_storable(count: int, chunk: int, variables: Mapping, coordinates: Mapping[str, np.ndarray]) -> None:
    if count < 1 or chunk < 1:
        raise InputError(f"a store of {count} networks in chunks of {chunk}; both have to be at least 1")
    for name in [*variables, *coordinates]:
        is_twice = name in variables and name in coordinates
        if not re.fullmatch(r"[a-zA-Z0-9][\w.-]*", name) or name in (AXIS, RUN) or is_twice:
            raise InputError(
                f"{name!r} cannot be stored; names are letters, digits, dots, dashes and underscores, with a letter or "
                f"digit first, are not {AXIS!r} or {RUN!r}, and belong to a variable or to a coordinate"
            )
    for name, values in coordinates.items():
        if values.shape != (count,):
            raise InputError(
                f"coordinate {name} has shape {values.shape}, for {count} networks it has to be ({count},)"
            )
    for name, (_, dtype) in variables.items():
        if np.dtype(dtype).kind not in "fi":
            raise InputError(f"{name} is {np.dtype(dtype)}, but only floats and signed integers are stored")


def _write_empty(
    path: Path, count: int, chunk: int, variables: Mapping, coordinates: Mapping[str, np.ndarray], identity: str
) -> None:
    # "coordinates" is where xarray looks for their names.
    attributes = {"format": FORMAT, "count": count, "identity": identity, "coordinates": " ".join(sorted(coordinates))}
    group = zarr.create_group(path, zarr_format=3, attributes=attributes)
    for name, (tail, dtype) in variables.items():
        group.create_array(
            name,
            shape=(count, *tail),
            chunks=(chunk, *(max(size, 1) for size in tail)),
            dtype=np.dtype(dtype),
            fill_value=np.nan if np.dtype(dtype).kind == "f" else NOT_TRAINED,
            compressors=CODECS,
            dimension_names=(AXIS, *(f"{name}.axis_{axis}" for axis in range(1, len(tail) + 1))),
        )
    for name, values in coordinates.items():
        group.create_array(
            name,
            data=values,
            chunks=(count,),
            dimension_names=(AXIS,),
            config=KEEP_EMPTY,
        )
    with warnings.catch_warnings():  # All metadata in one file is an extension of the format, which xarray asks for.
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        zarr.consolidate_metadata(path)


def _require_same(path: Path, new: Mapping[str, Any], coordinates: Mapping[str, np.ndarray]) -> None:
    group = _open(path)
    known = _coordinates(path, group)
    variables = {name: (array.shape[1:], array.dtype) for name, array in _variables(group).items()}
    changed = differences(_record(_count(group), variables, known, str(group.attrs["identity"])), new)
    for name in sorted(coordinates.keys() & known.keys()):
        changed += _differing_rows(name, known[name], coordinates[name])
    if changed:
        raise InputError(
            f"{path} is the store of another sweep; it differs in\n  " + "\n  ".join(changed) + "\n"
            "choose another --run-dir, or --force to delete that run and start again"
        )


def _record(
    count: int, variables: Mapping[str, tuple], coordinates: Mapping[str, np.ndarray], identity: str
) -> dict[str, Any]:
    """Return what two stores of one sweep have in common, but for the values of the coordinates."""
    return {
        "count": count,
        "identity": identity,
        "variables": {name: f"{np.dtype(dtype)} {list(tail)}" for name, (tail, dtype) in variables.items()},
        "coordinates": {name: str(values.dtype) for name, values in coordinates.items()},
    }


def _differing_rows(name: str, old: np.ndarray, new: np.ndarray) -> list[str]:
    if len(old) != len(new) or old.dtype != new.dtype:
        return []  # Told already.
    rows = np.flatnonzero((old != new) & ((old == old) | (new == new)))
    if not len(rows):
        return []
    first = rows[0]
    return [f"{name}: at {len(rows)} of {len(new)} networks, first at network {first}: {old[first]} -> {new[first]}"]


def write_networks(path: Path, start: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Write some variables of the networks ``start``, ``start + 1``, ...; writing again what is there changes nothing.

    zarr (3.1.3 and later) writes a chunk's file whole under a temporary name and renames it: whatever happens, a file
    holds the rows from before or those from after, and after a kill some files may hold the first, some the second,
    and a ``*.partial`` may be left that nothing reads. When this returns, the rows are on the disk. ``failed_step`` is
    written last, so a network that it calls trained has all that was written with it. A file that is written in part
    is read first: two processes must not write to one at the same time (see :func:`shares_chunks`).

    Parameters
    ----------
    path : the store.
    start : the first network.
    arrays : name -> [networks, ...], of the shapes and dtypes that the store was created with.

    Raises
    ------
    InputError
        If a name, shape, dtype or row does not fit, or a file that has to be read is damaged.
    OSError
        If it cannot be written, as when the disk is full; files that were there stay whole.
    """
    group = _open(path, "r+")
    variables = _variables(group)
    arrays = {name: np.asarray(values) for name, values in arrays.items()}
    _require_fit(path, variables, start, arrays)
    last = {"failed_step"} & arrays.keys()
    for names in (arrays.keys() - last, last):
        written: list[Path] = []
        for name in sorted(names):
            stop = start + len(arrays[name])
            with _naming_damage(path / name):
                variables[name].with_config(KEEP_EMPTY)[start:stop] = arrays[name]
            written += _files(path / name, variables[name], start, stop)
        _sync(written)


def _require_fit(path: Path, variables: Mapping[str, Any], start: int, arrays: Mapping[str, np.ndarray]) -> None:
    for name, values in arrays.items():
        if name not in variables:
            raise InputError(f"{path} has no variable {name!r}, choose from {', '.join(variables)}")
        array = variables[name]
        if values.shape[1:] != array.shape[1:] or values.dtype != array.dtype or not values.ndim:
            raise InputError(
                f"{name} is {values.dtype} {list(values.shape)}, but {path} holds {array.dtype} "
                f"{list(array.shape)}, a row a network"
            )
        if not 0 <= start <= start + len(values) <= array.shape[0]:
            raise InputError(f"{name}: networks {start} to {start + len(values) - 1}, but {path} has {array.shape[0]}")
    if len({len(values) for values in arrays.values()}) > 1:
        lengths = ", ".join(f"{name} {len(values)}" for name, values in arrays.items())
        raise InputError(f"variables of one write have different numbers of networks: {lengths}")


def _files(folder: Path, array: Any, start: int, stop: int) -> list[Path]:
    """Return the files of some rows, whether they are there or not."""
    chunk = array.chunks[0]
    return [_file(folder, array, index) for index in range(start // chunk, -(-stop // chunk))]


def _file(folder: Path, array: Any, index: int) -> Path:
    return folder / array.metadata.encode_chunk_key((index, *(0 for _ in array.shape[1:])))


def _sync(files: Iterable[Path]) -> None:
    """Wait until files are on the disk; for all at once, which takes hardly longer than for one."""

    def sync(file: Path) -> None:
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(sync, files):
            pass  # Raises what a thread raised.


def shares_chunks(path: Path, boundaries: Sequence[int]) -> bool:
    """Return whether rows of two processes lie in one file, so that they have to write in turn.

    Parameters
    ----------
    path : the store.
    boundaries : the networks with which the rows of a process begin or end.
    """
    return any(
        boundary % array.chunks[0] != 0
        for array in _variables(_open(path)).values()
        for boundary in boundaries
        if boundary < array.shape[0]
    )


# Reading ---------------------------------------------------------------------------------------------------------


def read_networks(path: Path, *names: str) -> xarray.Dataset:
    """Return networks as a dataset with the dimension ``network``, whose variables are read when they are asked for.

    Coordinates are read at once. Variables are read anew whenever their values are asked for; ``.load()`` keeps them.

    A directory of run directories (a grid) is one dataset: networks of one run after those of another, in the order of
    the directories' names, which are the coordinate ``run``; coordinates and variables that all runs have, with the
    same shapes and dtypes.

    Parameters
    ----------
    path : a store, a run directory, or a directory whose sub-directories are run directories.
    names : names of variables, or what they begin with, such as ``"position."``; all of them where none is given.

    Returns
    -------
    Dataset; its attributes hold ``count``, ``num_done`` (networks that are trained, failed ones included; the rows of
    the others are NaN or -2) and, of a single run, ``identity``.

    Raises
    ------
    InputError
        If there is no store, a name is unknown or has different shapes in a grid, or a file is damaged: that one also
        when values are asked for.
    """
    stores = _stores(path)
    groups = [_open(store) for store in stores]
    columns = _shared(stores, [_variables(group) for group in groups])
    data: dict[str, Any] = {
        name: xarray.Variable(rows.dimensions, indexing.LazilyIndexedArray(rows))
        for name, rows in _chosen(path, columns, names).items()
    }
    counts = [_count(group) for group in groups]
    attributes: dict[str, Any] = {"count": sum(counts)}
    if failed_step := columns.get("failed_step"):
        failed = failed_step.read((slice(None),))
        attributes["num_done"] = int(np.sum(failed != NOT_TRAINED))
    known = [_coordinates(store, group) for store, group in zip(stores, groups, strict=True)]
    shared = [name for name in known[0] if all(name in coordinates for coordinates in known)]
    coordinates = {name: np.concatenate([_plain(of_store[name]) for of_store in known]) for name in shared}
    if _is_grid(path):
        coordinates[RUN] = np.repeat([store.parent.name for store in stores], counts)
    else:
        attributes["identity"] = groups[0].attrs["identity"]
    return xarray.Dataset(data, {name: (AXIS, values) for name, values in coordinates.items()}, attributes)


def _is_grid(path: Path) -> bool:
    return not (path / "zarr.json").exists() and not (path / STORE).exists()


def _stores(path: Path) -> list[Path]:
    if not _is_grid(path):
        return [path if (path / "zarr.json").exists() else path / STORE]
    stores = sorted(path.glob(f"*/{STORE}"))
    if not stores:
        raise InputError(
            f"{path} holds no networks: it is no store, and neither it nor its sub-directories hold {STORE}; is it the "
            "run directory of a sweep, and did its training begin?"
        )
    return stores


def _open(path: Path, mode: Literal["r", "r+"] = "r") -> zarr.Group:
    try:
        group = zarr.open_group(path, mode=mode)
    except FileNotFoundError:
        raise InputError(
            f"{path} is no store of networks (no zarr.json); give a sweep whose training began, or {REMEDY}"
        ) from None
    except OSError:
        raise
    except Exception as error:  # zarr raises many kinds for damaged files.
        raise InputError(f"{path / 'zarr.json'} is damaged ({error}); {REMEDY}") from error
    if group.attrs.get("format") != FORMAT:
        raise InputError(
            f"{path} is no store of networks of this version: its format is {group.attrs.get('format')!r}, expected "
            f"{FORMAT}; give a run directory of this version, or open it with xarray.open_zarr"
        )
    if missing := [name for name in ("count", "identity", "coordinates") if name not in group.attrs]:
        raise InputError(f"{path / 'zarr.json'} is damaged (it lacks {', '.join(missing)}); {REMEDY}")
    return group


def _count(group: zarr.Group) -> int:
    return int(group.attrs["count"])  # type: ignore[arg-type]


def _variables(group: zarr.Group) -> dict[str, Any]:
    known = str(group.attrs["coordinates"]).split()
    return {name: array for name, array in sorted(group.arrays()) if name not in known}


def _coordinates(path: Path, group: zarr.Group) -> dict[str, np.ndarray]:
    coordinates: dict[str, np.ndarray] = {}
    for name in str(group.attrs["coordinates"]).split():
        with _naming_damage(path / name):
            array: Any = group[name]
            if not all(file.exists() for file in _files(path / name, array, 0, array.shape[0])):
                raise ValueError("its file is not there")
            coordinates[name] = np.asarray(array[:])
    return coordinates


def _plain(values: np.ndarray) -> np.ndarray:
    """Return strings as NumPy's of a fixed length, which more libraries know."""
    return np.array(values.tolist()) if values.dtype.kind == "T" else values


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    """Turn what zarr raises for damaged files into an error that names the variable."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # zarr raises many kinds for damaged files.
        raise InputError(f"{path} is damaged ({type(error).__name__}: {str(error)[:200]}); {REMEDY}") from error


class _Rows(BackendArray):
    """One variable over all networks of some stores, read when it is asked for."""

    def __init__(self, stores: Sequence[Path], name: str, arrays: Sequence[Any]):
        self.paths = [store / name for store in stores]
        self.arrays = arrays
        self.ends = np.cumsum([array.shape[0] for array in arrays])
        self.shape = (int(self.ends[-1]), *arrays[0].shape[1:])
        self.dtype = arrays[0].dtype
        self.dimensions = arrays[0].metadata.dimension_names

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self.read)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Return what an outer index selects: an integer, slice or array of integers for every axis."""
        rows, *tail = key
        wanted = np.arange(self.shape[0])[rows]
        if wanted.ndim == 0:
            return self.read((wanted[None], *tail))[0]
        owners = np.searchsorted(self.ends, wanted, side="right")
        if not len(wanted) or np.all(owners == owners[0]):
            return self._read_one(int(owners[0]) if len(wanted) else 0, wanted, tail)
        values: Any = None
        for owner in np.unique(owners):
            part = self._read_one(int(owner), wanted[owners == owner], tail)
            values = np.empty((len(wanted), *part.shape[1:]), self.dtype) if values is None else values
            values[owners == owner] = part
        return values

    def _read_one(self, owner: int, wanted: np.ndarray, tail: Sequence[Any]) -> np.ndarray:
        rows: Any = wanted - (self.ends[owner] - self.arrays[owner].shape[0])
        if np.array_equal(rows, np.arange(len(rows)) + rows[:1]):
            rows = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)  # Faster than single rows.
        with _naming_damage(self.paths[owner]):
            _require_files(self.paths[owner], self.arrays[owner], np.arange(self.arrays[owner].shape[0])[rows])
            return np.asarray(self.arrays[owner].oindex[(rows, *tail)])


def _require_files(folder: Path, array: Any, rows: np.ndarray) -> None:
    """Raise ValueError if a file of some rows is lost, and not merely to come: one of its networks is trained."""
    chunk = array.chunks[0]
    lost = [index for index in np.unique(rows // chunk) if not _file(folder, array, index).exists()]
    if lost and (failed_step := _variables(_open(folder.parent)).get("failed_step")):
        for index in lost:
            first, last = index * chunk, min((index + 1) * chunk, array.shape[0]) - 1
            if np.any(failed_step[first : last + 1] != NOT_TRAINED):
                raise ValueError(f"the file of networks {first} to {last} is not there")


def _shared(stores: Sequence[Path], columns: Sequence[Mapping[str, Any]]) -> dict[str, _Rows | None]:
    """Return the variables of some stores, None for those that not all of them hold with the same shape and dtype."""
    shared: dict[str, _Rows | None] = {}
    for name in sorted({name for column in columns for name in column}):
        arrays = [column[name] for column in columns if name in column]
        alike = len(arrays) == len(columns) and len({(array.shape[1:], array.dtype) for array in arrays}) == 1
        shared[name] = _Rows(stores, name, arrays) if alike else None
    return shared


def _chosen(path: Path, columns: Mapping[str, _Rows | None], names: Sequence[str]) -> dict[str, _Rows]:
    """Return the shared variables; of those alone that begin with one of ``names``, where some are given."""
    for name in names:
        of_name = [column for column in columns if column.startswith(name)]
        if not of_name:
            raise InputError(f"{path} has no variable that begins with {name!r}, choose from {', '.join(columns)}")
        if differing := [column for column in of_name if columns[column] is None]:
            raise InputError(
                f"{path}: not all runs have {', '.join(differing)} with the same shape; read them run by run"
            )
    return {name: rows for name, rows in columns.items() if rows is not None and name.startswith(tuple(names) or "")}


# Names of parameters ---------------------------------------------------------------------------------------------


def flatten_names(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of a tree by names of variables: ``{"position": ...}`` to ``{"position.dense_0.kernel": ...}``.

    The inverse is :func:`tree_of`, since no name in a tree has a dot.
    """
    return {path.replace("/", "."): leaf for path, leaf in flatten(tree).items()}


def tree_of(dataset: xarray.Dataset, prefix: str, indices: Any = None) -> dict[str, Any]:
    """Return the tree of the variables below a prefix, leaves [network, ...] read into NumPy arrays.

    Parameters
    ----------
    dataset : as of :func:`read_networks`.
    prefix : the tree's name, such as ``"position"``.
    indices : the networks, as an index of the axis (not an integer); all of them where none is given.

    Raises
    ------
    InputError
        If there is no such variable, or a file is damaged.
    """
    names = [str(name) for name in dataset.data_vars if str(name).startswith(f"{prefix}.")]
    if not names:
        raise InputError(f"no variable begins with '{prefix}.'; there are {', '.join(map(str, dataset.data_vars))}")
    networks = dataset[names] if indices is None else dataset[names].isel({AXIS: indices})
    return unflatten({name.removeprefix(f"{prefix}.").replace(".", "/"): networks[name].values for name in names})
