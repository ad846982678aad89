"""Predictive quality of a mixture of networks: one network, an ensemble, or the draws of a posterior.

Members are folded into running sums, so that their outputs never have to be in memory at once::

    sums = functools.reduce(combine, (classification_sums(chunk, targets) for chunk in chunks))
    metrics = classification_metrics(sums)

``lppd`` is the log pointwise predictive density: the log of the mean density over members (Gelman, Hwang and Vehtari
2014, equation 5), here the mean over inputs rather than their sum. ``gibbs_nll`` is the mean over members of their own
negative log-likelihood, by Jensen's inequality at least ``-lppd``. Logarithms are natural; everything is float64.
"""

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr, log_softmax, logsumexp, ndtr

NUM_CELLS, CELL_MARGIN = 200, 3.0
COVERAGE_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class ClassificationSums(NamedTuple):
    """Sums over the members of a mixture of classifiers.

    Attributes
    ----------
    targets : int [input], class indices.
    num_members : number of members.
    probability : [input, class], sum of predicted probabilities.
    entropy : [input], sum of the members' entropies, in nats.
    log_likelihood : [input], sum of log p(target | member).
    log_sum_likelihood : [input], log of the sum of p(target | member).
    """

    targets: np.ndarray
    num_members: int
    probability: np.ndarray
    entropy: np.ndarray
    log_likelihood: np.ndarray
    log_sum_likelihood: np.ndarray


class RegressionSums(NamedTuple):
    """Sums over the members of a mixture of Gaussian regressors, in the units of the targets given.

    Attributes
    ----------
    targets : [input, target].
    num_members : number of members.
    mean : [input, target], sum of predicted means.
    squared_mean : [input, target], sum of their squares.
    variance : [input, target], sum of predicted variances.
    cdf : [input, target], sum of P(y <= target | member).
    log_likelihood : [input], sum of log p(target | member), joint over the targets of one input.
    log_sum_likelihood : [input], log of the sum of p(target | member).
    """

    targets: np.ndarray
    num_members: int
    mean: np.ndarray
    squared_mean: np.ndarray
    variance: np.ndarray
    cdf: np.ndarray
    log_likelihood: np.ndarray
    log_sum_likelihood: np.ndarray


Sums = TypeVar("Sums", ClassificationSums, RegressionSums)


def combine(left: Sums, right: Sums) -> Sums:
    """Merge the sums of two groups of members into those of one mixture.

    Raises
    ------
    ValueError
        If the two were formed with different targets.
    """
    if not np.array_equal(left.targets, right.targets):
        raise ValueError("sums over members can be combined only when they were formed with the same targets")
    added = {name: getattr(left, name) + getattr(right, name) for name in left._fields[1:]}
    added["log_sum_likelihood"] = np.logaddexp(left.log_sum_likelihood, right.log_sum_likelihood)
    return left._replace(**added)


def take_inputs(sums: Sums, index: slice) -> Sums:
    """Return the sums over the same members of some of their inputs."""
    return sums._replace(**{name: getattr(sums, name)[index] for name in sums._fields if name != "num_members"})


def classification_sums(logits: ArrayLike, targets: ArrayLike) -> ClassificationSums:
    """Sum over the members of one chunk.

    Parameters
    ----------
    logits : [..., input, class], finite; the leading axes are members. Without any, one member.
    targets : int [input], in [0, class).

    Raises
    ------
    ValueError
        If a logit is not finite, or the targets do not fit.
    """
    logits = _members(logits)
    targets = np.asarray(targets)
    if targets.shape != logits.shape[1:2] or not np.isin(targets, np.arange(logits.shape[2])).all():
        raise ValueError(f"targets {targets.shape} must be class indices, one an input, for logits {logits.shape}")
    log_probability = log_softmax(logits, axis=-1)
    probability = np.exp(log_probability)
    log_likelihood = log_probability[:, np.arange(targets.size), targets]
    return ClassificationSums(
        targets=targets,
        num_members=len(logits),
        probability=probability.sum(axis=0),
        entropy=-np.einsum("mik,mik->i", probability, log_probability),
        log_likelihood=log_likelihood.sum(axis=0),
        log_sum_likelihood=logsumexp(log_likelihood, axis=0),
    )


