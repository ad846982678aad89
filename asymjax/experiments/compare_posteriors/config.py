"""Settings of a study of posteriors."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from asymjax.data.config import DataConfig
from asymjax.experiments.variants import VariedConfig
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.starts import Start
from asymjax.lab.chains import ChainsConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.backbones import MLP
from asymjax.models.config import Models
from asymjax.rng import SeedConfig
from asymjax.settings import MOST, Count, Natural, Range, Settings


@dataclass(frozen=True)
class StudyConfig(Settings):
    """How each posterior is sampled."""

    num_repeats: Annotated[int, Range(2, MOST)] = 6
    """Independent runs of each variant on the same data; run r has init_seed + r and seed + r."""
    masks: Literal["own", "shared"] | None = None
    """Give run r what mask seed + r fixes, so that intervals are over masks too, or all runs the same. Default: own, or
    shared where mask_seed varies, or where runs are held against references."""
    samplers: tuple[str, ...] = ("hmc",)
    """Samplers of runs/bnn_hmc.py, bnn_nuts.py, bnn_mclmc.py or bnn_sgld.py, and families of bnn_vi.py, each for every
    network, at their defaults but for what follows a name after commas: hmc meanfield meanfield,symmetrise=bethe
    laplace,num_warmup=500."""
    num_chains: Count = 4
    """Chains of each run, each from a start of its own."""
    num_draws: Count = 300
    """Kept draws a chain."""
    num_warmup: Count | None = None
    """Steps a chain that adapt and are dropped, of samplers that name none of their own. Default: the sampler's."""
    thinning: Count | None = None
    """Keep one draw in this many, of samplers that name none of their own. Default: the sampler's."""
    map_steps: Natural = 2000
    """Full-batch optimizer steps to the optima that are scored beside the posterior; 0 for none."""
    reference_draws: Count | None = None
    """Kept draws a chain of both HMC runs of each network that all its runs are held against, where a sampler is not
    hmc. Default: twice num_draws."""

    @property
    def steps(self) -> dict[str, int]:
        """Settings of samplers that all share, where they are given."""
        steps = {"num_warmup": self.num_warmup, "thinning": self.thinning}
        return {name: value for name, value in steps.items() if value is not None}

    @property
    def start(self) -> Start:
        """Where chains and fits begin."""
        return Start(map_steps=self.map_steps)

    @property
    def chains(self) -> ChainsConfig:
        """Chains and draws of a run."""
        return ChainsConfig(self.num_chains, self.num_draws)

    @property
    def reference_chains(self) -> ChainsConfig:
        """Chains and draws of a run that others are held against."""
        num_draws = 2 * self.num_draws if self.reference_draws is None else self.reference_draws
        return ChainsConfig(self.num_chains, num_draws)


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
