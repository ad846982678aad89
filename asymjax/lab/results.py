"""The arrays of a run: one tree with named dimensions, ``RUN_DIR/results.zarr``, which xarray opens. Imports no JAX.

    posterior, sample_stats, posterior_predictive   draws [chain, draw, ...] under ArviZ's names
    networks                                        a sweep: scores, failed_step, weights [network, ...]
    diagnostics, predictions, kinds, study          what an experiment found, written at its end

Draws and networks are written by rows, in rounds and by several processes, and again after a kill: a row written twice
is the same twice. A chunk's file is whole or not there, and one that is not there is an error to read, never NaN.
"""

import asyncio
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray
import zarr
from zarr.codecs import Crc32cCodec
from zarr.storage import LocalStore

from asymjax.errors import InputError
from asymjax.tree_paths import flatten, unflatten

RESULTS = "results.zarr"
NETWORKS = "networks"
NOT_TRAINED = -2
"""``failed_step`` of a network that is not trained yet; -1 of one that is, k where step k's loss was not finite."""
# Trained weights are noise that compression makes 7 to 10 % smaller and half as fast to read; a checksum finds damage.
CODECS = (Crc32cCodec(),)
KEEP_EMPTY: Any = {"write_empty_chunks": True}  # Else a file that is lost would read as one that was never written.
DRAWS = ("posterior/", "posterior_predictive/")
"""Groups of draws, which are numbers; statistics of a sampler may be NaN."""
REMEDY = "copy it anew, or run its command again (first delete DONE if there is one; with --force to begin anew)"

Named = Mapping[str, tuple[Sequence[str], Any]]
"""Arrays by path, ``"predictions/posterior/mean"``, with the names of their dimensions."""


class _Durable(LocalStore):
    """Waits until what it writes is on the disk."""

    async def set(self, key: str, value: Any) -> None:
        await super().set(key, value)
        await asyncio.to_thread(_sync, self.root / key)


