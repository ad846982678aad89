"""Flat directions: what a sampler pays for a direction in which the likelihood does not change at all.

One constant added to all biases of a layer that feeds a LayerNorm changes no output, whatever a method fixed among the
kernels. Along the mean bias the posterior is the prior.
"""

from collections.abc import Mapping

import numpy as np

from asymjax.diagnostics.convergence import per_coordinate


def bias_shifts(biases: Mapping[str, np.ndarray], prior_scales: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Measure the mean bias of layers.

    Parameters
    ----------
    biases : name of a layer -> draws of its biases [chain, draw, unit].
    prior_scales : name of a layer -> standard deviation of the prior of one bias, times the root of the temperature.

    Returns
    -------
    Name of a layer -> ``variance_ratio``, the variance over all chains and draws of the mean over units, divided by its
    variance under the prior, prior_scale^2 / units: 1 along a flat direction; and its bulk ``ess``, in draws.
    """
    found = {}
    for name, values in biases.items():
        shifts = values.mean(axis=-1, dtype=np.float64)
        prior_variance = prior_scales[name] ** 2 / values.shape[-1]
        ess = per_coordinate(shifts[..., None])["ess_bulk"][0]
        found[name] = {"variance_ratio": float(shifts.var(ddof=1) / prior_variance), "ess": float(ess)}
    return found
