"""Monotonic linear interpolation: the training loss on the straight path from a network's start to where training ends.

Statistics of Lim et al. (2024), arXiv 2405.20231, section 5.4; the property is that of Goodfellow et al. (2015) and
Lucas et al. (2021). All of it runs on the host in float64.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from scipy.stats import norm
from scipy.stats import t as student_t

from asymjax.errors import InputError
from asymjax.symmetry.connectivity import CONFIDENCE, SCORES, Score
from asymjax.train.losses import categorical_loglikelihood, uniform_cross_entropy
from asymjax.types import Array

ROUNDING = 8 * np.finfo(np.float64).eps
"""Share of the largest loss up to which a second difference, or a point above a chord, is the rounding of a zero."""


def _score_classifier(logits: Array, labels: Array) -> dict[str, Array]:
    return {
        "loss": -jnp.mean(categorical_loglikelihood(logits, labels)),
        "uniform_loss": uniform_cross_entropy(logits),
        "accuracy": jnp.mean(jnp.argmax(logits, axis=-1) == labels),
    }


PATH_SCORES: dict[str, Score] = {"classification": _score_classifier, "regression": SCORES["regression"]}
"""What is measured on a path, by task; ``uniform_loss`` is what :func:`smooth_losses` needs."""


def smooth_losses(metrics: Mapping[str, np.ndarray], label_smoothing: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics with the loss that each network was trained on, linear in its label smoothing.

    Parameters
    ----------
    metrics : as of ``PATH_SCORES``, each [network, point].
    label_smoothing : [network].

    Returns
    -------
    The same without ``uniform_loss``, float64.
    """
    smoothed = {name: np.asarray(values, np.float64) for name, values in metrics.items()}
    uniform = smoothed.pop("uniform_loss", smoothed["loss"])
    with np.errstate(invalid="ignore"):  # A loss that is infinite stays without a number.
        smoothed["loss"] = smoothed["loss"] + label_smoothing[:, None] * (uniform - smoothed["loss"])
    return smoothed


def path_statistics(points: np.ndarray, curves: np.ndarray) -> dict[str, np.ndarray]:
    """Classify how the loss of each path goes from its start to its end.

    Parameters
    ----------
    points : [point] uniform places from 0 (initial network) to 1 (trained network), 3 or more.
    curves : [network, point] the loss there, finite.

    Returns
    -------
    Each [network], float64 but for ``is_monotonic``, bool:

    - ``delta``: max_i (L_{i+1} - L_i), the largest rise from one point to the next; where all steps fall, minus the
      smallest fall. It depends on the number of points.
    - ``is_monotonic``: delta <= 0.
    - ``local_convexity``: share of the interior points with L_{i+1} - 2 L_i + L_{i-1} >= 0.
    - ``global_convexity``: share of the interior points at or below the chord between both ends,
      (1 - t) L(0) + t L(1).
    - ``global_convexity_released``: the same below (1 - t) L_0 + t L_1, which puts the *second* point's loss at the
      end of the chord, as the paper's released code does. Every path that falls throughout scores 1, even a concave
      one, whose true share is 0; kept to be compared with published numbers alone.

    Raises
    ------
    InputError
        If there are fewer than three points, or a loss is not finite.
    """
    curves = np.asarray(curves, np.float64)
    if len(points) < 3:
        raise InputError(f"{len(points)} points; give 3 or more, so that one lies between the ends")
    if not np.isfinite(curves).all():
        count = int(np.sum(~np.isfinite(curves).all(axis=1)))
        raise InputError(f"losses of {count} paths are not finite; leave these networks out, by name")
    slack = ROUNDING * np.abs(curves).max(axis=1, keepdims=True)
    steps = np.diff(curves, axis=1)
    delta = steps.max(axis=1)

    def share_below(end: int) -> np.ndarray:
        chord = curves[:, :1] + points * (curves[:, [end]] - curves[:, :1])
        return np.mean((curves <= chord + slack)[:, 1:-1], axis=1)

    return {
        "delta": delta,
        "is_monotonic": delta <= 0,
        "local_convexity": np.mean(np.diff(steps, axis=1) >= -slack, axis=1),
        "global_convexity": share_below(-1),
        "global_convexity_released": share_below(1),
    }


def over_networks(values: np.ndarray) -> dict[str, float]:
    """Return mean, standard deviation over independent networks, and the 95 % interval of the mean.

    Student's t with one degree less than there are networks: right for means of many networks even where single values
    are not normal, but of no width where all values are equal.

    Parameters
    ----------
    values : [network].

    Returns
    -------
    ``mean``, ``std``, ``low``, ``high``; all but the mean NaN for a single network.
    """
    values = np.asarray(values, np.float64)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return {"mean": mean, "std": np.nan, "low": np.nan, "high": np.nan}
    std = float(values.std(ddof=1))
    half_width = float(student_t.ppf((1 + CONFIDENCE) / 2, count - 1)) * std / np.sqrt(count)
    return {"mean": mean, "std": std, "low": mean - half_width, "high": mean + half_width}


def share_of_networks(is_so: np.ndarray) -> dict[str, float]:
    """Return the share of independent networks of which something is true, and its 95 % interval.

    The score interval of Wilson (1927), which has a width even where all or none are so.

    Parameters
    ----------
    is_so : bool [network].

    Returns
    -------
    ``mean``, ``low``, ``high``, each from 0 to 1.
    """
    count, share = len(is_so), float(np.mean(is_so))
    square = float(norm.ppf((1 + CONFIDENCE) / 2)) ** 2 / count
    centre = (share + square / 2) / (1 + square)
    half_width = np.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return {"mean": share, "low": max(0.0, centre - half_width), "high": min(1.0, centre + half_width)}


def summarise_statistics(statistics: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return what :func:`path_statistics` found, over networks: a share where it is bool, a mean otherwise."""
    return {
        name: share_of_networks(values) if values.dtype == bool else over_networks(values)
        for name, values in statistics.items()
    }
