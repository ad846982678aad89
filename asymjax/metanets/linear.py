"""The complete linear map between arrays whose axes are permuted, at a cost that is linear in their number.

Every linear map between two arrays that commutes with permutations of named axes is a sum over the partitions of the
axes of both into blocks of one name (Zhou et al. 2024, arXiv 2402.05232, theorem 3.1; Maron et al. 2019, arXiv
1812.09902, for one name). Axes of a block share their index: of a block on one side alone, what is read is averaged
along its diagonal, and what is written is repeated along it. So each of these maps goes through a *hub*, an array whose
axes are the blocks of both sides: a contraction, a matrix of channels, an expansion. All contractions to one hub are
joined along channels, and one matrix leads from there to all its expansions. Means instead of sums keep the scale at
any number of units.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, combinations, permutations
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from asymjax import rng, trees
from asymjax.axes import Atom, atoms_of, open_leaf, perms_of
from asymjax.errors import InputError
from asymjax.types import Array, Axis, Fixed, Key, Perm, PyTree, TreeSpec

Index = tuple[str, ...]
"""Names of the permuted axes of an array, in alphabetical order; a name may stand twice."""
Features = dict[Index, Array]
"""Arrays [*units, channels] by the names of their units."""
GAIN = math.sqrt(2)
"""What a ReLU takes of the root mean square (He et al. 2015, arXiv 1502.01852)."""


class View(NamedTuple):
    """What an array and a hub have in common.

    Attributes
    ----------
    labels : the block of each axis of the array, numbered as they come.
    kept : blocks that are the axes of the hub, in its order.
    key : names of the axes of the hub.
    """

    labels: tuple[int, ...]
    kept: tuple[int, ...]
    key: Index


class Linear(NamedTuple):
    """A linear map between features, with biases.

    Attributes
    ----------
    init : (key) -> matrix [channels of the hub, channels of its expansions] by the name of the hub.
    apply : (matrices, features) -> features.
    """

    init: Callable[[Key], dict[str, Array]]
    apply: Callable[[Mapping[str, Array], Features], Features]


def _partitions(index: Index, labels: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Yield the partitions of axes into blocks of one name, as the block of each axis."""
    if len(labels) == len(index):
        yield labels
        return
    same = {label for label, name in zip(labels, index, strict=False) if name == index[len(labels)]}
    for label in sorted(same | {max(labels, default=-1) + 1}):
        yield from _partitions(index, (*labels, label))


def _views(index: Index, orders: Callable[[Sequence[int]], Iterator[tuple[int, ...]]]) -> list[View]:
    views = []
    for labels in _partitions(index):
        names = dict(zip(labels, index, strict=True))
        subsets = (subset for size in range(len(names) + 1) for subset in combinations(names, size))
        for kept in (order for subset in subsets for order in orders(subset)):
            key = tuple(names[block] for block in kept)
            if key == tuple(sorted(key)):
                views.append(View(labels, kept, key))
    return views


def contractions(index: Index) -> list[View]:
    """Return the ways from an array to hubs; blocks of one name come to the axes of a hub in every order."""
    return _views(index, lambda subset: iter(permutations(subset)))


def expansions(index: Index) -> list[View]:
    """Return the ways from hubs to an array; blocks of one name come in one order, as contractions have them all."""
    return _views(index, lambda subset: iter([tuple(subset)]))


def num_maps(source: Index, target: Index) -> int:
    """Return the number of linear maps between two arrays that are independent where there are units enough."""
    keys = [view.key for view in contractions(source)]
    return sum(keys.count(view.key) for view in expansions(target))


def contract(array: Array, view: View) -> Array:
    """Average an array [*units, channels] to a hub [*units of the hub, channels], along diagonals within blocks."""
    sizes = dict(zip(view.labels, array.shape, strict=False))
    dropped = [sizes[block] for block in sizes if block not in view.kept]
    channel = len(view.labels)
    summed = jnp.einsum(array, [*view.labels, channel], [*view.kept, channel])
    return summed / math.prod(dropped) if dropped else summed


def expand(hub: Array, view: View, sizes: Sequence[int]) -> Array:
    """Repeat a hub [*units of the hub, channels] along an array of those sizes, on the diagonals of blocks.

    What it returns has the size 1 along axes over which it is constant.
    """
    first = {block: view.labels.index(block) for block in view.labels}
    starts = [first[block] for block in view.kept]
    array = hub.reshape(*(size if axis in starts else 1 for axis, size in enumerate(sizes)), hub.shape[-1])
    for axis, block in enumerate(view.labels):
        if axis != first[block]:
            shape = [size if place in (first[block], axis) else 1 for place, size in enumerate(sizes)]
            array = array * jnp.eye(sizes[axis], dtype=hub.dtype).reshape(*shape, 1)
    return array


class _Hub(NamedTuple):
    """What leads to a hub and from it: index of an array, and how they share blocks."""

    contractions: list[tuple[Index, View]]
    expansions: list[tuple[Index, View]]


def _hubs(sources: Iterable[Index], targets: Iterable[Index]) -> dict[Index, _Hub]:
    into = [(index, view) for index in sources for view in contractions(index)]
    out = [(index, view) for index in targets for view in expansions(index)]
    keys = sorted({view.key for _, view in into} & {view.key for _, view in out})
    hubs = {key: _Hub([], []) for key in keys}
    for index, view in into:
        if view.key in hubs:
            hubs[view.key].contractions.append((index, view))
    for index, view in out:
        if view.key in hubs:
            hubs[view.key].expansions.append((index, view))
    return hubs


