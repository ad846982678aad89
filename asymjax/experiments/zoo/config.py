"""Settings of a zoo."""

from dataclasses import dataclass, field
from typing import Literal

from asymjax.data.config import DataConfig
from asymjax.experiments.train_sweep.config import Start
from asymjax.lab.run_config import RunConfig
from asymjax.models.backbones import MLP
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig
from asymjax.settings import Count, Settings
from asymjax.train.optimizers import OptimizerConfig


def drawn(learning_rate: float, min_epochs: int, num_epochs: int, batch_size: int) -> OptimizerConfig:
    """Return a drawn recipe of AdamW, whose decay goes to 0.1 and whose smoothing goes to 0.2 as in Lim et al. (2024).

    Parameters
    ----------
    learning_rate : the largest.
    min_epochs, num_epochs : the shortest and the longest training.
    batch_size : rows a step.
    """
    return OptimizerConfig(
        learning_rate=learning_rate,
        weight_decay=0.1,
        label_smoothing=0.2,
        recipe="drawn",
        min_epochs=min_epochs,
        num_epochs=num_epochs,
        batch_size=batch_size,
    )


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
