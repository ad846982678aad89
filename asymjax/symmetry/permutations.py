"""Permutations of units: the group that a network's specification generates, and its action on parameters and gates.

An element of the group is a dictionary, permutation name -> int [units], as in ``Model.permutation_spec``; a name that
is left out stands for the identity.
"""

import math
from collections.abc import Mapping
from itertools import permutations

import jax.numpy as jnp
import numpy as np

from asymjax import rng, trees
from asymjax.errors import InputError, choose
from asymjax.types import Array, Frozen, Key, Params, PermutationSpec

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


def unit_counts(params: Params, permutation_spec: PermutationSpec) -> dict[str, int]:
    """Return how many units each permutation of a network acts on, by its name."""
    return {
        name: size
        for path, param in trees.flatten(params).items()
        for name, size in zip(permutation_spec[path], param.shape, strict=True)
        if name is not None
    }


def log_group_order(params: Params, permutation_spec: PermutationSpec) -> float:
    """Return the log of the number of elements of the group, the product of units! over the permutations' names."""
    return sum(math.lgamma(size + 1) for size in unit_counts(params, permutation_spec).values())


def identity(params: Params, permutation_spec: PermutationSpec) -> dict[str, np.ndarray]:
    """Return the identity, every name written out."""
    return {name: np.arange(size) for name, size in unit_counts(params, permutation_spec).items()}


def random_permutations(key: Key, params: Params, permutation_spec: PermutationSpec) -> dict[str, Array]:
    """Draw an element of the group, uniformly."""
    counts = unit_counts(params, permutation_spec)
    return {name: rng.permutation(rng.named_key(key, name), size) for name, size in counts.items()}


def compose(first: Permutations, second: Permutations) -> dict[str, np.ndarray | Array]:
    """Return the element that permutes as ``first`` and then ``second`` do."""
    return {**first, **{name: first[name][then] if name in first else then for name, then in second.items()}}


def invert(unit_permutations: Permutations) -> dict[str, Array]:
    """Return the element that undoes this one."""
    return {name: jnp.argsort(permutation) for name, permutation in unit_permutations.items()}


def permute(params: Params, permutation_spec: PermutationSpec, unit_permutations: Permutations) -> Params:
    """Permute the units of a network.

    Parameters
    ----------
    params : effective parameters.
    permutation_spec : see ``Model.permutation_spec``.
    unit_permutations : permutation name -> int [units]; unit i of the result is unit ``permutation[i]`` of ``params``.
        Names that are left out stay as they are.

    Returns
    -------
    Effective parameters of the same function, unless gates tell the units apart (sigma_asym); for these, see
    :func:`permute_frozen`. They may lie outside the set that the model's positions parametrise (w_asym, pruned).

    Raises
    ------
    InputError
        If the network has no permutation of a name.
    """
    known = unit_counts(params, permutation_spec)
    for given in unit_permutations:
        choose(known, given, "permutation")
    permuted = trees.flatten(params)
    for path in permuted:
        for axis, name in enumerate(permutation_spec[path]):
            if name is not None and name in unit_permutations:
                permuted[path] = jnp.take(permuted[path], unit_permutations[name], axis=axis)
    return trees.unflatten(permuted)


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
        name = permutation_spec[path.removesuffix("/gate")][0]
        if name in unit_permutations:
            permutation = unit_permutations[name]  # type: ignore[index]
            gates[path] = jnp.take(jnp.take(gate, permutation, axis=0), permutation, axis=1)
    return with_gates(frozen, gates)


def gates_of(frozen: Frozen) -> dict[str, Array]:
    """Return the gates among a network's constants, by path; none unless its method gates (sigma_asym)."""
    return {path: leaf for path, leaf in trees.flatten(frozen).items() if path.endswith("/gate")}


def with_gates(frozen: Frozen, gates: Mapping[str, Array]) -> Frozen:
    """Return a network's constants with other gates, as of :func:`gates_of`."""
    return trees.unflatten(trees.flatten(frozen) | dict(gates))
