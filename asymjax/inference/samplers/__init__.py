"""Samplers: each module makes an ``Algorithm`` (a kernel and its warmup) from a configuration.

In: the ``Target`` of one chain. Out: draws. To add one: a module here, a line in ``SAMPLERS``.
"""

from collections.abc import Callable
from typing import Any

from asymjax.inference.algorithm import Algorithm
from asymjax.inference.samplers.hmc import hmc_family
from asymjax.inference.samplers.mclmc import adjusted_mclmc, mclmc
from asymjax.inference.samplers.nuts import nuts
from asymjax.inference.samplers.psgld import psgld
from asymjax.inference.samplers.sghmc import sghmc
from asymjax.inference.samplers.sgld import csgld, sgld
from asymjax.inference.samplers.sgnht import sgnht
from asymjax.inference.samplers.swag import swag

SAMPLERS: dict[str, Callable[[Any], Algorithm]] = {
    "hmc": hmc_family,
    "mhmc": hmc_family,
    "dynamic_hmc": hmc_family,
    "mala": hmc_family,
    "nuts": nuts,
    "mclmc": mclmc,
    "adjusted_mclmc": adjusted_mclmc,
    "sgld": sgld,
    "csgld": csgld,
    "sghmc": sghmc,
    "sgnht": sgnht,
    "psgld": psgld,
    "swag": swag,
}

__all__ = ["SAMPLERS"]
