"""Small pure functions on parameter trees: paths, checksums, counts, leading axes."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asymjax.tree_paths import flatten as flatten
from asymjax.tree_paths import unflatten as unflatten
from asymjax.types import Array, PyTree


def num_entries(tree: PyTree) -> int:
    """Return the number of scalars in a tree of arrays or of shape structs."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def num_bytes(tree: PyTree) -> int:
    """Return the number of bytes of a tree of arrays or of shape structs."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def checksum(tree: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a tree of arrays: paths, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for path, leaf in flatten(tree).items():
        array = np.ascontiguousarray(leaf)
        digest.update(f"{path}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
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
