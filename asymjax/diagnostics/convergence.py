"""Convergence of chains: R-hat, effective sample sizes, chainwise and nested R-hat, for many coordinates at once.

The definitions are those of Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), "Rank-normalization, folding, and
localization: an improved R-hat for assessing convergence of MCMC", Bayesian Analysis 16(2), and the numbers agree with
ArviZ. Weight space and function space go through the same functions and differ in the coordinates only; say which one
you report.

NumPy and SciPy do the work rather than ``blackjax.rhat``, ``ess_bulk`` and ``ess_tail`` (BlackJAX 1.7.1), which take
about ten times as long on a CPU for thousands of coordinates and end Geyer's sequence elsewhere, which moved the bulk
ESS of slow, short chains by up to 5 % away from ArviZ.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike
from scipy.special import log_softmax, ndtri

from asymjax import trees

_BATCH_SIZE = 2**18  # scalars that one thread works on at a time: 2 MB in float64, which stay in cache


def summarise(draws: ArrayLike, num_pieces: int = 4) -> dict[str, float]:
    """Summarise the convergence of all coordinates.

    Parameters
    ----------
    draws : [chain, draw, ...], finite; every index of the trailing axes is a coordinate.
    num_pieces : number of pieces that chainwise R-hat cuts a chain into, 2 or more.

    Returns
    -------
    dict
        ``rhat_max``, ``rhat_median``, ``ess_bulk_min``, ``ess_bulk_median``, ``ess_tail_min``, ``ess_tail_median`` and
        ``chainwise_rhat_median`` over the coordinates that are not constant (NaN where all are), and ``num_constant``,
        the number of coordinates with one value in every draw of every chain. An R-hat may be infinite.

    Raises
    ------
    ValueError
        As :func:`per_coordinate`.
    """
    return summarise_coordinates(per_coordinate(draws, num_pieces))


def summarise_coordinates(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Summarise the statistics that :func:`per_coordinate` gives; entries as in :func:`summarise`."""
    is_constant = np.isnan(values["rhat"])

    def over_moving(reduce: Callable[..., Any], name: str) -> float:
        return np.nan if np.all(is_constant) else float(reduce(values[name][~is_constant]))

    return {
        "rhat_max": over_moving(np.max, "rhat"),
        "rhat_median": over_moving(np.median, "rhat"),
        "ess_bulk_min": over_moving(np.min, "ess_bulk"),
        "ess_bulk_median": over_moving(np.median, "ess_bulk"),
        "ess_tail_min": over_moving(np.min, "ess_tail"),
        "ess_tail_median": over_moving(np.median, "ess_tail"),
        "chainwise_rhat_median": over_moving(np.median, "chainwise_rhat"),
        "num_constant": int(np.sum(is_constant)),
    }


def per_coordinate(draws: ArrayLike, num_pieces: int = 4) -> dict[str, np.ndarray]:
    """Compute every convergence statistic of every coordinate.

    Parameters
    ----------
    draws : [chain, draw, ...], finite; one chain is enough, since chains are split.
    num_pieces : number of pieces that chainwise R-hat cuts a chain into, 2 or more.

    Returns
    -------
    dict
        Four arrays float64 [...], NaN where a coordinate has one value in every draw of every chain:

        - ``rhat``: the larger of the rank-normalised split R-hat of the draws and of the folded draws (Vehtari et al.
          2021, sections 4.1 and 4.2); infinite where no chain moves but the chains differ.
        - ``ess_bulk``: ESS of the rank-normalised split draws (section 4.1), in draws.
        - ``ess_tail``: the smaller ESS of the indicators of being at most the 5 % and the 95 % quantile (section 4.3),
          in draws.
        - ``chainwise_rhat``: R-hat of the consecutive pieces of one chain, without ranks, median over chains (Sommer et
          al. 2024, "Connecting the dots"); a chain that never moves counts as infinite.

    Raises
    ------
    ValueError
        If a draw is not finite (the message names chain and draw), or there are too few axes, coordinates, draws (at
        least 8, and two a piece) or pieces.
    """
    return _over_coordinates(lambda batch: _statistics(batch, num_pieces), _checked(draws, num_pieces))


