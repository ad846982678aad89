"""Settings of a study of posteriors."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from asymjax.data.config import DataConfig
from asymjax.experiments.variants import VariedConfig
from asymjax.inference.posterior import PosteriorConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.backbones import MLP
from asymjax.models.config import Models
from asymjax.rng import SeedConfig
from asymjax.settings import MOST, Count, Range, Settings


@dataclass(frozen=True)
class StudyConfig(Settings):
    """How each posterior is sampled."""

    num_repeats: Annotated[int, Range(2, MOST)] = 6
    """Independent runs of each variant on the same data; run r has init_seed + r and seed + r."""
    masks: Literal["own", "shared"] | None = None
    """Give run r what mask seed + r fixes, so that intervals are over masks too, or all runs the same. Default: own, or
    shared where mask_seed varies, or where runs are held against references."""
    sampler: str = "hmc"
    """Sampler of runs/bnn_hmc.py, bnn_nuts.py, bnn_mclmc.py or bnn_sgld.py, or family of bnn_vi.py, at its defaults but
    for what follows."""
    num_chains: Count = 4
    """Chains of each run, each from a start of its own."""
    num_draws: Count = 300
    """Kept draws a chain."""
    num_warmup: Count | None = None
    """Steps a chain that adapt and are dropped. Default: the sampler's."""
    thinning: Count | None = None
    """Keep one draw in this many. Default: the sampler's."""
    map_steps: Count = 2000
    """Full-batch optimizer steps to the optima that are scored beside the posterior."""
    reference_draws: Count | None = None
    """Kept draws a chain of both HMC runs of each variant that classifiers by other samplers than hmc are held against.
    Default: twice num_draws."""


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a study."""

    data: DataConfig = field(default_factory=DataConfig)
    variants: VariedConfig = field(default_factory=VariedConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    models: Models = field(default_factory=lambda: Models(backbone=MLP((16, 16))))
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)
