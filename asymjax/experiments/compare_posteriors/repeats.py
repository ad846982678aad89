"""Statistics over the repeats of one arm, and tests of its differences to another."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from asymjax.symmetry.interpolation import over_networks

ROUNDING = 1e-6
"""Share of a value up to which the difference to another is the rounding of float32, and nothing to test."""


def over_repeats(values: ArrayLike, baseline: ArrayLike | None = None) -> dict[str, Any]:
    """Return the values of repeats, their statistics, and those of the differences to a baseline's same repeats.

    Returns
    -------
    ``repeats``; ``mean``, ``std``, ``low`` and ``high`` as of :func:`~asymjax.symmetry.interpolation.over_networks`
    (Student's t); and ``difference``, the same of values - baseline, zero where they differ by rounding alone, and the
    two-sided ``p_value`` of a paired t-test, NaN where all differences are equal; None without a baseline.
    """
    own = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):  # R-hats may be infinite.
        difference = None if baseline is None else _tested(_difference(own, np.asarray(baseline, np.float64)))
        return {"repeats": own, **over_networks(own), "difference": difference}


def _difference(values: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    return np.where(np.isclose(values, baseline, rtol=ROUNDING, atol=0), 0.0, values - baseline)


def _tested(differences: np.ndarray) -> dict[str, float]:
    found = over_networks(differences)
    error = found["std"] / np.sqrt(len(differences))
    p_value = 2 * student_t.sf(abs(found["mean"]) / error, len(differences) - 1) if error > 0 else np.nan
    return found | {"p_value": float(p_value)}


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjust p-values [test] for their number (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Rejecting where the adjusted one is at most alpha makes one false rejection or more with a chance of at most alpha,
    however the tests depend on one another. NaN are no tests, and stay.
    """
    adjusted = np.array(p_values, np.float64)
    order = np.argsort(adjusted)[: np.sum(~np.isnan(adjusted))]
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def correct(differences: Sequence[dict[str, float] | None]) -> None:
    """Add ``p_holm`` to the differences that are tested together, as of :func:`over_repeats`; None is none."""
    tested = [difference for difference in differences if difference]
    adjusted = holm([difference["p_value"] for difference in tested])
    for difference, p_value in zip(tested, adjusted, strict=True):
        difference["p_holm"] = float(p_value)
