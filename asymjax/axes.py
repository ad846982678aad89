"""Trees of axes, as in a ``TreeSpec``: their atoms, and permutations at work on one array.

Works on arrays of NumPy and of JAX; ``xp`` is the module whose functions are called.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain, product
from typing import Any

import jax.numpy as jnp
import numpy as np

from asymjax.errors import InputError
from asymjax.types import Axis, Fixed, FlatSpec, Perm, PermutationSpec, Product, Sum

Atom = Perm | Fixed


def as_trees(axes: Sequence[str | Axis | None], shape: Sequence[int]) -> tuple[Axis, ...]:
    """Return axes as trees: a name stands for a permutation of the axis, None for none."""
    return tuple(
        Fixed(size) if axis is None else Perm(axis, size) if isinstance(axis, str) else axis
        for axis, size in zip(axes, shape, strict=True)
    )


def flat(spec: PermutationSpec) -> FlatSpec:
    """Return a specification that permutes whole axes alone.

    Raises
    ------
    InputError
        If parts of an axis are permuted, or units within others.
    """
    trees = [path for path, axes in spec.items() if not all(isinstance(axis, str | None) for axis in axes)]
    if trees:
        raise InputError(
            f"permutations of this network act on parts of axes, or within others, in {', '.join(trees)}; this takes "
            "networks whose units are whole axes"
        )
    return spec  # type: ignore[return-value]


def atoms_of(axis: Axis) -> Iterator[Atom]:
    """Yield what an axis consists of, repetitions included."""
    if isinstance(axis, (Product, Sum)):
        yield from chain.from_iterable(map(atoms_of, axis.parts))
    else:
        yield axis


def perms_of(axes: Sequence[Axis]) -> dict[str, Perm]:
    """Return the permutations that act on some axes, by name, in the order in which they are met."""
    return {atom.name: atom for axis in axes for atom in atoms_of(axis) if isinstance(atom, Perm)}


def alternatives(axis: Axis) -> list[tuple[Atom, ...]]:
    """Return the products of atoms that an axis is the sum of."""
    if isinstance(axis, Sum):
        return [atoms for part in axis.parts for atoms in alternatives(part)]
    if isinstance(axis, Product):
        return [tuple(chain.from_iterable(choice)) for choice in product(*map(alternatives, axis.parts))]
    return [(axis,)]


def blocks(axes: Sequence[Axis]) -> list[tuple[tuple[int, Atom], ...]]:
    """Return the blocks of an array whose axes are products of atoms: for each, (axis, atom) of all its atoms."""
    choices = product(*map(alternatives, axes))
    return [tuple((i, atom) for i, atoms in enumerate(choice) for atom in atoms) for choice in choices]


def index_place(name: str, axis: int, block: Sequence[tuple[int, Atom]]) -> int | None:
    """Return where in a block the atom stands that another on an axis is within; None if that is not clear.

    The one on the same axis, else the only one.
    """
    places = [i for i, (_, atom) in enumerate(block) if atom.name == name]
    near = [i for i in places if block[i][0] == axis]
    found = near or places
    return found[0] if len(found) == 1 else None


def open_leaf(leaf: Any, axes: Sequence[Axis], xp: Any = np) -> list[tuple[Any, tuple[Atom, ...]]]:
    """Return the blocks of an array as arrays with an axis for every atom, in the order of :func:`blocks`."""
    for i, axis in enumerate(axes):
        if isinstance(axis, Product):
            opened = leaf.reshape(*leaf.shape[:i], *(part.size for part in axis.parts), *leaf.shape[i + 1 :])
            return open_leaf(opened, [*axes[:i], *axis.parts, *axes[i + 1 :]], xp)
        if isinstance(axis, Sum):
            cuts = list(accumulate(part.size for part in axis.parts))[:-1]
            pieces = zip(xp.split(leaf, cuts, i), axis.parts, strict=True)
            opened = [open_leaf(piece, [*axes[:i], part, *axes[i + 1 :]], xp) for piece, part in pieces]
            return list(chain.from_iterable(opened))
    return [(leaf, tuple(atom for atom in axes if isinstance(atom, Perm | Fixed)))]


def permute_leaf(leaf: Any, axes: Sequence[Axis], permutations: Mapping[str, Any], xp: Any = jnp) -> Any:
    """Permute an array; unit i of the result is unit ``permutation[i]`` of the array.

    Parameters
    ----------
    leaf : the array.
    axes : one tree for every axis.
    permutations : name -> int [units] or, of units within others, int [*sizes of within, units]; there unit j within
        index i of the result is unit ``permutation[i, j]`` within the index that comes to i. Others stay.
    """
    perms = perms_of(axes)
    named = set(permutations).union(*(perm.within for name, perm in perms.items() if name in permutations))
    if not perms.keys() & permutations.keys():
        return leaf
    places = [(i, _prune(axis, named)) for i, axis in enumerate(axes)]
    return _permute(leaf, places, permutations, xp)


def _prune(axis: Axis, named: set[str]) -> Axis:
    """Return an axis, as one without parts if none of its atoms is named."""
    return axis if any(atom.name in named for atom in atoms_of(axis)) else Fixed(axis.size)


def _permute(leaf: Any, places: list[tuple[int, Axis]], permutations: Mapping[str, Any], xp: Any) -> Any:
    for i, (place, axis) in enumerate(places):
        if isinstance(axis, Product):
            opened = leaf.reshape(*leaf.shape[:i], *(part.size for part in axis.parts), *leaf.shape[i + 1 :])
            parts = [*places[:i], *((place, part) for part in axis.parts), *places[i + 1 :]]
            return _permute(opened, parts, permutations, xp).reshape(leaf.shape)
        if isinstance(axis, Sum):
            cuts = list(accumulate(part.size for part in axis.parts))[:-1]
            pieces = zip(xp.split(leaf, cuts, i), axis.parts, strict=True)
            done = [_permute(p, [*places[:i], (place, part), *places[i + 1 :]], permutations, xp) for p, part in pieces]
            return xp.concatenate(done, i)
    block: list[tuple[int, Any]] = places
    moved = [i for i, (_, atom) in enumerate(block) if isinstance(atom, Perm) and atom.name in permutations]
    for i in sorted(moved, key=lambda i: len(block[i][1].within)):
        place, atom = block[i]
        permutation = permutations[atom.name]
        if np.ndim(permutation) == 1:
            leaf = xp.take(leaf, permutation, axis=i)
            continue
        where = [index_place(name, place, block) for name in atom.within]
        leaf = xp.take_along_axis(leaf, _aligned(permutation, [*where, i], leaf.ndim), axis=i)
    return leaf


def _aligned(index: Any, places: Sequence[Any], ndim: int) -> Any:
    """Return an array whose axes stand at given places, with axes of size one between them."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    sizes = {places[i]: index.shape[i] for i in order}
    return index.transpose(order).reshape([sizes.get(i, 1) for i in range(ndim)])