def classification_metrics(sums: ClassificationSums, num_bins: int = 15) -> dict[str, float]:
    """Score a mixture of classifiers.

    Parameters
    ----------
    sums : over all members of the mixture.
    num_bins : number of bins of the calibration error.

    Returns
    -------
    dict
        ``accuracy`` in [0, 1]; ``lppd`` and its negative ``nll``, in nats; ``gibbs_nll``; ``brier`` in [0, 2]; ``ece``
        in [0, 1] and ``ece_bins``; and ``entropy_total``, ``entropy_aleatoric`` and ``entropy_epistemic``, the means
        over inputs of :func:`classification_uncertainty`.
    """
    probability = sums.probability / sums.num_members
    lppd = _lppd(sums)
    metrics = {
        "accuracy": float(np.mean(probability.argmax(axis=-1) == sums.targets)),
        "lppd": lppd,
        "nll": -lppd,
        "gibbs_nll": _gibbs_nll(sums),
        "brier": brier_score(probability, sums.targets),
        "ece": expected_calibration_error(probability, sums.targets, num_bins),
        "ece_bins": num_bins,
    }
    entropies = classification_uncertainty(sums)
    return metrics | {f"entropy_{part}": float(np.mean(value)) for part, value in entropies.items()}


def classification_uncertainty(sums: ClassificationSums) -> dict[str, np.ndarray]:
    """Split the predictive entropy of each input (Depeweg et al. 2018).

    Returns
    -------
    dict
        ``total``, the entropy of the mixture; ``aleatoric``, the mean entropy of its members; ``epistemic``, their
        difference, which is the mutual information of prediction and member; each [input], in nats, 0 or more.
    """
    total = entr(sums.probability / sums.num_members).sum(axis=-1)
    aleatoric = sums.entropy / sums.num_members
    return {"total": total, "aleatoric": aleatoric, "epistemic": np.maximum(total - aleatoric, 0)}


def brier_score(probability: np.ndarray, targets: np.ndarray) -> float:
    """Compute the Brier score (Brier 1950, equation 2), in [0, 2].

    Mean over inputs of the squared distance between the probabilities [input, class] and the one-hot target.
    """
    one_hot = np.eye(probability.shape[-1])[targets]
    return float(np.mean(np.sum((probability - one_hot) ** 2, axis=-1)))


def expected_calibration_error(probability: np.ndarray, targets: np.ndarray, num_bins: int = 15) -> float:
    """Compute the expected calibration error (Guo et al. 2017, equation 3), in [0, 1].

    Sum over bins of the share of inputs in the bin times the distance between its accuracy and its mean confidence, the
    confidence of an input being its largest probability. Bins are of equal width and closed on the right.

    Parameters
    ----------
    probability : [input, class].
    targets : int [input].
    num_bins : number of bins over [0, 1].
    """
    confidence = probability.max(axis=-1)
    is_correct = probability.argmax(axis=-1) == targets
    bins = np.searchsorted(np.arange(1, num_bins) / num_bins, confidence, side="left")
    return float(np.abs(np.bincount(bins, weights=is_correct - confidence)).sum() / len(confidence))


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of inputs to which two predictive distributions [input, class] give the same class.

    Of a sampler's predictions and those of HMC it is the agreement of Izmailov et al. (2021), section 7.
    """
    return float(np.mean(first.argmax(axis=-1) == second.argmax(axis=-1)))


def total_variation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the total variation between two predictive distributions [input, class], mean over inputs, in [0, 1].

    Densities are given by their :func:`cell_probabilities` [input, cell]. What two densities differ by inside a cell is
    not seen: the total variation of the cells is at most that of the densities, and as large where the sign of their
    difference changes at edges alone.
    """
    return float(np.mean(0.5 * np.abs(first - second).sum(axis=-1)))


