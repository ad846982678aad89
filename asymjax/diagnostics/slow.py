"""Slow directions: which combinations of weights, or of outputs, a chain takes longest to forget."""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from asymjax.diagnostics.lags import check_lags
from asymjax.errors import InputError


class SlowDirections(NamedTuple):
    """The slowest linear combinations of coordinates, slowest first.

    Attributes
    ----------
    autocorrelation : [direction] in [-1, 1], at the lag.
    projection : [direction, chain, draw], of mean 0 and standard deviation 1 over all draws; its sign is arbitrary.
    correlation : [direction, coordinate] between coordinate and projection, NaN where a coordinate is constant.
    """

    autocorrelation: np.ndarray
    projection: np.ndarray
    correlation: np.ndarray


def slowest_directions(draws: ArrayLike, lag: int, num_components: int = 60, num_directions: int = 4) -> SlowDirections:
    """Find the linear combinations of coordinates whose autocorrelation at a lag is largest.

    Time-lagged independent component analysis (Molgedey and Schuster 1994; Pérez-Hernández et al. 2013, "Identification
    of slow molecular order parameters for Markov model construction"): the generalised eigenproblem C(lag) v = a C(0) v
    among the leading principal components, with covariances that are symmetrised, since chains are reversible.

    The largest of many autocorrelations is too large: of independent draws it is about 2 sqrt(num_components / pairs of
    draws), and chains that are far shorter than their autocorrelation time show waves that are only noise (Schultze and
    Grubmüller 2021, "Time-lagged independent component analysis of random walks and protein dynamics").

    Parameters
    ----------
    draws : [chain, draw, coordinate], in units in which coordinates are alike, as weights over the scales of their
        priors; see :func:`~asymjax.diagnostics.ravel_positions`.
    lag : in draws, 1 or more and less than there are.
    num_components : principal components that are searched, as many as there are at most.
    num_directions : directions to return, as many as components at most.

    Raises
    ------
    InputError
        If the lag is not between 1 and the number of draws, or nothing moves.
    """
    draws = np.asarray(draws, np.float64)
    num_chains, num_draws, num_coordinates = draws.shape
    check_lags([lag], num_draws)
    flat = draws.reshape(-1, num_coordinates) - draws.mean((0, 1))
    if not np.any(flat):
        raise InputError("all draws are equal, so no direction moves; give draws of a chain that does")
    size = min(num_components, num_coordinates, len(flat) - 1)
    variances, scores = scipy.linalg.eigh(flat @ flat.T, subset_by_index=[len(flat) - size, len(flat) - 1])
    # Directions in which nothing moves have scores too, of rounding.
    scores = scores[:, variances > len(flat) * np.finfo(float).eps * variances[-1]]
    size = scores.shape[1]
    by_chain = scores.reshape(num_chains, num_draws, size)
    first, last = by_chain[:, :-lag].reshape(-1, size), by_chain[:, lag:].reshape(-1, size)
    lagged, present = first.T @ last, first.T @ first + last.T @ last
    values, vectors = scipy.linalg.eigh(lagged + lagged.T, present)
    kept = slice(-1, -1 - num_directions, -1)
    projection = scores @ vectors[:, kept]
    projection = (projection / projection.std(0)).T
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = projection @ flat / (len(flat) * flat.std(0))
    return SlowDirections(values[kept], projection.reshape(-1, num_chains, num_draws), correlation)
