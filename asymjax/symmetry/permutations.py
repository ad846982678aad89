"""Permutations of units: the group that a network's specification generates, and its action on parameters and gates.

An element of the group is a dictionary, permutation name -> int [units], as in ``Model.permutation_spec``; a name that
is left out stands for the identity. A specification may also hold a tree for every axis (:class:`~asymjax.types.Perm`),
where units may be within others, as the dimensions of each head: then an element has int [heads, dimensions], and
dimension j of head i of the result is dimension ``permutation[i, j]`` of the head that comes to i.
"""

import math
from collections.abc import Mapping
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import rng, trees
from asymjax.axes import as_trees, atoms_of, perms_of, permute_leaf
from asymjax.errors import InputError, choose
from asymjax.types import Array, Fixed, Frozen, Key, Perm, PermutationSpec, PyTree, TreeSpec

MAX_ENUMERATED_UNITS = 8

Permutations = Mapping[str, np.ndarray | Array]


def all_permutations(num_units: int) -> np.ndarray:
    """Return every permutation of ``num_units`` units, int [num_units!, num_units], the identity first.

    Raises
    ------
    InputError
        If there are more than ``MAX_ENUMERATED_UNITS`` units.
    """
    if num_units > MAX_ENUMERATED_UNITS:
        raise InputError(f"{num_units} units have too many permutations to list; give {MAX_ENUMERATED_UNITS} at most")
    return np.array(list(permutations(range(num_units))))


def tree_spec(params: PyTree, permutation_spec: PermutationSpec | TreeSpec) -> TreeSpec:
    """Return the specification of a network's parameters with a tree for every axis."""
    return {path: as_trees(permutation_spec[path], leaf.shape) for path, leaf in trees.named_leaves(params).items()}


def _atoms(params: PyTree, permutation_spec: PermutationSpec | TreeSpec) -> dict[str, Perm | Fixed]:
    """Return what has a name: permutations, and fixed axes that these are within."""
    axes = [axis for leaf in tree_spec(params, permutation_spec).values() for axis in leaf]
    return {atom.name: atom for axis in axes for atom in atoms_of(axis) if atom.name is not None}


def _shapes(params: PyTree, permutation_spec: PermutationSpec | TreeSpec) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an element's arrays, by name."""
    atoms = _atoms(params, permutation_spec)
    perms = {name: atom for name, atom in atoms.items() if isinstance(atom, Perm)}
    return {name: (*(atoms[outer].size for outer in perm.within), perm.size) for name, perm in perms.items()}


def unit_counts(params: PyTree, permutation_spec: PermutationSpec | TreeSpec) -> dict[str, int]:
    """Return how many units each permutation of a network acts on, by its name; within others, in each of these."""
    return {name: shape[-1] for name, shape in _shapes(params, permutation_spec).items()}


def log_group_order(params: PyTree, permutation_spec: PermutationSpec | TreeSpec) -> float:
    """Return the log of the number of elements of the group, the product of units! over all permutations."""
    shapes = _shapes(params, permutation_spec).values()
    return sum(math.prod(shape[:-1]) * math.lgamma(shape[-1] + 1) for shape in shapes)


def identity(params: PyTree, permutation_spec: PermutationSpec | TreeSpec) -> dict[str, np.ndarray]:
    """Return the identity, every name written out."""
    shapes = _shapes(params, permutation_spec)
    return {name: np.tile(np.arange(shape[-1]), (*shape[:-1], 1)) for name, shape in shapes.items()}


def random_permutations(key: Key, params: PyTree, permutation_spec: PermutationSpec | TreeSpec) -> dict[str, Array]:
    """Draw an element of the group, uniformly."""

    def draw(key: Key, shape: tuple[int, ...]) -> Array:
        if len(shape) == 1:
            return rng.permutation(key, shape[0])
        keys = jax.random.split(key, math.prod(shape[:-1]))
        return jax.vmap(lambda key: rng.permutation(key, shape[-1]))(keys).reshape(shape)

    shapes = _shapes(params, permutation_spec)
    return {name: draw(rng.named_key(key, name), shape) for name, shape in shapes.items()}


def compose(
    first: Permutations, second: Permutations, spec: PermutationSpec | TreeSpec | None = None
) -> dict[str, np.ndarray | Array]:
    """Return the element that permutes as ``first`` and then ``second`` do.

    Raises
    ------
    InputError
        If units are permuted within others and there is no ``spec`` to say within which.
    """
    perms = _nested(spec, {**first, **second})
    composed = {**first, **second}
    for name in first:
        before, then = _at_outer(name, first[name], second, perms), second.get(name)
        if then is None:
            composed[name] = before
        elif np.ndim(before) == 1:
            composed[name] = before[then]
        else:
            composed[name] = jnp.take_along_axis(before, jnp.broadcast_to(then, before.shape), -1)
    return composed


