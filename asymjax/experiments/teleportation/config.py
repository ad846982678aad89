"""Settings of a comparison of training with and without teleports."""

from dataclasses import dataclass, field
from typing import Literal

from asymjax.data.config import DataConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.backbones import MLP
from asymjax.models.config import ModelConfig
from asymjax.paths.teleport import TeleportConfig
from asymjax.rng import SeedConfig
from asymjax.settings import Count, Natural, NonNegative, Positive, Settings


@dataclass(frozen=True)
class TrainingConfig(Settings):
    """How networks are trained; a learning rate that does not change."""

    optimizer: Literal["sgd", "momentum", "adagrad", "rmsprop", "adam"] = "sgd"
    """Optimizer (momentum is 0.9)."""
    learning_rate: NonNegative = 0.02
    """Learning rate."""
    num_epochs: Count = 20
    """Passes over the training rows."""
    batch_size: Count = 20
    """Rows a step."""
    num_seeds: Count = 5
    """Networks of each arm, one a seed; those of one seed begin alike and meet the rows in the same order."""


@dataclass(frozen=True)
class ScheduleConfig(Settings):
    """When networks teleport, and by what."""

    arms: tuple[str, ...] = ("steep", "random")
    """What is compared with plain training: steep (larger gradients), flat, sharp, straight, curved (orbits), balanced,
    random (a random element of the longest length allowed), pseudo_inverse (the paper's action, inexact)."""
    num_teleports: Count = 8
    """Teleports of a network."""
    teleport_epoch: Natural = 0
    """Epoch in which they are, from 0."""
    every: Count = 5
    """Steps from one to the next."""
    teleport_rows: Count = 200
    """Rows that a teleport looks at, drawn anew for each; the loss is told of as many others."""
    max_gradient: Positive = 3.0
    """Norm of the gradient that steep and pseudo_inverse do not exceed."""
    radii: tuple[Positive, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    """Lengths of the random displacements by which sharpness is measured."""


@dataclass(frozen=True)
class MeasureConfig(Settings):
    """What is measured at the end."""

    num_rows: Count = 500
    """Training rows for curvature and sharpness, the first ones."""
    num_probes: Count = 20
    """Products with the Hessian for its trace, and as many for its largest eigenvalue."""


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(
        default_factory=lambda: ModelConfig(backbone=MLP((16, 10), norm="none", activation="leaky_relu"))
    )
    training: TrainingConfig = field(default_factory=TrainingConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    teleport: TeleportConfig = field(default_factory=TeleportConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)