def squared_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the squared Euclidean distance between two predictive distributions [input, class], mean over inputs."""
    return float(np.mean(np.square(first - second).sum(axis=-1)))


def classification_by_member(logits: ArrayLike, targets: ArrayLike, num_bins: int = 15) -> dict[str, np.ndarray]:
    """Score every member by itself: the metrics of :func:`classification_metrics`, each [member].

    Parameters
    ----------
    logits : [..., input, class]; the leading axes are raveled to members.
    targets : int [input].
    num_bins : number of bins of the calibration error.
    """
    members = _members(logits)
    return _stack(classification_metrics(classification_sums(member, targets), num_bins) for member in members)


def regression_sums(mean: ArrayLike, sigma: ArrayLike, targets: ArrayLike) -> RegressionSums:
    """Sum over the members of one chunk.

    Parameters
    ----------
    mean : [..., input, target], finite; the leading axes are members. Without any, one member.
    sigma : standard deviations above 0, broadcast to ``mean``; a scalar for known noise.
    targets : [input, target], in the same units.

    Raises
    ------
    ValueError
        If an output is not finite, a standard deviation is not positive, or the targets do not fit.
    """
    sigma = _members(np.broadcast_to(sigma, np.shape(mean)))
    mean = _members(mean)
    targets = np.asarray(targets, np.float64)
    if targets.shape != mean.shape[1:]:
        raise ValueError(f"targets {targets.shape} must be [input, target] as in means {mean.shape}")
    if not np.all(sigma > 0):
        raise ValueError(f"standard deviations must be positive, the smallest is {sigma.min()}")
    z = (targets - mean) / sigma
    log_likelihood = np.sum(-0.5 * z**2 - np.log(sigma) - 0.5 * np.log(2 * np.pi), axis=-1)
    return RegressionSums(
        targets=targets,
        num_members=len(mean),
        mean=mean.sum(axis=0),
        squared_mean=np.sum(mean**2, axis=0),
        variance=np.sum(sigma**2, axis=0),
        cdf=ndtr(z).sum(axis=0),
        log_likelihood=log_likelihood.sum(axis=0),
        log_sum_likelihood=logsumexp(log_likelihood, axis=0),
    )


def regression_metrics(sums: RegressionSums, target_scale: ArrayLike | None = None) -> dict[str, float]:
    """Score a mixture of Gaussian regressors.

    Parameters
    ----------
    sums : over all members of the mixture, in standardised units.
    target_scale : [target] or [], the standard deviation that the targets were divided by, above 0.

    Returns
    -------
    dict
        ``rmse`` of the mixture mean; ``lppd``, exact, in nats; ``gibbs_nll``; ``moment_matched_nll``, of the Gaussian
        with the mean and variance of the mixture (Lakshminarayanan et al. 2017, section 2.4); ``coverage_0.1`` to
        ``coverage_0.9``, the share of targets inside the central interval of that level of the mixture;
        ``coverage_error``, the root mean square over levels of level minus coverage, in [0, 1]; with ``target_scale``
        also ``rmse_raw`` and ``lppd_raw``, in the units of the data.

    Notes
    -----
    A target lies in the central interval of level q if its probability integral transform u, the distribution function
    of the mixture at the target, has ``abs(u - 1/2) <= q/2``. So coverage is exact, without sampled targets. Interval
    widths are not given: they need quantiles of the mixture, which running sums do not hold.
    """
    mean = sums.mean / sums.num_members
    variance = sum(regression_uncertainty(sums).values())
    moment_matched = 0.5 * ((sums.targets - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    metrics = {
        "rmse": _root_mean_square(sums.targets - mean),
        "lppd": _lppd(sums),
        "gibbs_nll": _gibbs_nll(sums),
        "moment_matched_nll": float(np.mean(np.sum(moment_matched, axis=-1))),
    }
    distance = np.abs(sums.cdf / sums.num_members - 0.5)
    coverage = {level: float(np.mean(distance <= level / 2)) for level in COVERAGE_LEVELS}
    metrics |= {f"coverage_{level}": value for level, value in coverage.items()}
    metrics["coverage_error"] = _root_mean_square(np.array([level - value for level, value in coverage.items()]))
    if target_scale is not None:
        scale = np.broadcast_to(np.asarray(target_scale, np.float64), mean.shape[1:])
        metrics["rmse_raw"] = _root_mean_square((sums.targets - mean) * scale)
        metrics["lppd_raw"] = metrics["lppd"] - float(np.sum(np.log(scale)))
    return metrics


def regression_uncertainty(sums: RegressionSums) -> dict[str, np.ndarray]:
    """Split the predictive variance of each input by the law of total variance.

    Returns
    -------
    dict
        ``aleatoric``, the mean variance of the members, and ``epistemic``, the variance of their means, which add up to
        the variance of the mixture; each [input, target], in squared units of the targets, 0 or more.
    """
    epistemic = sums.squared_mean / sums.num_members - (sums.mean / sums.num_members) ** 2
    return {"aleatoric": sums.variance / sums.num_members, "epistemic": np.maximum(epistemic, 0)}


def cell_edges(targets: ArrayLike) -> np.ndarray:
    """Return edges [target, edge] of 200 cells of equal width for the densities of targets.

    They span the targets [input, target], and three of their standard deviations more on either side.
    """
    targets = np.asarray(targets, np.float64)
    margin = CELL_MARGIN * targets.std(axis=0)
    return np.linspace(targets.min(axis=0) - margin, targets.max(axis=0) + margin, NUM_CELLS + 1, axis=-1)


def cell_probabilities(mean: ArrayLike, sigma: ArrayLike, edges: np.ndarray) -> np.ndarray:
    """Return the probabilities that a mixture of Gaussian regressors gives to cells of each target.

    Parameters
    ----------
    mean : [..., input, target], finite; the leading axes are members. Without any, one member.
    sigma : standard deviations above 0, broadcast to ``mean``.
    edges : [target, edge] in the same units, increasing, as of :func:`cell_edges`.

    Returns
    -------
    [input, target, edge + 1]; the first and the last cell are the tails below and above all edges.
    """
    sigma = _members(np.broadcast_to(sigma, np.shape(mean)))
    cdf = np.zeros((*sigma.shape[1:], edges.shape[-1] + 2))
    for own_mean, own_sigma in zip(_members(mean), sigma, strict=True):  # All at once would not fit into memory.
        cdf[..., 1:-1] += ndtr((edges - own_mean[..., None]) / own_sigma[..., None])
    cdf[..., -1] = len(sigma)
    return np.diff(cdf, axis=-1) / len(sigma)


def regression_by_member(
    mean: ArrayLike, sigma: ArrayLike, targets: ArrayLike, target_scale: ArrayLike | None = None
) -> dict[str, np.ndarray]:
    """Score every member by itself: the metrics of :func:`regression_metrics`, each [member].

    Parameters
    ----------
    mean, sigma, targets : as for :func:`regression_sums`; the leading axes are raveled to members.
    target_scale : as for :func:`regression_metrics`.
    """
    members = zip(_members(mean), _members(np.broadcast_to(sigma, np.shape(mean))), strict=True)
    return _stack(regression_metrics(regression_sums(*member, targets), target_scale) for member in members)


def _members(outputs: ArrayLike) -> np.ndarray:
    """Ravel finite outputs [..., input, output] to float64 [member, input, output]."""
    outputs = np.asarray(outputs, np.float64)
    if outputs.ndim < 2 or outputs.size == 0:
        raise ValueError(f"outputs must be [..., input, output] and not empty, got shape {outputs.shape}")
    outputs = outputs.reshape(-1, *outputs.shape[-2:])
    is_finite = np.isfinite(outputs).all(axis=(1, 2))
    if not is_finite.all():
        raise ValueError(f"member {np.argmin(is_finite)} of {len(outputs)} has an output that is not finite")
    return outputs


def _lppd(sums: ClassificationSums | RegressionSums) -> float:
    return float(np.mean(sums.log_sum_likelihood) - np.log(sums.num_members))


def _gibbs_nll(sums: ClassificationSums | RegressionSums) -> float:
    return float(-np.mean(sums.log_likelihood) / sums.num_members)


def _root_mean_square(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _stack(rows: Iterable[dict[str, float]]) -> dict[str, np.ndarray]:
    rows = list(rows)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
