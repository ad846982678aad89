"""Settings of a zoo."""

from dataclasses import dataclass, field
from typing import Literal

from asymjax.data.config import DataConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.backbones import MLP
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig
from asymjax.settings import Count, Settings
from asymjax.train.members import Start
from asymjax.train.optimizers import OptimizerConfig, drawn


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=lambda: ModelConfig(backbone=MLP((16,), norm="none", activation="relu")))
    optimizer: OptimizerConfig = field(default_factory=lambda: drawn(0.1, 1, 10, 32))
    num_networks: Count = 1000
    """Networks, each with a recipe and an order of the rows of its own."""
    control: Literal["none", "small_standard"] = "none"
    """Train a control in place of the networks of --arch w_asym: small_standard, standard networks as narrow as w_asym
    has trainable entries."""
    start: Start = "own"
    """Where networks begin: each at its own initialisation, or at a shared one, that of the first. With a shared start
    units keep their places, so that what follows from a common frame is told from what follows from asymmetry."""
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)