def nested_rhat(draws: ArrayLike, num_superchains: int) -> np.ndarray:
    """Compute nested R-hat of every coordinate, for many chains that may be short.

    sqrt(1 + B / W), with B the variance of the means of superchains, and W the mean over superchains of the variance
    between the means of their chains plus the mean variance within these (Margossian et al. 2024, "Nested R-hat:
    assessing the convergence of Markov chain Monte Carlo when running many short chains", Bayesian Analysis, equations
    6 to 8). What is not there to vary, one chain a superchain or one draw a chain, adds nothing to W. Neither ranks nor
    split chains; with one chain a superchain it is R-hat with 1 in place of (n - 1) / n.

    Parameters
    ----------
    draws : [chain, draw, ...], finite; chains of one superchain, those that started in one place, follow each other.
    num_superchains : 2 or more, a divisor of the number of chains.

    Returns
    -------
    array
        float64 [...], 1 or more; NaN where a coordinate has one value in every draw of every chain, infinite where it
        moves in no superchain but they differ.

    Raises
    ------
    ValueError
        If a draw is not finite (the message names chain and draw), superchains are fewer than 2 or do not divide the
        chains, or each superchain is one single draw.
    """
    draws = _checked_finite(draws)
    num_chains, num_draws = draws.shape[:2]
    if num_superchains < 2 or num_chains % num_superchains:
        raise ValueError(
            f"{num_superchains} superchains of {num_chains} chains: need 2 or more, a divisor of the chains"
        )
    if num_draws == 1 and num_chains == num_superchains:
        raise ValueError("one draw a superchain has no variance; give several chains a superchain or several draws")
    return _over_coordinates(lambda batch: {"": _nested_rhat(batch, num_superchains)}, draws)[""]


def efficiency(summary: Mapping[str, float], seconds: float, num_grad_evals: float) -> dict[str, float]:
    """Divide the effective sample sizes of a summary by what they cost.

    Parameters
    ----------
    summary : from :func:`summarise`.
    seconds : wall time of all chains together, compilation excluded, above 0.
    num_grad_evals : full-data gradients of all chains together, 0 or more; say whether warmup is among them.

    Returns
    -------
    dict
        ``<name>_per_second`` and ``<name>_per_grad_eval`` of each ``ess_*`` entry, the last NaN where draws take
        no gradients.

    Raises
    ------
    ValueError
        If there are no seconds, or a cost is negative.
    """
    if seconds <= 0 or num_grad_evals < 0:
        raise ValueError(f"no cost is {seconds} seconds or {num_grad_evals} gradients: give more than 0, and 0 or more")
    ess = {name: value for name, value in summary.items() if name.startswith("ess_")}
    num_grad_evals = num_grad_evals or np.nan
    per_second = {f"{name}_per_second": value / seconds for name, value in ess.items()}
    return per_second | {f"{name}_per_grad_eval": value / num_grad_evals for name, value in ess.items()}


def ravel_positions(positions: Mapping[str, Any]) -> tuple[np.ndarray, list[str]]:
    """Ravel a tree of positions into the coordinates of weight space.

    Parameters
    ----------
    positions : tree of leaves [chain, draw, ...].

    Returns
    -------
    tuple
        Array [chain, draw, coordinate] and a label for each coordinate such as ``"dense_0/kernel[3,5]"``, leaves in
        sorted order and entries in row-major order, as ``jax.flatten_util.ravel_pytree`` has them.
    """
    leaves = {path: np.asarray(leaf) for path, leaf in trees.flatten(positions).items()}
    labels = [path + _subscript(index) for path, leaf in leaves.items() for index in np.ndindex(leaf.shape[2:])]
    return np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves.values()], axis=-1), labels


def classification_coordinates(logits: ArrayLike) -> np.ndarray:
    """Make the function-space coordinates of a classifier: all probabilities, then all log-probabilities.

    Parameters
    ----------
    logits : [chain, draw, input, class] on the probe inputs.

    Returns
    -------
    array
        float64 [chain, draw, 2 * input * class].
    """
    log_probability = log_softmax(np.asarray(logits, np.float64), axis=-1)
    log_probability = log_probability.reshape(*log_probability.shape[:2], -1)
    return np.concatenate([np.exp(log_probability), log_probability], axis=-1)


