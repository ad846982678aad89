"""Permutations of units: every one of a few units, and their action on parameters."""

from collections.abc import Mapping
from itertools import permutations

import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.errors import InputError
from asymjax.models.build import choose
from asymjax.types import Array, Params, PermutationSpec

MAX_ENUMERATED_UNITS = 8


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


def permute(
    params: Params, permutation_spec: PermutationSpec, unit_permutations: Mapping[str, np.ndarray | Array]
) -> Params:
    """Permute the units of a network.

    Parameters
    ----------
    params : effective parameters.
    permutation_spec : see ``Model.permutation_spec``.
    unit_permutations : permutation name -> int [units]; unit i of the result is unit ``permutation[i]`` of ``params``.
        Names that are left out stay as they are.

    Returns
    -------
    Effective parameters of the same function, unless gates tell the units apart (sigma_asym). They may lie outside the
    set that the model's positions parametrise (w_asym, pruned).

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
