"""Modes: how draws of weights occupy the permuted copies of a posterior, and what lies between its chains."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from asymjax.diagnostics.aligned import AlignedDraws, align_draws
from asymjax.diagnostics.barriers import (
    aligned_logdensity_barriers,
    is_permutable,
    logdensity_barriers,
    permuted_copy_barriers,
    to_position,
    within_chain_barriers,
)
from asymjax.diagnostics.convergence import nested_rhat, ravel_positions, summarise
from asymjax.diagnostics.lags import default_lags
from asymjax.diagnostics.unit_order import units_in_place
from asymjax.errors import InputError
from asymjax.symmetry.connectivity import all_pairs, over_pairs
from asymjax.types import Array, Frozen, Model, Params, Position, PyTree


class PosteriorMeans(NamedTuple):
    """Networks at the mean of all chains and draws, to be scored against the Bayesian model average.

    Attributes
    ----------
    position : mean position, as drawn.
    aligned_params : mean of the aligned effective parameters, for ``model.forward``; None where draws were permuted
        that have gates, since no gates belong to their mean.
    aligned_position : the position of ``aligned_params``; None where the method fixes anything.
    of_chains : mean position of each chain as drawn, leaves [chain, ...].
    """

    position: Position
    aligned_params: Params | None
    aligned_position: Position | None
    of_chains: Position


def chambers(permutations: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Count the permuted copies that draws lie in.

    Parameters
    ----------
    permutations : permutation name -> int [chain, draw, units], see :class:`AlignedDraws`.

    Returns
    -------
    dict
        - ``switches``: int [chain]; draws whose permutation differs from that of the draw before.
        - ``num_chambers``: distinct permutations, all chains pooled.
        - ``occupancy_entropy``: of the chambers' shares of all draws, in nats; the plug-in estimate, which is too low
          for few draws.
        - ``max_occupancy_entropy``: the largest it can be, the log of the number of draws or of the permutations.
        - ``identity_share``: share of draws that match the reference as they are.
    """
    draws = np.concatenate(list(permutations.values()), axis=-1)
    neutral = np.concatenate([np.arange(units.shape[-1]) for units in permutations.values()])
    counts = np.unique(draws.reshape(-1, draws.shape[-1]), axis=0, return_counts=True)[1]
    shares = counts / counts.sum()
    log_order = sum(math.lgamma(units.shape[-1] + 1) for units in permutations.values())
    return {
        "switches": np.any(draws[:, 1:] != draws[:, :-1], axis=-1).sum(axis=1),
        "num_chambers": len(counts),
        "occupancy_entropy": float(-np.sum(shares * np.log(shares))) + 0.0,  # no negative zero
        "max_occupancy_entropy": min(math.log(counts.sum()), log_order),
        "identity_share": float(np.all(draws == neutral, axis=-1).mean()),
    }


def covariance_split(draws: AlignedDraws) -> dict[str, float]:
    """Split the trace of the covariance of effective weights over all chains and draws.

    Returns
    -------
    ``total``; ``aligned``, what is left of it after alignment; ``permutation_share``, 1 - aligned / total, which is NaN
    where nothing varies, and not zero for one broad mode either, see :mod:`asymjax.diagnostics.aligned`.
    """
    total, aligned = _total_variance(draws.params), _total_variance(draws.aligned)
    share = 1 - aligned / total if total > 0 else math.nan
    return {"total": total, "aligned": aligned, "permutation_share": share}


def _total_variance(params: Params) -> float:
    """Return the sum over coordinates of the sample variances of leaves [chain, draw, ...]."""
    leaves = [leaf.reshape(-1, math.prod(leaf.shape[2:])) for leaf in jax.tree.leaves(params)]
    return float(sum(np.var(leaf, axis=0, ddof=1, dtype=np.float64).sum() for leaf in leaves))


def posterior_means(model: Model, frozen: Frozen, positions: Position, draws: AlignedDraws) -> PosteriorMeans:
    """Average the draws that were aligned, as drawn and aligned.

    Parameters
    ----------
    model, frozen, positions : as given to :func:`align_draws`, positions with leaves [chain, draw, ...].
    draws : what it returned.
    """

    def mean(leaf: np.ndarray) -> np.ndarray:
        return leaf.mean(axis=(0, 1), dtype=np.float64).astype(leaf.dtype)

    position = jax.tree.map(lambda leaf: mean(np.asarray(leaf)[:, draws.kept]), positions)
    of_chains = jax.tree.map(
        lambda leaf: np.asarray(leaf)[:, draws.kept].mean(1, dtype=np.float64).astype(leaf.dtype), positions
    )
    if np.any(draws.gate_distances > 0):
        return PosteriorMeans(position, None, None, of_chains)
    params = jax.tree.map(mean, draws.aligned)
    aligned = to_position(model, params, frozen, position) if is_permutable(frozen) else None
    return PosteriorMeans(position, params, aligned, of_chains)


