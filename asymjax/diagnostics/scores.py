"""From the draws in a run directory to the numbers of its summary and the arrays of its figures."""

from collections.abc import Iterable
from functools import reduce
from typing import Any

import numpy as np

from asymjax.diagnostics.convergence import (
    classification_coordinates,
    regression_coordinates,
)
from asymjax.diagnostics.predictive import (
    ClassificationSums,
    RegressionSums,
    classification_metrics,
    classification_sums,
    classification_uncertainty,
    combine,
    regression_metrics,
    regression_sums,
    regression_uncertainty,
)
from asymjax.types import Dataset

NUM_PROBES = 100
"""Function space is probed at this many test inputs, the first ones; all outputs, all chains, nothing dropped."""


MIN_DRAWS = 8
"""Draws a chain below which convergence is not judged."""
"""Points of a curve of convergence."""


def function_coordinates(task: str, outputs: np.ndarray, has_scale_head: bool) -> np.ndarray:
    """Return the function-space coordinates [chain, draw, coordinate] of predictive parameters on the probe set.

    Parameters
    ----------
    task : ``"classification"`` or ``"regression"``.
    outputs : [chain, draw, input, ...] logits, or means and log noise scales side by side.
    has_scale_head : whether the noise scale is an output of the network.
    """
    if task == "classification":
        return classification_coordinates(outputs)
    mean, log_scale = np.split(outputs, 2, axis=-1)
    return regression_coordinates(mean, np.exp(log_scale) if has_scale_head else None)


def predictive_sums(task: str, outputs: np.ndarray, targets: np.ndarray) -> ClassificationSums | RegressionSums:
    """Fold predictive parameters [..., input, output] into the running sums of a mixture."""
    if task == "classification":
        return classification_sums(outputs, targets)
    mean, log_scale = np.split(outputs.astype(np.float64), 2, axis=-1)
    return regression_sums(mean, np.exp(log_scale), targets)


def mixture(sums: Iterable[ClassificationSums | RegressionSums]) -> ClassificationSums | RegressionSums:
    """Combine the running sums of chunks, all of one task."""
    return reduce(combine, sums)  # type: ignore[arg-type]


def predictive_metrics(sums: ClassificationSums | RegressionSums, dataset: Dataset) -> dict[str, float]:
    """Score a mixture by the metrics of its task; regression in standardised and in raw units."""
    if isinstance(sums, ClassificationSums):
        return classification_metrics(sums)
    return regression_metrics(sums, dataset.target_scale)


def score(dataset: Dataset, outputs: Iterable[np.ndarray]) -> dict[str, float]:
    """Score the mixture of all members in chunks of predictive parameters [..., test input, output]."""
    targets = np.asarray(dataset.test.targets)
    sums = (predictive_sums(dataset.task, chunk[..., : len(targets), :], targets) for chunk in outputs)
    return predictive_metrics(mixture(sums), dataset)


def score_members(dataset: Dataset, outputs: np.ndarray) -> dict[str, Any]:
    """Score networks [member, test input, output] alone and together.

    Returns
    -------
    ``map`` (mean over members of each metric), ``map_best`` (the member with the lowest negative log-likelihood),
    ``map_by_seed`` (lists) and ``ensemble`` (their mixture).
    """
    rows = [score(dataset, [member]) for member in outputs]
    best = max(rows, key=lambda row: row["lppd"])
    return {
        "map": {name: float(np.mean([row[name] for row in rows])) for name in rows[0]},
        "map_best": best,
        "map_by_seed": {name: [row[name] for row in rows] for name in rows[0]},
        "ensemble": score(dataset, [outputs]),
    }


def figure_arrays(task: str, outputs: Iterable[np.ndarray], targets: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a figure needs of a mixture, each [input, ...].

    Parameters
    ----------
    task : ``"classification"`` or ``"regression"``.
    outputs : chunks of predictive parameters [..., input, output].
    targets : of the same inputs; any values where there are none, since only predictions are returned.

    Returns
    -------
    Classification: ``probability`` [input, class], ``entropy_total`` and ``entropy_epistemic`` in nats. Regression:
    ``mean``, ``aleatoric_scale`` and ``epistemic_scale``, standard deviations [input, target].
    """
    sums = mixture(predictive_sums(task, chunk, targets) for chunk in outputs)
    if isinstance(sums, ClassificationSums):
        entropy = classification_uncertainty(sums)
        probability = sums.probability / sums.num_members
        return {"probability": probability, **{f"entropy_{name}": entropy[name] for name in ("total", "epistemic")}}
    scales = {f"{name}_scale": np.sqrt(value) for name, value in regression_uncertainty(sums).items()}
    return {"mean": sums.mean / sums.num_members, **scales}
