"""Every sampler with the settings under which it is tested. A new sampler is one line in ``CASES``."""

from dataclasses import replace
from typing import Any, NamedTuple

from asymjax.config import HMCConfig, NUTSConfig
from asymjax.inference import SAMPLERS


class Case(NamedTuple):
    """A sampler under test.

    Attributes
    ----------
    config : its settings.
    bias : what its means may be off beyond chance, in standard deviations of the target; 0 for exact samplers.
    """

    config: Any
    bias: float = 0.0


SETTINGS = {"num_chains": 4, "num_draws": 2000, "num_warmup": 500, "mass_matrix": "adapted"}

CASES = {
    "hmc": Case(HMCConfig(sampler="hmc", **SETTINGS)),
    "mhmc": Case(HMCConfig(sampler="mhmc", **SETTINGS)),
    "dynamic_hmc": Case(HMCConfig(sampler="dynamic_hmc", **SETTINGS)),
    "mala": Case(HMCConfig(sampler="mala", **SETTINGS | {"num_warmup": 4000, "thinning": 10})),
    "nuts": Case(NUTSConfig(**SETTINGS)),
}

EXACT = tuple(name for name, case in CASES.items() if case.bias == 0)


def make_algorithm(name, **changes):
    """Return the algorithm of a sampler with some of its settings changed."""
    return SAMPLERS[name](replace(CASES[name].config, **changes))