class Strict(LocalStore):
    """Has every chunk, so that none reads as fill values."""

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        """Return what is stored, and refuse a chunk that is not."""
        value = await super().get(key, *args, **kwargs)
        name = key.rpartition("/")[-1]
        if value is None and name != "zarr.json" and not name.startswith(".z"):
            raise InputError(f"{self.root / key} is not there: it is lost or not written yet; {REMEDY}")
        return value


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Turn what zarr raises for damaged files into an InputError that names the array."""
    try:
        yield
    except (OSError, InputError):
        raise
    except Exception as error:  # zarr raises many kinds for damaged files.
        raise InputError(f"{path} is damaged ({type(error).__name__}: {str(error)[:200]}); {REMEDY}") from error


# Writing ---------------------------------------------------------------------------------------------------------


def create_group(
    run_dir: Path,
    name: str,
    template: xarray.Dataset,
    chunks: Mapping[str, int],
    begin: Mapping[str, Any] | None = None,
) -> None:
    """Create a group whose rows :func:`write_rows` writes, or make sure that the one there is like it.

    A kill leaves no group, a part that the next call replaces, or a whole one without rows. One process calls this.

    Parameters
    ----------
    run_dir, name : where.
    template : shapes, dtypes and dimensions of the variables, whose values are not read: ``numpy.broadcast_to`` makes
        them without memory. Coordinates are written as they are.
    chunks : dimension -> its length in one file; other dimensions are not cut. A group that is there keeps its own.
    begin : variable -> value that all its rows have from the start.

    Raises
    ------
    InputError
        If the group there has other variables, or is damaged.
    OSError
        If it cannot be written.
    """
    store = _Durable(run_dir / RESULTS)
    with naming_damage(run_dir / RESULTS / name):
        root = zarr.open_group(store, mode="a")
        known: Any = root.get(name)
    groups = {*root.attrs.get("groups", ()), name}  # type: ignore[misc]
    if len(groups) > len(root.attrs.get("groups", ())):  # type: ignore[arg-type]
        root.attrs["groups"] = sorted(groups)
    if known is not None and known.attrs.get("variables"):
        found = {variable: (array.shape, array.dtype) for variable, array in known.arrays()}
        expected = {str(variable): (like.shape, like.dtype) for variable, like in template.variables.items()}
        if found != expected:
            changed = sorted(v for v in found.keys() | expected.keys() if found.get(v) != expected.get(v))
            raise InputError(
                f"{run_dir / RESULTS} has {name} of another run: {', '.join(changed)} differ in shape or dtype; choose "
                "another --run-dir, or --force to delete that run and start again"
            )
        return
    coordinates = template.coords.to_dataset()
    coordinates.to_zarr(store, group=name, mode="w", zarr_format=3, consolidated=False, **KEEP_EMPTY)
    group = zarr.open_group(store, path=name, mode="r+")
    for variable, like in template.data_vars.items():
        value = (begin or {}).get(str(variable))
        sizes = [min(chunks.get(str(dimension), size), size) for dimension, size in like.sizes.items()]
        array = group.create_array(
            str(variable),
            shape=like.shape,
            chunks=tuple(max(1, size) for size in sizes),
            dtype=like.dtype,
            fill_value=value if value is not None else (np.nan if like.dtype.kind == "f" else 0),
            compressors=CODECS,
            dimension_names=[str(dimension) for dimension in like.dims],
        )
        if value is not None:
            array.with_config(KEEP_EMPTY)[...] = value
    group.attrs["variables"] = sorted(map(str, template.data_vars))  # Last.


def write_rows(run_dir: Path, name: str, starts: Mapping[str, int], arrays: Mapping[str, Any]) -> None:
    """Write some rows of a group, one variable after the other in the order given.

    When this returns, the rows are on the disk. A file that is written in part is read first: two processes must not
    write to one at the same time (see :func:`shares_files`).

    Parameters
    ----------
    run_dir, name : a group that :func:`create_group` made.
    starts : dimension -> the first row along it; 0 of the others.
    arrays : variable -> values.

    Raises
    ------
    InputError
        If a file that has to be read is damaged.
    OSError
        If it cannot be written, as when the disk is full; files that were there stay whole.
    """
    group = zarr.open_group(_Durable(run_dir / RESULTS), path=name, mode="r+")
    for variable, values in arrays.items():
        array: Any = group[variable]
        first = [starts.get(dimension, 0) for dimension in array.metadata.dimension_names]
        region = tuple(slice(start, start + size) for start, size in zip(first, np.shape(values), strict=True))
        with naming_damage(run_dir / RESULTS / name / variable):
            array.with_config(KEEP_EMPTY)[region] = np.asarray(values)


def shares_files(run_dir: Path, name: str, variables: Iterable[str], dimension: str, boundaries: Iterable[int]) -> bool:
    """Return whether a file of some variables has rows of both sides of a boundary, so that processes write in turn."""
    group = zarr.open_group(run_dir / RESULTS, path=name, mode="r")
    arrays: list[Any] = [group[variable] for variable in variables]
    lengths = {array.chunks[array.metadata.dimension_names.index(dimension)] for array in arrays}
    return any(row % length for length in lengths for row in boundaries)


def write_arrays(run_dir: Path, arrays: Named) -> None:
    """Write whole arrays, in place of those that are there; then all metadata of the tree go into one file, too.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    if not arrays and not (run_dir / RESULTS).exists():
        return
    root = zarr.open_group(_Durable(run_dir / RESULTS), mode="a")
    for path, (dimensions, values) in arrays.items():
        root.create_array(
            path,
            data=np.array(values, order="C"),
            chunks=tuple(max(1, size) for size in np.shape(values)),
            compressors=CODECS,
            dimension_names=list(dimensions),
            overwrite=True,
            config=KEEP_EMPTY,
        )
    with warnings.catch_warnings():  # One file of metadata is an extension of the format, which xarray knows.
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        zarr.consolidate_metadata(root.store)


# Reading ---------------------------------------------------------------------------------------------------------


