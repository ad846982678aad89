"""Diagnostics: what the draws of a sampler, or the outputs of trained networks, are worth.

Comes in: draws [chain, draw, ...] of weights or of function values; network outputs [member, input, ...] and targets.
Goes out: plain dictionaries of numbers or of host arrays, ready for ``summary.json``; ArviZ data on request.
Everything here runs on the host in float64, after sampling; a single network is a mixture of one member.

To add a convergence statistic, add a line to ``_statistics`` in ``convergence.py``; to add a predictive metric, add a
running sum over members to ``predictive.py`` if the present ones do not hold it, and a line to the task's ``_metrics``.
"""

from asymjax.diagnostics.arviz_export import to_inference_data
from asymjax.diagnostics.convergence import (
    classification_coordinates,
    efficiency,
    nested_rhat,
    per_coordinate,
    ravel_positions,
    regression_coordinates,
    summarise,
    summarise_coordinates,
)
from asymjax.diagnostics.predictive import (
    ClassificationSums,
    RegressionSums,
    brier_score,
    classification_by_member,
    classification_metrics,
    classification_sums,
    classification_uncertainty,
    combine,
    expected_calibration_error,
    regression_by_member,
    regression_metrics,
    regression_sums,
    regression_uncertainty,
)

__all__ = [
    "ClassificationSums",
    "RegressionSums",
    "brier_score",
    "classification_by_member",
    "classification_coordinates",
    "classification_metrics",
    "classification_sums",
    "classification_uncertainty",
    "combine",
    "efficiency",
    "expected_calibration_error",
    "nested_rhat",
    "per_coordinate",
    "ravel_positions",
    "regression_by_member",
    "regression_coordinates",
    "regression_metrics",
    "regression_sums",
    "regression_uncertainty",
    "summarise",
    "summarise_coordinates",
    "to_inference_data",
]
