"""Draws of weights, aligned: each one's units permuted to match those of a reference draw.

Matching of weights of Ainsworth et al. (2023), arXiv 2209.04836, algorithm 1. The permutation found names the copy, or
chamber, that the draw lies in. Two warnings. Matching brings draws closer to the reference whether or not there are
chambers, so alignment lowers the variances of a single broad mode, too. And where units are nearly alike, or the
descent has several optima, the permutation changes by noise: chambers and switches between them are upper bounds. An
asymmetric network, in which only the identity is a symmetry, is the control.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax import lax

from asymjax import trees
from asymjax.errors import InputError
from asymjax.symmetry import distance_to_model, gates_of, match_pairs, permute, permute_frozen
from asymjax.symmetry.connectivity import finite_networks
from asymjax.types import Array, Frozen, Model, Params, Position


class AlignedDraws(NamedTuple):
    """Draws of effective parameters, before and after alignment to a reference draw; on the host.

    Attributes
    ----------
    kept : int [draw]; which draws of each chain these are.
    params : leaves [chain, draw, ...], as drawn.
    aligned : leaves [chain, draw, ...], permuted to match the reference.
    permutations : permutation name -> int [chain, draw, units]; unit i of the reference matches ``permutation[i]``.
    distances : [chain, draw]; Euclidean distance of the permuted draw to the set that the model's positions
        parametrise, zero where nothing is fixed.
    gate_distances : [chain, draw]; that of the gates with which it is the same function, P F P^T, to the model's gates.
    """

    kept: np.ndarray
    params: Params
    aligned: Params
    permutations: dict[str, np.ndarray]
    distances: np.ndarray
    gate_distances: np.ndarray


def thin(num_draws: int, max_draws: int | None) -> np.ndarray:
    """Return at most ``max_draws`` draws, evenly spaced up to the last, int [draw]; all for None.

    Raises
    ------
    InputError
        If ``max_draws`` is below 1.
    """
    if max_draws is None:
        return np.arange(num_draws)
    if max_draws < 1:
        raise InputError(f"max_draws is {max_draws}; give 1 at least, or None to keep all")
    step = -(-num_draws // max_draws)
    return np.arange((num_draws - 1) % step, num_draws, step)


def align_draws(
    model: Model,
    frozen: Frozen,
    positions: Position,
    reference: Params | None = None,
    max_draws: int | None = None,
    seed: int = 0,
) -> AlignedDraws:
    """Match the weights of every draw with those of one reference.

    Parameters
    ----------
    model, frozen : of all chains.
    positions : leaves [chain, draw, ...]; leaves that are not parameters of the network (a noise scale) are ignored.
    reference : effective parameters; the last draw of the first chain by default.
    max_draws : draws of each chain to keep, evenly spaced up to the last, since matching takes milliseconds each;
        None keeps all.
    seed : of the matching.

    Raises
    ------
    InputError
        If a draw is not finite, the network has no units to permute, or ``max_draws`` is below 1.
    """
    kept = thin(jax.tree.leaves(positions)[0].shape[1], max_draws)
    chosen = jax.tree.map(lambda leaf: np.asarray(leaf)[:, kept].reshape(-1, *leaf.shape[2:]), positions)
    params = trees.to_host(jax.jit(jax.vmap(model.merge, (0, None)))(chosen, frozen))
    _check_finite(params, len(kept))
    networks = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(len(jax.tree.leaves(params)[0]))]
    reference = networks[len(kept) - 1] if reference is None else reference
    found = [
        match.permutations for match in match_pairs(model.permutation_spec, [(reference, n) for n in networks], seed)
    ]
    if not found[0]:
        raise InputError("the network has no hidden units, so there is nothing to align")
    permutations = {name: np.stack([match[name] for match in found]) for name in found[0]}
    moved = trees.to_host(_move_all(model, params, permutations, frozen))
    parts = jax.tree.map(lambda leaf: leaf.reshape(-1, len(kept), *leaf.shape[1:]), (params, moved[0], permutations))
    return AlignedDraws(kept, *parts, *(distance.reshape(-1, len(kept)) for distance in moved[1:]))


def _check_finite(params: Params, num_kept: int) -> None:
    is_finite = finite_networks(params)
    if not is_finite.all():
        chain, draw = divmod(int(np.argmin(is_finite)), num_kept)
        raise InputError(f"chain {chain} is not finite, first in kept draw {draw}")


def _move_all(
    model: Model, params: Params, permutations: Mapping[str, np.ndarray], frozen: Frozen
) -> tuple[Params, Array, Array]:
    """Permute networks [network, ...], and measure how far each and its gates go from the model's."""
    spec = model.permutation_spec

    def move(network: tuple[Params, Mapping[str, Array]], frozen: Frozen) -> tuple[Params, Array, Array]:
        permuted = permute(network[0], spec, network[1])
        gates, conjugated = gates_of(frozen), gates_of(permute_frozen(frozen, spec, network[1]))
        gate_distance = trees.norm({path: conjugated[path] - gate for path, gate in gates.items()})
        return permuted, distance_to_model(model, permuted, frozen), gate_distance

    return jax.jit(lambda networks, frozen: lax.map(lambda one: move(one, frozen), networks))(
        (params, permutations), frozen
    )
