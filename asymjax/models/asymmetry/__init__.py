"""Symmetry-breaking methods: each module exports ``METHOD``, a reparametrisation of kernels plus an activation.

In: kernels and activation sites of any backbone. Out: constants (``frozen``), effective kernels, activations. To add
one: a module here that fills in the fields of ``Method`` in which it differs from the baseline, a line in ``METHODS``.
"""

from asymjax.models.asymmetry import fixed_bias, pruned, sigma_asym, standard, syre, w_asym, w_sigma_asym
from asymjax.models.asymmetry.method import Layer, Method

METHODS: dict[str, Method] = {
    "standard": standard.METHOD,
    "w_asym": w_asym.METHOD,
    "pruned": pruned.METHOD,
    "sigma_asym": sigma_asym.METHOD,
    "w_sigma_asym": w_sigma_asym.METHOD,
    "syre": syre.METHOD,
    "fixed_bias": fixed_bias.METHOD,
}

__all__ = ["METHODS", "Layer", "Method"]
