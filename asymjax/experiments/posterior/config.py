"""Settings of a posterior that is sampled."""

from dataclasses import dataclass, field

from asymjax.data.config import DataConfig
from asymjax.inference.chains_config import ChainsConfig, HMCConfig
from asymjax.inference.posterior import PosteriorConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    chains: ChainsConfig = field(default_factory=HMCConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    grid: tuple[str, ...] = ()
    """Sample the posteriors of every combination of these settings, each with chains and a run directory of its own:
    NAME=V1,V2,... for any setting of methods, backbones, posterior and chains, / inside a value for several layers, 0:4
    for the whole numbers 0 to 3: temperature=0.1,0.3,1 prior_scale=0.5,1 arch=standard,w_asym. Values of temperature,
    prior_scale, fixed_scale and mask_seed share their compiled programs. A setting varies where it has an effect."""
    run: RunConfig = field(default_factory=RunConfig)
