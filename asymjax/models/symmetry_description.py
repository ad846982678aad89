"""The symmetries of any network, as they were read and as numbers tell."""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.axes import as_trees, atoms_of, perms_of
from asymjax.types import Array, Model, Params, Perm

TOLERANCE = 1e-3
"""Largest change of outputs, relative to their spread, that may come from rounding."""


class Description(dict):
    """What is known of the symmetries of a network, as data; printed, as sentences."""

    def __str__(self) -> str:
        """Return in words what there is."""
        lines = [
            f"permutations of {perm['num_units']} units: {name}"
            + (f", another in each of {perm['copies']} ({' x '.join(perm['within'])})" if perm["within"] else "")
            for name, perm in self["permutations"].items()
        ]
        lines += [f"general linear groups of {size} dimensions: {name}" for name, size in self["linear_groups"].items()]
        lines += [f"no effect on the outputs: {path}" for path in self["dead"]]
        return "\n".join([*(lines or ["no permutation of units was found"]), *self["notes"]])


def describe_symmetries(model: Model, x: Any) -> Description:
    """Describe the symmetries of the plain network of a model: of its function without gates.

    Parameters
    ----------
    model : any model; what is fixed of it is not looked at.
    x : inputs [rows, ...] at which linear maps are tried.

    Returns
    -------
    JSON-ready dictionary. ``permutations``: name -> ``num_units``, ``copies`` (each index of what the units are within
    has a permutation of its own) and ``within``. ``log_order``: log of the number of elements of their group.
    ``linear_groups``: name of units -> dimension of the general linear groups that act on them, of queries and keys or
    of values in attention, which have the permutations in them. ``dead``: leaves that the outputs do not depend on, as
    the key bias of attention. ``notes``: sentences on what was not understood.

    Examples
    --------
    >>> import numpy as np, asymjax
    >>> from flax import linen as nn
    >>> x = np.ones((2, 3), np.float32)
    >>> model = asymjax.from_flax(nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(1)]), x)
    >>> print(asymjax.describe_symmetries(model, x))
    permutations of 4 units: layers_0
    """
    axes = {path: as_trees(model.permutation_spec[path], layer.shape) for path, layer in model.layers.items()}
    atoms = {atom.name: atom for tree in axes.values() for axis in tree for atom in atoms_of(axis)}
    perms = perms_of([axis for tree in axes.values() for axis in tree])
    copies = {name: math.prod(atoms[outer].size for outer in perm.within) for name, perm in perms.items()}
    found = model.symmetries
    notes = [f"no permutations through {operation}" for operation in found.unknown]
    notes += [f"{path} is used in several ways, of which methods see the first" for path in found.several_roles]
    notes += [
        f"{path} has no single role, so methods leave it alone"
        for path, layer in model.layers.items()
        if layer.role is None and path not in found.dead
    ]
    notes += [f"{path} can be permuted alone, by {', '.join(names)}" for path, names in found.loose.items()]
    return Description(
        permutations={
            name: {"num_units": perm.size, "copies": copies[name], "within": list(perm.within)}
            for name, perm in perms.items()
        },
        log_order=sum(copies[name] * math.lgamma(perm.size + 1) for name, perm in perms.items()),
        linear_groups={name: copies[name] * perms[name].size ** 2 for name in linear_units(model, perms, x)},
        dead=list(found.dead),
        notes=notes,
    )


def linear_units(model: Model, perms: Mapping[str, Perm], x: Any) -> list[str]:
    """Return the permutations whose units any invertible matrix may mix, on the way in and back on the way out."""
    generator = np.random.default_rng(0)
    shapes = model.params_shape
    params = jax.tree.map(lambda leaf: 0.5 * generator.standard_normal(leaf.shape).astype(leaf.dtype), shapes)
    forward = jax.jit(lambda params: model.forward(params, {}, x))
    outputs = forward(params)
    found = []
    for name, perm in perms.items():
        matrix = np.eye(perm.size) + 0.3 * generator.standard_normal((perm.size, perm.size)) / math.sqrt(perm.size)
        mixed = _mixed(model, params, name, matrix)
        if mixed is None:
            continue
        change = jnp.max(jnp.abs(forward(mixed) - outputs)) / jnp.std(outputs)
        if change < TOLERANCE:
            found.append(name)
    return found


def _mixed(model: Model, params: Params, name: str, matrix: np.ndarray) -> Params | None:
    """Return parameters with units mixed where they are made, and mixed back where they are read.

    Units that are read by no kernel but made by two meet in a product, as queries and keys do: one is mixed back there.
    None where units are a part of an axis, or are scaled.
    """
    made, read = defaultdict(list), []
    for path, layer in model.layers.items():
        for axis, tree in enumerate(as_trees(model.permutation_spec[path], layer.shape)):
            if name not in perms_of([tree]):
                continue
            if not isinstance(tree, Perm) or layer.role not in ("kernel", "bias"):
                return None
            if axis in layer.in_axes:
                read.append((path, axis))
            else:
                made[path.rpartition("/")[0]].append((path, axis))
    inverse = np.linalg.inv(matrix)
    moves = {place: inverse for place in read}
    modules = list(made.values())
    if not read and len(modules) != 2:
        return None
    for i, places in enumerate(modules):
        moves |= dict.fromkeys(places, matrix.T if read or i == 0 else inverse)
    leaves = trees.flatten(params)
    for (path, axis), change in moves.items():
        leaves[path] = _along(leaves[path], axis, change)
    return trees.unflatten(leaves)


def _along(leaf: Array, axis: int, matrix: np.ndarray) -> Array:
    """Multiply an axis of an array by a matrix."""
    return jnp.moveaxis(jnp.tensordot(matrix.astype(leaf.dtype), leaf, (1, axis)), 0, axis)