def summarise_modes(
    model: Model,
    frozen: Frozen,
    positions: Position,
    logdensity: Callable[..., Array],
    data: Sequence[PyTree] = (),
    max_draws: int | None = 200,
    num_points: int = 11,
    num_superchains: int | None = None,
    seed: int = 0,
    inputs: Any = None,
) -> tuple[dict[str, Any], PosteriorMeans]:
    """Gather everything about the modes of kept draws, for ``summary.json``, and the networks at their mean.

    Parameters
    ----------
    model, frozen, positions, max_draws, seed : see :func:`align_draws`; 8 draws a chain or more after thinning.
    logdensity, data, num_points : see :func:`~asymjax.diagnostics.logdensity_barriers`; ends are the last draws.
    num_superchains : see :func:`~asymjax.diagnostics.nested_rhat`; without it there is none.
    inputs : see :func:`~asymjax.diagnostics.units_in_place`; without them it is not measured.

    Returns
    -------
    tuple
        A dict of plain numbers: ``num_draws`` a chain after thinning; ``weight_space`` and ``aligned_weight_space`` as
        of ``summarise`` on effective weights (fixed ones are constant, until they are permuted), with
        ``nested_rhat_max`` and ``nested_rhat_median``; ``chambers`` as of :func:`chambers`, with ``switches_mean`` over
        chains; ``covariance`` as of :func:`covariance_split`; ``distance_to_model`` and ``gate_distance``, means over
        permuted draws; ``barrier`` and ``aligned_barrier``, of the log density between chains: mean, interval and
        maximum over pairs, None for a single chain; ``within_barrier``, maxima on the path within a chain, mean over
        chains, for each of ``lags``; ``permuted_barrier``, the same to permuted copies, mean over chains, None where
        the method fixes anything; ``units_in_place``, means over chains and pairs of :func:`units_in_place` at the
        same lags, None without inputs; ``logdensity_at_mean`` and ``logdensity_at_aligned_mean`` in
        nats. ``aligned_barrier`` and the last are None where the method fixes anything. And what
        :func:`posterior_means` returns.

    Raises
    ------
    InputError, ValueError
        As the functions named.
    """
    draws = align_draws(model, frozen, positions, None, max_draws, seed)
    means = posterior_means(model, frozen, positions, draws)
    counts = chambers(draws.permutations)
    at = jax.jit(logdensity)
    aligned_mean = means.aligned_position
    summary = {
        "num_draws": len(draws.kept),
        "weight_space": _convergence(draws.params, num_superchains),
        "aligned_weight_space": _convergence(draws.aligned, num_superchains),
        "chambers": counts
        | {"switches": counts["switches"].tolist(), "switches_mean": counts["switches"].mean().item()},
        "covariance": covariance_split(draws),
        "distance_to_model": float(draws.distances.mean()),
        "gate_distance": float(draws.gate_distances.mean()),
        **_barriers(model, frozen, positions, logdensity, data, num_points, seed),
        "units_in_place": None if inputs is None else _in_place(model, frozen, positions, inputs),
        "logdensity_at_mean": float(at(means.position, *data)),
        "logdensity_at_aligned_mean": None if aligned_mean is None else float(at(aligned_mean, *data)),
    }
    return summary, means


def _in_place(model: Model, frozen: Frozen, positions: Position, inputs: Any) -> dict[str, Any] | None:
    lags = default_lags(jax.tree.leaves(positions)[0].shape[1])
    try:
        found = units_in_place(model, frozen, positions, inputs, lags)
    except InputError:  # There are units that feed no activation, or sites that cannot be read.
        return None
    between = found.between.mean().item() if found.between.size else None
    return {"lags": lags, "within": found.within.mean(1).tolist(), "between": between, "chance": found.chance}


def _convergence(params: Params, num_superchains: int | None) -> dict[str, float]:
    coordinates = ravel_positions(params)[0]
    summary = summarise(coordinates)
    if num_superchains is not None:
        nested = nested_rhat(coordinates, num_superchains)
        is_moving = ~np.isnan(nested)
        moving = nested[is_moving] if is_moving.any() else nested
        summary |= {"nested_rhat_max": float(np.max(moving)), "nested_rhat_median": float(np.median(moving))}
    return summary


def _barriers(
    model: Model,
    frozen: Frozen,
    positions: Position,
    logdensity: Callable[..., Array],
    data: Sequence[PyTree],
    num_points: int,
    seed: int,
) -> dict[str, Any]:
    """Return the entries of a summary on barriers: between last draws of chains, within chains, to permuted copies."""
    ends = jax.tree.map(lambda leaf: np.asarray(leaf)[:, -1], positions)
    num_chains, num_draws = jax.tree.leaves(positions)[0].shape[:2]
    lags = default_lags(num_draws)
    within = within_chain_barriers(logdensity, positions, lags, data, num_points)["maximum"]
    copies = permuted_copy_barriers(model, frozen, logdensity, ends, data, num_points, seed)
    controls = {
        "within_barrier": {"lags": lags, "maximum": within.mean(1).tolist()},
        "permuted_barrier": None if copies is None else copies["maximum"].mean().item(),
    }
    if num_chains < 2:
        return {"barrier": None, "aligned_barrier": None, **controls}
    pairs = all_pairs(num_chains)

    def over(values: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
        return {
            name: {key: float(number) for key, number in over_pairs(barrier, pairs).items()}
            | {"max": barrier.max().item()}
            for name, barrier in values.items()
        }

    matched = aligned_logdensity_barriers(model, frozen, logdensity, ends, data, num_points, seed)
    return {
        "barrier": over(logdensity_barriers(logdensity, ends, data, num_points)),
        "aligned_barrier": None if matched is None else over(matched),
        **controls,
    }
