"""Posteriors, samplers and approximations over the trees of a model.

In: a density, as a ``Posterior`` has it. Out: draws. ``SAMPLERS`` and ``APPROXIMATIONS`` are dataclasses of settings by
name, each in a module of its own; ``asymjax.sample`` and the scripts drive them in compiled chunks.
"""

from asymjax.inference.algorithm import Algorithm
from asymjax.inference.approximations import APPROXIMATIONS
from asymjax.inference.posterior import make_posterior
from asymjax.inference.samplers import SAMPLERS

ALGORITHMS: dict[str, type[Algorithm]] = SAMPLERS | APPROXIMATIONS
"""All that draws, by name."""

__all__ = ["ALGORITHMS", "APPROXIMATIONS", "SAMPLERS", "Algorithm", "make_posterior"]
