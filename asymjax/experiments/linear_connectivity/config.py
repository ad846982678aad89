"""Settings of a comparison of paths between networks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from asymjax.data.config import DataConfig
from asymjax.experiments.variants import VariantsConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.config import Models
from asymjax.rng import SeedConfig
from asymjax.settings import MOST, Count, Natural, Range, Settings
from asymjax.train.optimizers import OptimizerConfig


@dataclass(frozen=True)
class PathConfig(Settings):
    """Where loss and accuracy are measured on straight paths."""

    num_points: Annotated[int, Range(3, MOST)] = 25
    """Points on each path, both ends included; odd, so that the middle is one of them."""
    num_train_rows: Count = 10_000
    """Training rows that are measured, the first ones."""
    corruptions: tuple[str, ...] = ()
    """Measure on corrupted test rows too: noise, blur, contrast, rotation, occlusion (images, but for noise)."""


@dataclass(frozen=True)
class ConnectivityConfig(PathConfig):
    """Where loss and accuracy are measured on the paths between networks."""

    align: bool = True
    """Measure all paths a second time, the weights of the second network permuted to match the first."""
    plane_points: Natural = 21
    """Points along each side of a grid on the plane through the first three networks of each variant; 0 for none."""
    plane_metric: Literal["filter", "raw"] = "filter"
    """Lengths on that plane: in units of each filter's norm (Li et al. 2018), or Euclidean over all parameters."""


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    variants: VariantsConfig = field(default_factory=VariantsConfig)
    models: Models = field(default_factory=Models)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    num_seeds: Count = 6
    """Networks of each variant, one a seed."""
    sweeps: tuple[Path, ...] = ()
    """Compare the networks of these run directories of runs/train_sweep.py instead of training any. Sweeps of one
    method make one variant. Settings of data (but for --data-dir), model and training are then those of the sweeps."""
    connectivity: ConnectivityConfig = field(default_factory=ConnectivityConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)