def invert(unit_permutations: Permutations, spec: PermutationSpec | TreeSpec | None = None) -> dict[str, Array]:
    """Return the element that undoes this one.

    Raises
    ------
    InputError
        As :func:`compose`.
    """
    perms = _nested(spec, unit_permutations)
    inverse: dict[str, Array] = {}
    for name in sorted(unit_permutations, key=lambda name: len(perms[name].within) if name in perms else 0):
        inverse[name] = jnp.argsort(_at_outer(name, unit_permutations[name], inverse, perms))
    return {name: inverse[name] for name in unit_permutations}


def _nested(spec: PermutationSpec | TreeSpec | None, unit_permutations: Permutations) -> dict[str, Perm]:
    """Return the permutations of a specification, by name."""
    if spec is None:
        nested = [name for name, permutation in unit_permutations.items() if np.ndim(permutation) > 1]
        if nested:
            raise InputError(f"{', '.join(nested)} permute within others; give spec= to say within which")
        return {}
    return perms_of([axis for axes in spec.values() for axis in axes if not isinstance(axis, str | None)])


def _at_outer(
    name: str, permutation: np.ndarray | Array, outer: Permutations, perms: Mapping[str, Perm]
) -> np.ndarray | Array:
    """Return a permutation within others at the indices that come to each place when these are permuted."""
    if np.ndim(permutation) == 1:
        return permutation
    within = perms[name].within
    places = dict(zip(within, np.ix_(*map(np.arange, permutation.shape[:-1])), strict=True))
    index: list = []
    for other in within:
        moved = outer.get(other)
        if moved is None:
            index.append(places[other])
        elif np.ndim(moved) == 1:
            index.append(jnp.asarray(moved)[places[other]])
        else:
            index.append(jnp.asarray(moved)[(*(places[n] for n in perms[other].within), places[other])])
    return jnp.asarray(permutation)[tuple(index)]


def permute(params: PyTree, permutation_spec: PermutationSpec | TreeSpec, unit_permutations: Permutations) -> PyTree:
    """Permute the units of a network.

    Parameters
    ----------
    params : effective parameters; any tree of arrays.
    permutation_spec : see ``Model.permutation_spec``; or a tree for every axis, as ``Symmetries.spec``.
    unit_permutations : permutation name -> int [units]; unit i of the result is unit ``permutation[i]`` of ``params``.
        Names that are left out stay as they are. Within others, int [*sizes of these, units], or [units] for the same
        in each.

    Returns
    -------
    Effective parameters of the same function, unless gates tell the units apart (sigma_asym); for these, see
    :func:`permute_frozen`. They may lie outside the set that the model's positions parametrise (w_asym, pruned).

    Raises
    ------
    InputError
        If the network has no permutation of a name.

    Examples
    --------
    >>> import numpy as np
    >>> from asymjax.symmetry import permute
    >>> params = {"dense": {"kernel": np.eye(3), "bias": np.arange(3.0)}}
    >>> spec = {"dense/kernel": (None, "units"), "dense/bias": ("units",)}
    >>> permute(params, spec, {"units": np.array([2, 0, 1])})["dense"]["bias"].tolist()
    [2.0, 0.0, 1.0]
    """
    spec = tree_spec(params, permutation_spec)
    known = unit_counts(params, spec)
    for given in unit_permutations:
        choose(known, given, "permutation")
    leaves = trees.named_leaves(params)
    return trees.with_leaves(
        params, {path: permute_leaf(leaf, spec[path], unit_permutations) for path, leaf in leaves.items()}
    )


def permute_frozen(frozen: Frozen, permutation_spec: PermutationSpec, unit_permutations: Permutations) -> Frozen:
    """Conjugate the gates of a network, F -> P F P^T, as its units are permuted.

    Gates of Lim et al. (2024), section 4.2: sigmoid(F x) * x is equivariant to P on both sides when F is conjugated.

    Returns
    -------
    Constants with which the permuted parameters are the same function. Everything but the gates stays as it is, since
    ``forward`` reads nothing else: fixed entries and offsets remain those of the model that the parameters came from.
    """
    gates = gates_of(frozen)
    for path, gate in gates.items():
        axes = as_trees(2 * tuple(permutation_spec[path.removesuffix("/gate")]), gate.shape)
        gates[path] = permute_leaf(gate, axes, unit_permutations)
    return with_gates(frozen, gates)


def gates_of(frozen: Frozen) -> dict[str, Array]:
    """Return the gates among a network's constants, by path; none unless its method gates (sigma_asym)."""
    return {path: leaf for path, leaf in trees.flatten(frozen).items() if path.endswith("/gate")}


def with_gates(frozen: Frozen, gates: Mapping[str, Array]) -> Frozen:
    """Return a network's constants with other gates, as of :func:`gates_of`."""
    return trees.unflatten(trees.flatten(frozen) | dict(gates))
