"""Settings of a comparison of paths from start to end."""

from dataclasses import dataclass, field

from asymjax.data.config import DataConfig
from asymjax.experiments.linear_connectivity.config import PathConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.config import Models
from asymjax.rng import SeedConfig
from asymjax.settings import Count, Settings
from asymjax.train.optimizers import OptimizerConfig


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    models: Models = field(default_factory=Models)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    num_seeds: Count = 100
    """Networks of each method, one a seed."""
    path: PathConfig = field(default_factory=PathConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)
