"""Barriers of the log density between chains, and within them, on the straight paths between draws.

Paths run in ``position``; since ``merge`` is affine they are the straight paths of effective weights as well.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asymjax import rng, trees
from asymjax.diagnostics.lags import check_lags
from asymjax.errors import InputError
from asymjax.symmetry import match_pairs, permute, random_permutations
from asymjax.symmetry.connectivity import all_pairs, barriers, grid, interpolate
from asymjax.types import Array, Frozen, Model, Params, Position, PyTree


def logdensity_barriers(
    logdensity: Callable[..., Array], positions: Position, data: Sequence[PyTree] = (), num_points: int = 11
) -> dict[str, np.ndarray]:
    """Return how far the log density falls on the straight paths between all pairs of chains.

    Parameters
    ----------
    logdensity : (position, *data) -> [], in nats.
    positions : leaves [chain, ...], one draw a chain, two chains or more.
    data : further arguments of ``logdensity``; large arrays belong here, for what it closes over is compiled in.
    num_points : on each path, both ends included; odd, 3 or more.

    Returns
    -------
    ``maximum``: the largest (1 - t) l(0) + t l(1) - l(t) over the points, zero or more, and ``midpoint``: that at 1/2,
    below zero where the log density is concave. Each float64 [pair], pairs in the order of ``connectivity.all_pairs``;
    with the log density for minus the loss, the barriers of Frankle et al. (2020) and of Lim et al. (2024, table 1).

    Raises
    ------
    InputError
        If there are fewer than two chains, or ``num_points`` is even or below 3.
    """
    pairs = _pairs_of(positions)
    starts, ends = (jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf)[pairs[:, i]], positions) for i in (0, 1))
    return _along_paths(logdensity, starts, ends, data, num_points)


def within_chain_barriers(
    logdensity: Callable[..., Array],
    positions: Position,
    lags: Sequence[int],
    data: Sequence[PyTree] = (),
    num_points: int = 11,
) -> dict[str, np.ndarray]:
    """Return how far the log density falls between the last draw of each chain and earlier ones of the same chain.

    The control of :func:`logdensity_barriers`: barriers between chains are a sign of modes of their own only where
    they are higher than those that one chain crosses, however long it runs.

    Parameters
    ----------
    logdensity, data, num_points : see :func:`logdensity_barriers`.
    positions : leaves [chain, draw, ...].
    lags : how many draws earlier, each from 1 to the number of draws less one.

    Returns
    -------
    ``maximum`` and ``midpoint`` as of :func:`logdensity_barriers`, each float64 [lag, chain].

    Raises
    ------
    InputError
        If there are not so many draws.
    """
    num_chains, num_draws = jax.tree.leaves(positions)[0].shape[:2]
    check_lags(lags, num_draws)

    def stacked(leaf: Array, lags: Sequence[int]) -> Array:
        return jnp.concatenate([jnp.asarray(leaf[:, -1 - lag]) for lag in lags])

    starts = jax.tree.map(lambda leaf: stacked(leaf, lags), positions)
    ends = jax.tree.map(lambda leaf: stacked(leaf, [0] * len(lags)), positions)
    found = _along_paths(logdensity, starts, ends, data, num_points)
    return {name: values.reshape(len(lags), num_chains) for name, values in found.items()}


def permuted_copy_barriers(
    model: Model,
    frozen: Frozen,
    logdensity: Callable[..., Array],
    positions: Position,
    data: Sequence[PyTree] = (),
    num_points: int = 11,
    seed: int = 0,
) -> dict[str, np.ndarray] | None:
    """Return how far the log density falls between draws and copies of them whose units are permuted at random.

    What a second mode of the same function looks like, where there is one for certain.

    Parameters
    ----------
    model, frozen, logdensity, positions, data, num_points : see :func:`aligned_logdensity_barriers`.
    seed : of the permutations.

    Returns
    -------
    As :func:`logdensity_barriers`, each [chain]; None where the method fixes anything.
    """
    if not is_permutable(frozen):
        return None
    positions = jax.tree.map(jnp.asarray, positions)

    def copy(key: Array, position: Position) -> Position:
        params = model.merge(position, frozen)
        element = random_permutations(key, params, model.permutation_spec)
        return to_position(model, permute(params, model.permutation_spec, element), frozen, position)

    keys = rng.member_keys(jax.random.key(seed), len(jax.tree.leaves(positions)[0]))
    copies = jax.jit(jax.vmap(copy))(keys, positions)
    return _along_paths(logdensity, positions, copies, data, num_points)


def aligned_logdensity_barriers(
    model: Model,
    frozen: Frozen,
    logdensity: Callable[..., Array],
    positions: Position,
    data: Sequence[PyTree] = (),
    num_points: int = 11,
    seed: int = 0,
) -> dict[str, np.ndarray] | None:
    """Return :func:`logdensity_barriers` with the second end of each path permuted to match the weights of the first.

    Parameters
    ----------
    model, frozen : of all chains.
    logdensity, positions, data, num_points : see :func:`logdensity_barriers`. Leaves of positions that are not
        parameters of the network (a noise scale) stay as they are.
    seed : of the matching.

    Returns
    -------
    As :func:`logdensity_barriers`; None where the method fixes anything (entries, gates, offsets), since the permuted
    network is then no position of the model, or one of another density.

    Raises
    ------
    InputError
        As :func:`logdensity_barriers`.
    """
    pairs = _pairs_of(positions)
    if not is_permutable(frozen):
        return None
    positions = trees.to_host(positions)
    chains = [jax.tree.map(lambda leaf, i=i: leaf[i], positions) for i in range(pairs.max() + 1)]
    networks = [trees.to_host(model.merge(chain, frozen)) for chain in chains]
    found = match_pairs(model.permutation_spec, [(networks[a], networks[b]) for a, b in pairs], seed)
    ends = [
        to_position(model, permute(networks[b], model.permutation_spec, match.permutations), frozen, chains[b])
        for (_, b), match in zip(pairs, found, strict=True)
    ]
    starts = jax.tree.map(lambda leaf: leaf[pairs[:, 0]], positions)
    return _along_paths(logdensity, starts, jax.tree.map(lambda *leaves: jnp.stack(leaves), *ends), data, num_points)


def is_permutable(frozen: Frozen) -> bool:
    """Return whether every permuted network is a position of the same model and density: nothing is fixed."""
    return not jax.tree.leaves(frozen)


def to_position(model: Model, params: Params, frozen: Frozen, like: Position) -> Position:
    """Return the position of effective parameters, with those leaves of ``like`` that are no parameters (noise)."""
    return trees.unflatten(trees.flatten(like) | trees.flatten(model.split(params, frozen)))


def _pairs_of(positions: Position) -> np.ndarray:
    num_chains = len(jax.tree.leaves(positions)[0])
    if num_chains < 2:
        raise InputError(f"{num_chains} chain has no pairs; give 2 chains at least")
    return all_pairs(num_chains)


def _along_paths(
    logdensity: Callable[..., Array], starts: Position, ends: Position, data: Sequence[PyTree], num_points: int
) -> dict[str, np.ndarray]:
    points = grid(num_points)

    def path(start: Position, end: Position, *data: Any) -> Array:
        return lax.map(lambda t: logdensity(interpolate(start, end, t), *data), jnp.asarray(points, "float32"))

    curves = jax.jit(lambda pairs, data: lax.map(lambda pair: path(*pair, *data), pairs))((starts, ends), tuple(data))
    return barriers(points, -np.asarray(curves))
