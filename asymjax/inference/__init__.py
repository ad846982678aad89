"""Posteriors, samplers, approximations and variational families over the trees of a model.

In: a density, as a ``Posterior`` has it. Out: draws. ``SAMPLERS``, ``APPROXIMATIONS`` and ``FAMILIES`` are dataclasses
of settings by name, each in a module of its own; ``asymjax.sample`` and the scripts drive them in compiled chunks.
"""

from asymjax.inference.algorithm import Algorithm
from asymjax.inference.approximations import APPROXIMATIONS
from asymjax.inference.posterior import make_posterior
from asymjax.inference.samplers import SAMPLERS
from asymjax.inference.vi import FAMILIES

ALGORITHMS: dict[str, type[Algorithm]] = SAMPLERS | APPROXIMATIONS | FAMILIES
"""All that draws, by name."""

__all__ = ["ALGORITHMS", "APPROXIMATIONS", "FAMILIES", "SAMPLERS", "Algorithm", "make_posterior"]
