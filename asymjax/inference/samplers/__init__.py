"""Samplers: each module a frozen dataclass of settings, with the kernel that they make and the warmup that tunes it.

In: the ``Target`` of one chain. Out: draws. To add one: a module here with a subclass of ``Algorithm``, a line in
``SAMPLERS``.
"""

from asymjax.inference.algorithm import Algorithm
from asymjax.inference.samplers.hmc import HMC, MALA, DynamicHMC, MultinomialHMC
from asymjax.inference.samplers.mclmc import MCLMC, AdjustedMCLMC
from asymjax.inference.samplers.nuts import NUTS
from asymjax.inference.samplers.psgld import PSGLD
from asymjax.inference.samplers.psmile import PSMILE
from asymjax.inference.samplers.sghmc import SGHMC
from asymjax.inference.samplers.sgld import CSGLD, SGLD
from asymjax.inference.samplers.sgnht import SGNHT

SAMPLERS: dict[str, type[Algorithm]] = {
    "hmc": HMC,
    "mhmc": MultinomialHMC,
    "dynamic_hmc": DynamicHMC,
    "mala": MALA,
    "nuts": NUTS,
    "mclmc": MCLMC,
    "adjusted_mclmc": AdjustedMCLMC,
    "sgld": SGLD,
    "csgld": CSGLD,
    "sghmc": SGHMC,
    "sgnht": SGNHT,
    "psgld": PSGLD,
    "psmile": PSMILE,
}

__all__ = [
    "CSGLD",
    "HMC",
    "MALA",
    "MCLMC",
    "NUTS",
    "PSGLD",
    "PSMILE",
    "SAMPLERS",
    "SGHMC",
    "SGLD",
    "SGNHT",
    "AdjustedMCLMC",
    "DynamicHMC",
    "MultinomialHMC",
]