def open_results(run_dir: Path) -> xarray.DataTree:
    """Open the arrays of a run; they are read when they are asked for.

    Raises
    ------
    InputError
        If there are none or their metadata are damaged; when values are asked for, if a file is not there.
    """
    path = run_dir / RESULTS
    if not path.exists():
        raise InputError(f"{path} does not exist; is {run_dir} a run directory, and did it begin to write results?")
    is_finished = (run_dir / "DONE").exists()  # Before, metadata are not in one file.
    with naming_damage(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Object at .* is not recognized")  # What a kill left.
        return xarray.open_datatree(Strict(path, read_only=True), engine="zarr", consolidated=is_finished)  # type: ignore[arg-type]


def read_arrays(run_dir: Path, *prefixes: str) -> dict[str, np.ndarray]:
    """Return the arrays whose paths begin with one of ``prefixes``, such as ``"posterior/"``; without coordinates.

    Raises
    ------
    InputError
        If there are no results, or a file is lost or damaged.
    """
    found = _find(run_dir, prefixes)
    return {name: _values(run_dir, name, array) for name, array in found.items()}


def read_chunks(run_dir: Path, *prefixes: str) -> Iterator[dict[str, np.ndarray]]:
    """Yield draws as :func:`read_arrays`, in the chunks along ``draw`` in which they were written.

    Raises
    ------
    InputError
        If there are no such draws, or a file is lost or damaged.
    """
    found = _find(run_dir, prefixes)
    if not found:
        raise InputError(f"{run_dir / RESULTS} holds no draws of {', '.join(prefixes)}")
    first = next(iter(found.values()))
    length = first.encoding["preferred_chunks"]["draw"]
    for start in range(0, first.sizes["draw"], length):
        window = slice(start, start + length)
        yield {name: _values(run_dir, name, array.isel(draw=window)) for name, array in found.items()}


def _find(run_dir: Path, prefixes: Sequence[str]) -> dict[str, xarray.DataArray]:
    tree = open_results(run_dir)
    nodes = list(tree.subtree)
    lost = [f"/{name}" for name in tree.attrs.get("groups", ()) if name not in tree.children]
    for node in nodes:
        lost += [f"{node.path}/{name}" for name in node.attrs.get("variables", ()) if name not in node.data_vars]
    if lost:
        raise InputError(f"{run_dir / RESULTS}{lost[0]} is lost; {REMEDY}")
    paths = {f"{node.path}/{name}"[1:]: array for node in nodes for name, array in node.data_vars.items()}
    return {path: array for path, array in sorted(paths.items()) if path.startswith(tuple(prefixes))}


def _values(run_dir: Path, name: str, array: xarray.DataArray) -> np.ndarray:
    with naming_damage(run_dir / RESULTS / name):
        values = array.values
    if name.startswith(DRAWS) and np.isnan(values).any():
        raise InputError(f"{run_dir / RESULTS / name} holds NaN among its draws; {REMEDY}")
    return values


def count_whole_chunks(run_dir: Path, num_chunks: int) -> tuple[int, str]:
    """Return how many of the first chunks of draws can be read, up to the first that cannot, and why that cannot.

    Raises
    ------
    OSError
        If the file system fails, which says nothing of the draws.
    """
    chunks = read_chunks(run_dir, "sample_stats/", *DRAWS)
    for done in range(num_chunks):
        try:
            next(chunks)
        except InputError as error:
            return done, str(error)
    return num_chunks, ""


def open_networks(path: Path, *prefixes: str) -> xarray.Dataset:
    """Open the networks of a sweep, or of all run directories in a directory (a grid) as one dataset.

    Those of one run are read when they are asked for. Those of a grid are read at once, one run after the other in the
    order of the directories' names, which are the coordinate ``run``.

    Parameters
    ----------
    path : a run directory, or a directory whose sub-directories are run directories.
    prefixes : names of variables or what they begin with, such as ``"position."``; all where none is given. Of a grid
        those that all runs have with the same shape.

    Raises
    ------
    InputError
        If there are no networks, a prefix fits no variable of all runs, or a file is lost or damaged.
    """
    runs = [path] if (path / RESULTS).exists() else sorted(found.parent for found in path.glob(f"*/{RESULTS}"))
    trees = {run: tree for run in runs if NETWORKS in (tree := open_results(run)).children}
    if not trees:
        raise InputError(f"{path} holds no networks, nor do its sub-directories; did the training of a sweep begin?")
    parts = [tree[NETWORKS].to_dataset() for tree in trees.values()]
    shapes = [{str(name): (array.shape[1:], array.dtype) for name, array in part.data_vars.items()} for part in parts]
    shared = [name for name, shape in shapes[0].items() if all(other.get(name) == shape for other in shapes)]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in shared):
            raise InputError(f"{path}: no variable of all runs begins with {prefix!r}, choose from {', '.join(shared)}")
    parts = [part[[name for name in shared if name.startswith(prefixes or "")]] for part in parts]
    if runs == [path]:
        return parts[0]
    owned = []
    for run, part in zip(trees, parts, strict=True):
        with naming_damage(run / RESULTS / NETWORKS):
            owned.append(part.load().assign_coords({"run": ("network", [run.name] * part.sizes["network"])}))
    return xarray.concat(owned, "network", combine_attrs="drop")


def flatten_names(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return leaves by names of variables: ``{"position": ...}`` to ``{"position.dense_0.kernel": ...}``."""
    return {path.replace("/", "."): leaf for path, leaf in flatten(tree).items()}


def tree_of(named: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """Return the tree of the arrays whose names begin with a prefix, leaves as NumPy arrays.

    Parameters
    ----------
    named : as of :func:`open_networks` or :func:`read_arrays`.
    prefix : ``"position."`` of the former; ``"posterior/"`` or ``"networks/position."`` of the latter.

    Raises
    ------
    InputError
        If there is no such array, or a file is lost or damaged.
    """
    names = {str(name): name for name in named if str(name).startswith(prefix)}
    if not names:
        raise InputError(f"no array begins with {prefix!r}; there are {', '.join(map(str, named))}")
    paths = {path.removeprefix(prefix).replace(".", "/"): name for path, name in names.items()}
    return unflatten({path: values_of(named, name) for path, name in paths.items()})


def values_of(named: Mapping[Any, Any], name: Any) -> np.ndarray:
    """Read one of the arrays that :func:`tree_of` takes.

    Raises
    ------
    InputError
        If a file of it is lost or damaged.
    """
    source = getattr(named, "encoding", {}).get("source", RESULTS)
    with naming_damage(Path(source) / str(name)):
        return np.asarray(named[name])
