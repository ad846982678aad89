"""Diagnostics: what the draws of a sampler, or the outputs of trained networks, are worth.

Comes in: draws [chain, draw, ...] of weights or of function values; network outputs [member, input, ...] and targets.
Goes out: plain dictionaries of numbers or of host arrays, ready for ``summary.json``; an ``xarray.DataTree`` for ArviZ.
Statistics run on the host in float64, after sampling; a single network is a mixture of one member.

To add a convergence statistic, add a line to ``_statistics`` in ``convergence.py``; to add a predictive metric, add a
running sum over members to ``predictive.py`` if the present ones do not hold it, and a line to the task's ``_metrics``.
"""

from asymjax.diagnostics.aligned import AlignedDraws, align_draws, thin
from asymjax.diagnostics.barriers import (
    aligned_logdensity_barriers,
    logdensity_barriers,
    permuted_copy_barriers,
    within_chain_barriers,
)
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
from asymjax.diagnostics.datatree import to_datatree
from asymjax.diagnostics.flat import bias_shifts
from asymjax.diagnostics.modes import (
    PosteriorMeans,
    chambers,
    covariance_split,
    posterior_means,
    summarise_modes,
)
from asymjax.diagnostics.predictive import (
    ClassificationSums,
    RegressionSums,
    agreement,
    brier_score,
    cell_edges,
    cell_probabilities,
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
    total_variation,
)
from asymjax.diagnostics.slow import SlowDirections, slowest_directions
from asymjax.diagnostics.unit_order import units_in_place

__all__ = [
    "AlignedDraws",
    "ClassificationSums",
    "PosteriorMeans",
    "RegressionSums",
    "SlowDirections",
    "agreement",
    "align_draws",
    "aligned_logdensity_barriers",
    "bias_shifts",
    "brier_score",
    "cell_edges",
    "cell_probabilities",
    "chambers",
    "classification_by_member",
    "classification_coordinates",
    "classification_metrics",
    "classification_sums",
    "classification_uncertainty",
    "combine",
    "covariance_split",
    "efficiency",
    "expected_calibration_error",
    "logdensity_barriers",
    "nested_rhat",
    "per_coordinate",
    "permuted_copy_barriers",
    "posterior_means",
    "ravel_positions",
    "regression_by_member",
    "regression_coordinates",
    "regression_metrics",
    "regression_sums",
    "regression_uncertainty",
    "slowest_directions",
    "summarise",
    "summarise_coordinates",
    "summarise_modes",
    "thin",
    "to_datatree",
    "total_variation",
    "units_in_place",
    "within_chain_barriers",
]
