"""How far the predictions of arms are from each other, and from those of references."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from asymjax.diagnostics.predictive import agreement, squared_distance, total_variation
from asymjax.experiments.compare_posteriors.repeats import over_repeats
from asymjax.symmetry.connectivity import all_pairs, over_pairs

BETWEEN = ("arm", "other_arm", "repeat", "other_repeat")
Measure = Callable[[np.ndarray, np.ndarray], float]
MEASURES: dict[str, Measure] = {
    "agreement": agreement,
    "total_variation": total_variation,
    "squared_distance": squared_distance,
}
"""How alike two predictive distributions are, [input, class]; of densities [input, cell], without agreement."""


def measures_of(task: str) -> dict[str, Measure]:
    """Return the measures of a task."""
    return {name: measure for name, measure in MEASURES.items() if task == "classification" or name != "agreement"}


def against(
    measures: Mapping[str, Measure], runs: Sequence[np.ndarray], references: Sequence[np.ndarray]
) -> dict[str, Any] | None:
    """Hold predictions of runs against those of two references, and these against each other.

    Parameters
    ----------
    measures : some of ``MEASURES``.
    runs, references : predictive distributions [input, class or cell].

    Returns
    -------
    Of each measure what :func:`~asymjax.experiments.compare_posteriors.repeats.over_repeats` gives of the means over
    references, and ``between_references``, what two independent runs reach. None without references.
    """
    if not references:
        return None
    return {
        name: over_repeats([float(np.mean([measure(run, other) for other in references])) for run in runs])
        | {"between_references": measure(*references)}
        for name, measure in measures.items()
    }


def between(predictions: Sequence[Sequence[np.ndarray]], measure: Measure) -> np.ndarray:
    """Measure the predictions of all repeats of all arms against each other [arm, arm, repeat, repeat]."""
    return np.array([[[[measure(p, q) for q in other] for p in own] for other in predictions] for own in predictions])


def excess(values: np.ndarray, own: int, other: int) -> dict[str, float]:
    """Return by how much repeats of two arms differ more than repeats of one do, with a 95 % interval.

    Of each pair of different repeats the mean of both values between the arms, less that of both within one. For
    squared distances its expectation is the squared distance between the arms' expected predictions, zero where the
    arms differ by Monte Carlo error alone, however large that of each is; for other distances it is not.

    Parameters
    ----------
    values : [arm, arm, repeat, repeat] squared distances, as of :func:`between`.
    own, other : indices of the arms.

    Returns
    -------
    ``mean``, ``std``, ``low`` and ``high`` as of :func:`~asymjax.symmetry.connectivity.over_pairs`, which knows that
    pairs share repeats; NaN but for the mean with two repeats.
    """
    pairs = all_pairs(values.shape[-1])
    first, second = pairs.T
    across = (values[own, other, first, second] + values[own, other, second, first]) / 2
    within = (values[own, own, first, second] + values[other, other, first, second]) / 2
    return {name: float(value) for name, value in over_pairs(across - within, pairs).items()}


def differences_of_predictions(
    distances: Mapping[str, np.ndarray], names: Sequence[str], name: str, baseline: str | None
) -> dict[str, Any]:
    """Summarise how predictions of one arm differ among its repeats, and from those of its baseline."""
    own = names.index(name)
    other = names.index(baseline) if baseline and baseline != name else None
    found: dict[str, Any] = {}
    for measure, values in distances.items():
        apart = ~np.eye(values.shape[-1], dtype=bool)  # Different repeats.
        found[measure] = {
            "within": float(values[own, own][apart].mean()),
            "baseline": None if other is None else float(values[own, other][apart].mean()),
        }
    found["excess"] = None if other is None else excess(distances["squared_distance"], own, other)
    return found
