"""Settings of a posterior that is sampled."""

from dataclasses import dataclass, field

from asymjax.data.config import DataConfig
from asymjax.inference import ALGORITHMS, Algorithm
from asymjax.inference import FAMILIES as VARIATIONAL
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.samplers import HMC
from asymjax.inference.starts import Start
from asymjax.lab.chains import ChainsConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig
from asymjax.settings import Settings, name_of

FAMILIES = {
    "hmc": ("hmc", "mhmc", "dynamic_hmc", "mala"),
    "nuts": ("nuts",),
    "mclmc": ("mclmc", "adjusted_mclmc"),
    "vi": tuple(VARIATIONAL),
    "sgld": ("sgld", "csgld", "sghmc", "sgnht", "psgld", "psmile", "swag"),
}
"""Samplers by the last word of the script that runs them: ``"hmc"`` for ``runs/bnn_hmc.py``."""


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    sampler: Algorithm = field(default_factory=HMC)
    start: Start = field(default_factory=Start)
    chains: ChainsConfig = field(default_factory=ChainsConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    grid: tuple[str, ...] = ()
    """Sample the posteriors of every combination of these settings, each with chains and a run directory of its own:
    NAME=V1,V2,... for any setting of methods, backbones, posterior, samplers and chains, / inside a value for several
    layers, 0:4 for the whole numbers 0 to 3: temperature=0.1,0.3,1 prior_scale=0.5,1 arch=standard,w_asym. Values of
    temperature, prior_scale, fixed_scale and mask_seed share their compiled programs. A setting varies where it has an
    effect."""
    run: RunConfig = field(default_factory=RunConfig)


def family_of(sampler: Algorithm) -> str:
    """Return the family of a sampler; of one of the user's own, its name."""
    name = name_of(ALGORITHMS, sampler)
    return next((family for family, names in FAMILIES.items() if name in names), name)


def sampling_record(config: Config) -> dict[str, dict[str, object]]:
    """Return how chains are sampled, as config.json has it."""
    sampler = {"sampler": name_of(ALGORITHMS, config.sampler), **config.sampler.as_dict()}
    return {"sampler": sampler, "start": config.start.as_dict(), "chains": config.chains.as_dict()}