def linear(sizes: Mapping[str, int], num_in: Mapping[Index, int], num_out: Mapping[Index, int]) -> Linear:
    """Return the complete linear map that commutes with all permutations.

    Parameters
    ----------
    sizes : units by name.
    num_in : channels of the features that are read, by index.
    num_out : channels of those that are written.

    Returns
    -------
    Matrices start such that features of order one lead to features of order one, and biases at zero. A bias is a row of
    the matrix of the empty hub, to which a channel that is always 1 is joined.
    """
    hubs = _hubs(num_in, num_out)

    def init(key: Key) -> dict[str, Array]:
        return {name_of(one): _matrix(rng.named_key(key, name_of(one)), hubs, one, num_in, num_out) for one in hubs}

    def apply(matrices: Mapping[str, Array], features: Features) -> Features:
        terms: dict[Index, list[Array]] = {index: [] for index in num_out}
        for key, (into, out) in hubs.items():
            read = [contract(features[index], view) for index, view in into]
            read += [] if key else [jnp.ones_like(read[0][:1])]
            made = jnp.concatenate(read, -1) @ matrices[name_of(key)]
            ends = list(accumulate(num_out[index] for index, _ in out))
            for (index, view), part in zip(out, jnp.split(made, ends[:-1], -1), strict=True):
                terms[index].append(expand(part, view, [sizes[name] for name in index]))
        return {index: _sum(some, [sizes[name] for name in index]) for index, some in terms.items()}

    return Linear(init, apply)


def _matrix(
    key: Key, hubs: Mapping[Index, _Hub], one: Index, num_in: Mapping[Index, int], num_out: Mapping[Index, int]
) -> Array:
    """Draw the matrix of a hub; what several hubs write to one array adds up to order one."""
    into, out = hubs[one]
    num_terms = Counter(index for hub in hubs.values() for index, _ in hub.expansions)
    num_rows = sum(num_in[index] for index, _ in into)
    scales = [np.full(num_out[index], GAIN * (num_rows * num_terms[index]) ** -0.5) for index, _ in out]
    matrix = rng.normal(key, (num_rows, sum(map(len, scales)))) * np.concatenate(scales)[None].astype(np.float32)
    return matrix if one else jnp.concatenate([matrix, jnp.zeros_like(matrix[:1])])


def name_of(index: Index) -> str:
    """Return the names of an index as one."""
    return ",".join(index)


def _sum(terms: list[Array], sizes: list[int]) -> Array:
    """Add arrays up, those that are constant along most axes first."""
    total, *others = sorted(terms, key=lambda term: term.size)
    for term in others:
        total = total + term
    return jnp.broadcast_to(total, (*sizes, total.shape[-1]))


def invariants(features: Features) -> Array:
    """Return all linear functions of features that permutations leave alone, [functions x channels]."""
    views = [(index, view) for index in sorted(features) for view in contractions(index) if not view.key]
    return jnp.concatenate([contract(features[index], view) for index, view in views])


# From networks to features ---------------------------------------------------------------------------------------


def whole_spec(shapes: PyTree, spec: TreeSpec) -> dict[str, tuple[Axis, ...]]:
    """Return a tree for every axis of every leaf; what a specification leaves out is fixed.

    Raises
    ------
    InputError
        If it names leaves that there are not, has axes of other sizes, permutes units within others, or has two sizes
        of one name.
    """
    leaves = trees.named_leaves(shapes)
    unknown = sorted(set(spec) - set(leaves))
    if unknown:
        raise InputError(f"the specification has {', '.join(unknown)}; the networks have {', '.join(leaves)}")
    whole = {path: tuple(spec.get(path) or map(Fixed, leaf.shape)) for path, leaf in leaves.items()}
    for path, axes in whole.items():
        sizes = tuple(axis.size for axis in axes)
        if sizes != leaves[path].shape:
            raise InputError(f"{path} has the shape {leaves[path].shape}, but its specification is of {sizes}")
        _check_perms(path, axes)
    unit_counts(whole)
    return whole


def _check_perms(path: str, axes: Sequence[Axis]) -> None:
    """Refuse units within others: index j of one head has nothing to do with index j of another."""
    nested = [name for name, perm in perms_of(axes).items() if perm.within]
    if nested:
        raise InputError(
            f"{path} has {', '.join(nested)} within others, each of which has a permutation of its own; equivariant "
            "layers take units that are permuted alike everywhere: name the whole axis, or fix the outer one"
        )


def unit_counts(spec: TreeSpec) -> dict[str, int]:
    """Return the number of units of each name.

    Raises
    ------
    InputError
        If a name has two.
    """
    counts: dict[str, int] = {}
    for axes in spec.values():
        for perm in (atom for axis in axes for atom in atoms_of(axis) if isinstance(atom, Perm)):
            if counts.setdefault(perm.name, perm.size) != perm.size:
                raise InputError(f"{perm.name} has {counts[perm.name]} units in one leaf and {perm.size} in another")
    return counts


def to_features(leaves: Mapping[str, Array], spec: TreeSpec) -> Features:
    """Return the leaves of one network as features, fixed indices as channels; leaves of one index are joined."""
    parts: dict[Index, list[Array]] = {}
    for path in spec:
        for block, atoms in open_leaf(leaves[path], spec[path], jnp):
            index, array = _with_channels(block, atoms)
            parts.setdefault(index, []).append(array)
    return {index: jnp.concatenate(some, -1) for index, some in parts.items()}


def _with_channels(block: Array, atoms: Sequence[Atom]) -> tuple[Index, Array]:
    """Return an array with its permuted axes first, by name, and all others as one."""
    permuted = sorted((atom.name, i) for i, atom in enumerate(atoms) if isinstance(atom, Perm))
    places = [i for _, i in permuted]
    others = [i for i in range(len(atoms)) if i not in places]
    moved = jnp.transpose(block, [*places, *others])
    return tuple(name for name, _ in permuted), moved.reshape(*moved.shape[: len(places)], -1)
