"""Automorphisms of masked networks, and how far permuted parameters are from the set that a model parametrises."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.errors import choose
from asymjax.symmetry.permutations import Permutations, all_permutations, permute, unit_counts
from asymjax.types import Array, Frozen, Model, Params, Position


def automorphisms(kernels: Sequence[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
    """List the neural DAG automorphisms of a multilayer perceptron that map every layer to itself.

    P_l M_l P_{l-1}^T = M_l for every layer l, with inputs and outputs in place (Lim et al. 2024, section 2 and theorem
    1). Every other automorphism needs a unit without incoming edges.

    Parameters
    ----------
    kernels : labels of the edges of each layer [inputs, units], compared for equality: a mask, or for fixed values
        that are not zero those values, and some value of their own (infinity) for free entries.

    Returns
    -------
    One tuple an automorphism, a permutation int [units] for each hidden layer; the identity comes first.

    Raises
    ------
    InputError
        If a hidden layer is too wide to list its permutations.
    """
    found: list[tuple[np.ndarray, ...]] = [()]
    for kernel in kernels[:-1]:
        candidates = all_permutations(kernel.shape[1])
        found = [
            (*before, candidate) for before in found for candidate in candidates[_is_kept(kernel, before, candidates)]
        ]
    outputs = np.arange(kernels[-1].shape[1])[None]
    return [hidden for hidden in found if _is_kept(kernels[-1], hidden, outputs).all()]


def _is_kept(kernel: np.ndarray, before: tuple[np.ndarray, ...], candidates: np.ndarray) -> np.ndarray:
    """Return for which permutations of the units [candidates, units] the kernel stays as it is."""
    rows = kernel[before[-1]] if before else kernel
    return np.all(np.moveaxis(rows[:, candidates], 1, 0) == kernel, axis=(1, 2))


def distance_to_model(model: Model, params: Params, frozen: Frozen) -> Array:
    """Return the Euclidean distance of effective parameters to the affine set that positions parametrise [].

    For W-asymmetric kernels the root of sum over fixed (i, j) of (W_ij - F_ij)^2; zero where nothing is fixed.
    """
    nearest = model.merge(model.split(params, frozen), frozen)
    return trees.norm(jax.tree.map(jnp.subtract, params, nearest))


def permuted_distance(model: Model, params: Params, frozen: Frozen, permutations: Permutations) -> Array:
    """Return the distance of a permuted network to the model's set [], see :func:`distance_to_model`."""
    return distance_to_model(model, permute(params, model.permutation_spec, permutations), frozen)


def permuted_distances(model: Model, position: Position, frozen: Frozen, name: str) -> Array:
    """Return the distance to the model's set after every permutation but the identity of one layer's units.

    Parameters
    ----------
    model, position, frozen : a network.
    name : name of the unit permutation, as in ``model.permutation_spec``.

    Returns
    -------
    float [units! - 1]. Their minimum measures how strongly the units are told apart.

    Raises
    ------
    InputError
        If the network has no permutation of that name, or the layer is too wide to list its permutations.
    """
    params = model.merge(position, frozen)
    num_units = choose(unit_counts(params, model.permutation_spec), name, "permutation")

    def distance(permutation: Array) -> Array:
        return permuted_distance(model, params, frozen, {name: permutation})

    return jax.vmap(distance)(jnp.asarray(all_permutations(num_units)[1:]))
