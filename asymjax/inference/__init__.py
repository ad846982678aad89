"""Posteriors and samplers over the trees of a model.

In: a ``Model``, its constants, a prior and a likelihood. Out: a ``Posterior``, and draws in a run directory. A sampler
is one module in ``samplers/``, with the warmup that tunes it; ``sample`` drives it in compiled, resumable chunks.
"""

from asymjax.inference.posterior import make_posterior
from asymjax.inference.samplers import SAMPLERS
from asymjax.inference.samplers.hmc import Tuned, make_hmc

__all__ = ["SAMPLERS", "Tuned", "make_hmc", "make_posterior"]
