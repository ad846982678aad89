"""Small pure functions on parameter trees: paths, checksums, counts, leading axes."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asymjax.errors import InputError
from asymjax.tree_paths import flatten as flatten
from asymjax.tree_paths import unflatten as unflatten
from asymjax.types import Array, PyTree

BLOCK_BYTES = 2**25
"""Of leaves that may be stored and not in memory, what is read at once."""


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """Return the leaves of any tree by path, keys joined by ``"/"``: as :func:`flatten` where all keys are strings.

    Raises
    ------
    InputError
        If two leaves have one path, as ``{"a": {"b": x}, "a/b": y}``.
    """
    leaves = jax.tree.leaves_with_path(tree)
    named = {path_of(keys): leaf for keys, leaf in leaves}
    if len(named) < len(leaves):
        paths = [path_of(keys) for keys, _ in leaves]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        raise InputError(f"several leaves have the path {', '.join(twice)}; rename keys so that every leaf has its own")
    return named


def path_of(keys: tuple) -> str:
    """Return the keys of a leaf, as JAX gives them, joined by ``"/"``."""
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def with_leaves(tree: PyTree, named: Mapping[str, Any]) -> PyTree:
    """Return a tree of the same structure with other leaves, as of :func:`named_leaves`."""
    return jax.tree.unflatten(jax.tree.structure(tree), [named[path] for path in named_leaves(tree)])


def num_entries(tree: PyTree) -> int:
    """Return the number of scalars in a tree of arrays or of shape structs."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def num_bytes(tree: PyTree) -> int:
    """Return the number of bytes of a tree of arrays or of shape structs."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def row_blocks(tree: PyTree) -> list[slice]:
    """Return slices of the leading axis of all leaves, each of ``BLOCK_BYTES`` at most, or of one row."""
    count = len(jax.tree.leaves(tree)[0])
    size = max(1, BLOCK_BYTES * count // max(1, num_bytes(tree)))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def checksum(tree: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a tree of arrays: paths, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for path, leaf in flatten(tree).items():
        array = np.ascontiguousarray(leaf) if isinstance(leaf, jax.Array) or not getattr(leaf, "ndim", 0) else leaf
        digest.update(f"{path}:{array.dtype.str}:{array.shape};".encode())
        for rows in row_blocks(array):
            digest.update(np.ascontiguousarray(array[rows]).reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    return digest.hexdigest()


def norm(tree: PyTree) -> Array:
    """Return the Euclidean norm over all leaves []."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))


def all_finite(tree: PyTree) -> Array:
    """Return whether every floating leaf is finite [] bool."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])) if leaves else jnp.array(True)


def to_host(tree: PyTree) -> PyTree:
    """Copy a tree of device arrays to NumPy."""
    return jax.tree.map(np.asarray, tree)
