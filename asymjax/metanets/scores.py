"""How good predictions are: of numbers by order, by scale and in their own units; of classes by how many are right."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from asymjax.symmetry.interpolation import CONFIDENCE


class Scores(NamedTuple):
    """Scores of predictions.

    Attributes
    ----------
    tau : Kendall's tau-b, -1 to 1: order alone, ties in either counted; 0 for constant predictions or targets.
    r2 : 1 - squared error over the variance of the targets; 0 is the mean predictor, and there is no least.
    r2_recalibrated : r2 after the best affine map of the predictions, the squared Pearson correlation, 0 to 1.
    error : mean absolute error, in units of the targets.
    """

    tau: float
    r2: float
    r2_recalibrated: float
    error: float


def score(targets: np.ndarray, predictions: np.ndarray) -> Scores:
    """Score predictions [network] of targets [network]."""
    targets, predictions = np.asarray(targets, float), np.asarray(predictions, float)
    residual, variance = targets - predictions, np.var(targets)
    is_constant = np.ptp(targets) == 0 or np.ptp(predictions) == 0
    tau = 0.0 if is_constant else float(stats.kendalltau(targets, predictions).statistic)
    correlation = 0.0 if is_constant else float(np.corrcoef(targets, predictions)[0, 1])
    r2 = float(1 - np.mean(residual**2) / variance) if variance > 0 else -np.inf
    return Scores(tau, r2, correlation**2, float(np.mean(np.abs(residual))))


class ClassScores(NamedTuple):
    """Scores of predicted classes.

    Attributes
    ----------
    accuracy : the share of networks whose most probable class is the right one, 0 to 1.
    """

    accuracy: float


def score_classes(targets: np.ndarray, probabilities: np.ndarray) -> ClassScores:
    """Score class probabilities [network, class] of targets int [network]."""
    return ClassScores(float(np.mean(is_right(targets, probabilities))))


def is_right(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return whether the most probable class is the right one, bool [..., network], of [..., network, class]."""
    return np.argmax(probabilities, axis=-1) == np.asarray(targets)


def accuracy(targets: np.ndarray, probabilities: np.ndarray, ids: np.ndarray) -> dict[str, float]:
    """Return the mean accuracy of metanetworks, and its 95 % interval over blocks of networks.

    Networks of one id hang together and count as one block: the variance is that of a ratio to the size of clusters
    (Cochran 1977, Sampling Techniques, chapter 9A), the quantile Student's with one degree less than there are blocks.
    An interval has no width where all blocks are equally right, and is too narrow where blocks hang together, too.

    Parameters
    ----------
    targets, ids : int [network], of the networks that are scored.
    probabilities : [seed, network, class].

    Returns
    -------
    ``mean``; ``standard_error`` of it; ``low``, ``high``. All but the mean NaN for a single block.
    """
    right = is_right(targets, probabilities).mean(axis=0)
    mean, (kinds, block) = float(right.mean()), np.unique(ids, return_inverse=True)
    if len(kinds) < 2:
        return {"mean": mean, "standard_error": np.nan, "low": np.nan, "high": np.nan}
    excess = np.bincount(block, right - mean)
    error = float(np.sqrt(len(kinds) / (len(kinds) - 1) * np.sum(excess**2)) / len(right))
    half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(kinds) - 1)) * error
    return {"mean": mean, "standard_error": error, "low": mean - half_width, "high": mean + half_width}
