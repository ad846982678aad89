"""How good predictions of numbers are, by order, by scale, and in their own units."""

from typing import NamedTuple

import numpy as np
from scipy import stats


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