def regression_coordinates(mean: ArrayLike, sigma: ArrayLike | None = None) -> np.ndarray:
    """Make the function-space coordinates of a regressor: all means, then all log standard deviations.

    Parameters
    ----------
    mean : [chain, draw, input, target] on the probe inputs.
    sigma : predictive standard deviations of the same shape, above 0; None for a homoscedastic network.

    Returns
    -------
    array
        float64 [chain, draw, input * target], or twice as many coordinates with ``sigma``.
    """
    heads = [np.asarray(mean, np.float64)]
    if sigma is not None:
        heads.append(np.log(np.asarray(sigma, np.float64)))
    return np.concatenate([head.reshape(*head.shape[:2], -1) for head in heads], axis=-1)


def _subscript(index: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, index))}]" if index else ""


def _over_coordinates(
    statistics: Callable[[np.ndarray], dict[str, np.ndarray]], draws: np.ndarray
) -> dict[str, np.ndarray]:
    """Map statistics [coordinate] of draws [chain, draw, coordinate] over [chain, draw, ...], on threads."""
    flat = draws.reshape(*draws.shape[:2], -1)
    width = max(1, _BATCH_SIZE // (flat.shape[0] * flat.shape[1]))
    batches = [flat[..., start : start + width] for start in range(0, flat.shape[-1], width)]
    with ThreadPoolExecutor() as threads:
        parts = list(threads.map(statistics, batches))
    return {name: np.concatenate([part[name] for part in parts]).reshape(draws.shape[2:]) for name in parts[0]}


def _checked(draws: ArrayLike, num_pieces: int) -> np.ndarray:
    draws = _checked_axes(draws)
    if num_pieces < 2 or draws.shape[1] < max(8, 2 * num_pieces):
        raise ValueError(f"{num_pieces} pieces of {draws.shape[1]} draws: need 2 pieces, 8 draws and 2 draws a piece")
    return _checked_finite(draws)


def _checked_axes(draws: ArrayLike) -> np.ndarray:
    draws = np.asarray(draws)
    if draws.ndim < 2 or draws.size == 0:
        raise ValueError(f"draws must be [chain, draw, ...] and not empty, got shape {draws.shape}")
    return draws


def _checked_finite(draws: ArrayLike) -> np.ndarray:
    draws = _checked_axes(draws)
    is_finite = np.isfinite(draws).all(axis=tuple(range(2, draws.ndim)))
    if not is_finite.all():
        chain, draw = np.argwhere(~is_finite)[0]
        raise ValueError(f"chain {chain} is not finite, first in draw {draw}")
    return draws


def _statistics(draws: np.ndarray, num_pieces: int) -> dict[str, np.ndarray]:
    """Statistics [coordinate] of draws [chain, draw, coordinate]."""
    x = np.ascontiguousarray(np.moveaxis(draws, -1, 0), dtype=np.float64)
    halves = _split(x)
    ranked = _rank_normalise(halves)
    folded = _rank_normalise(np.abs(halves - np.median(halves, axis=(1, 2), keepdims=True)))
    low, high = np.quantile(x, [0.05, 0.95], axis=(1, 2), keepdims=True)
    is_constant = np.all(x == x[:, :1, :1], axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        piecewise = _rhat(_cut(x, num_pieces))
        statistics = {
            "rhat": np.fmax(_rhat(ranked), _rhat(folded)),  # folded draws of -1 and 1 are constant: NaN
            "ess_bulk": _ess(ranked),
            "ess_tail": np.minimum(_quantile_ess(x, low), _quantile_ess(x, high)),
            "chainwise_rhat": np.median(np.where(np.isnan(piecewise), np.inf, piecewise), axis=-1),
        }
    return {name: np.where(is_constant, np.nan, value) for name, value in statistics.items()}


def _cut(x: np.ndarray, num_pieces: int) -> np.ndarray:
    """Cut [..., draw] into equal consecutive pieces [..., piece, draw]; draws left over fall between the pieces."""
    length = x.shape[-1] // num_pieces
    starts = [piece * (x.shape[-1] - length) // (num_pieces - 1) for piece in range(num_pieces)]
    return np.stack([x[..., start : start + length] for start in starts], axis=-2)


def _split(x: np.ndarray) -> np.ndarray:
    """Split chains in halves: [coordinate, chain, draw] to [coordinate, 2 * chain, draw // 2]."""
    return _cut(x, 2).reshape(len(x), -1, x.shape[-1] // 2)


def _rank_normalise(x: np.ndarray) -> np.ndarray:
    """Replace values by normal scores of their ranks over chains and draws (Vehtari et al. 2021, equation 14)."""
    size = x[0].size
    return ndtri((_ranks(x.reshape(len(x), size)) - 3 / 8) / (size + 1 / 4)).reshape(x.shape)


def _ranks(x: np.ndarray) -> np.ndarray:
    """Rank along the last axis from 1, ties averaged; ``scipy.stats.rankdata`` is slower, since it sorts stably."""
    order = np.argsort(x, axis=-1)
    ordered = np.take_along_axis(x, order, axis=-1)
    is_first = np.ones(x.shape, dtype=bool)
    is_first[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    starts = np.flatnonzero(is_first)
    counts = np.diff(starts, append=x.size)
    averages = np.repeat(starts % x.shape[-1] + (counts + 1) / 2, counts)
    ranks = np.empty(x.shape)
    np.put_along_axis(ranks, order, averages.reshape(x.shape), axis=-1)
    return ranks


def _quantile_ess(x: np.ndarray, quantile: np.ndarray) -> np.ndarray:
    """ESS [coordinate] of whether draws [coordinate, chain, draw] are at most a quantile.

    Where all are at most it, the number of draws, as in ArviZ, or what those below it are worth if that is less: a
    chain that is stuck at the top has all others below it.
    """
    at_most = x <= quantile
    is_constant = np.all(at_most, axis=(1, 2))
    ess = _ess(_split(np.where(is_constant[:, None, None], x < quantile, at_most)))
    return np.where(is_constant, np.minimum(ess, x[0].size), ess)


def _variance(x: np.ndarray) -> np.ndarray:
    """Sample variance over the last axis, exactly 0 where nothing varies."""
    return np.var(x - x[..., :1], axis=-1, ddof=1)


def _rhat(x: np.ndarray) -> np.ndarray:
    """R-hat over [..., sequence, draw] (Vehtari et al. 2021, equations 1 to 4; their B is draws times ``between``)."""
    within = np.mean(_variance(x), axis=-1)
    between = _variance(np.mean(x, axis=-1))
    return np.sqrt((x.shape[-1] - 1) / x.shape[-1] + between / within)


def _nested_rhat(draws: np.ndarray, num_superchains: int) -> np.ndarray:
    """Nested R-hat [coordinate] of draws [chain, draw, coordinate]."""
    x = np.ascontiguousarray(np.moveaxis(draws, -1, 0), dtype=np.float64)
    x = x.reshape(len(x), num_superchains, -1, x.shape[-1])
    means = np.mean(x, axis=-1)
    within = np.zeros(means.shape[:2])
    if x.shape[2] > 1:
        within += _variance(means)
    if x.shape[3] > 1:
        within += np.mean(_variance(x), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(1 + _variance(np.mean(means, axis=-1)) / np.mean(within, axis=-1))


def _ess(x: np.ndarray) -> np.ndarray:
    """ESS over [coordinate, sequence, draw] by Geyer's initial monotone sequence.

    Vehtari et al. (2021), equations 10, 12 and 13, with their two refinements for antithetic chains: the half pair at
    the end of the sequence, and ESS at most ``total * log10(total)``.
    """
    num_sequences, num_draws = x.shape[1:]
    total = num_sequences * num_draws
    means = np.mean(x, axis=-1, keepdims=True)
    size = scipy.fft.next_fast_len(2 * num_draws, real=True)
    power = np.mean(np.abs(scipy.fft.rfft(x - means, size)) ** 2, axis=1)
    autocovariance = scipy.fft.irfft(power, size)[:, :num_draws] / num_draws
    variance = autocovariance[:, :1] + np.var(means[..., 0], axis=1, ddof=1, keepdims=True)
    rho = 1 - (autocovariance[:, :1] * num_draws / (num_draws - 1) - autocovariance) / variance
    rho[:, 0] = 1
    num_pairs = (num_draws - 1) // 2
    pairs = rho[:, 0 : 2 * num_pairs : 2] + rho[:, 1 : 2 * num_pairs : 2]
    is_kept = np.logical_and.accumulate(pairs > 0, axis=-1)
    is_kept[:, -1] = False
    monotone = np.where(is_kept, np.minimum.accumulate(pairs, axis=-1), 0)
    even = np.take_along_axis(rho, 2 * np.sum(is_kept, axis=-1, keepdims=True), axis=-1)[:, 0]
    time = -1 + 2 * np.sum(monotone, axis=-1) + np.maximum(even, 0)
    return total / np.maximum(time, 1 / np.log10(total))
