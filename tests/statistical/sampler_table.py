"""Every sampler with the settings under which it is tested. A new sampler is one line in ``CASES``."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

from asymjax.inference import SAMPLERS
from asymjax.inference.chains_config import HMCConfig, MCLMCConfig, MinibatchConfig, NUTSConfig


class Case(NamedTuple):
    """A sampler under test.

    Attributes
    ----------
    config : its settings.
    bias : what its means may be off beyond chance, in standard deviations of the target; 0 for exact samplers, infinite
        for approximations, which are tested by what they are and not against the target.
    """

    config: Any
    bias: float = 0.0


SETTINGS = {"num_chains": 4, "num_draws": 2000, "num_warmup": 500, "mass_matrix": "adapted"}
UNADJUSTED = {"num_warmup": 2000, "num_draws": 1000, "thinning": 10}
UNADJUSTED |= {"initial_energy_variance": 5e-3, "energy_variance": 5e-4}
# Ten times as many rows as there are, drawn with replacement: what is left of the noise of gradients is small.
MINIBATCH = {"num_chains": 4, "num_draws": 1000, "num_warmup": 5000, "thinning": 200, "batch_size": 400}
CYCLES = {"num_cycles": 50, "exploration": 0.0}
# One friction for all coordinates cannot take up noise that is in some of them alone.
QUIET = {"batch_size": 4000}

CASES = {
    "hmc": Case(HMCConfig(sampler="hmc", **SETTINGS)),
    "mhmc": Case(HMCConfig(sampler="mhmc", **SETTINGS)),
    "dynamic_hmc": Case(HMCConfig(sampler="dynamic_hmc", **SETTINGS)),
    "mala": Case(HMCConfig(sampler="mala", **SETTINGS | {"num_warmup": 4000, "thinning": 10})),
    "nuts": Case(NUTSConfig(**SETTINGS)),
    "mclmc": Case(MCLMCConfig(sampler="mclmc", **SETTINGS | UNADJUSTED), bias=0.1),
    "adjusted_mclmc": Case(MCLMCConfig(sampler="adjusted_mclmc", **SETTINGS | {"thinning": 1})),
    "sgld": Case(MinibatchConfig(sampler="sgld", step_size=0.2, **MINIBATCH), bias=0.1),
    "csgld": Case(MinibatchConfig(sampler="csgld", step_size=0.4, **MINIBATCH | CYCLES), bias=0.1),
    "sghmc": Case(MinibatchConfig(sampler="sghmc", step_size=0.02, **MINIBATCH), bias=0.1),
    "sgnht": Case(MinibatchConfig(sampler="sgnht", step_size=0.005, momentum=0.99, **MINIBATCH | QUIET), bias=0.1),
    "psgld": Case(MinibatchConfig(sampler="psgld", step_size=0.01, norm_decay=0.999, **MINIBATCH), bias=0.1),
    "swag": Case(MinibatchConfig(sampler="swag", num_warmup=400), bias=math.inf),
}

KERNELS = tuple(name for name, case in CASES.items() if math.isfinite(case.bias))
LONG = tuple(name for name, case in CASES.items() if isinstance(case.config, MinibatchConfig))
EXACT = tuple(name for name, case in CASES.items() if case.bias == 0)


def make_algorithm(name, **changes):
    """Return the algorithm of a sampler with some of its settings changed."""
    return SAMPLERS[name](replace(CASES[name].config, **changes))
