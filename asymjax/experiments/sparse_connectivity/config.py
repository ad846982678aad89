"""Settings of a study of sparse networks."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from asymjax.data.config import DataConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.backbones import CNN
from asymjax.models.config import Models
from asymjax.rng import SeedConfig
from asymjax.settings import MOST, Count, Inside, Natural, Range, Settings
from asymjax.sparse.distillation import DistillationConfig
from asymjax.train.optimizers import OptimizerConfig


@dataclass(frozen=True)
class SparseConfig(Settings):
    """Which masks are compared, and how stable the networks that they make are."""

    sources: tuple[str, ...] = ("imp", "distilled", "subset", "random")
    """Where masks come from. By iterative magnitude pruning: imp (on the training rows), distilled (on distilled data),
    subset (on as many random training rows). At once, from step k: random, magnitude, snip. From another network:
    naive (the imp mask of the next seed, as it is) and permuted (aligned to this seed)."""
    sparsities: tuple[Inside, ...] = (0.59, 0.87, 0.97)
    """Shares of pruned weights at which twins are trained, each at the round that comes nearest."""
    pruned_share: Inside = 0.2
    """Share of the weights left that each round of iterative pruning removes."""
    scope: Literal["global", "layer"] = "global"
    """Whether weights of all layers compete to be kept, or those of each layer alone."""
    rewind_steps: tuple[Natural, ...] = (0,)
    """Steps k after which tickets begin, one or several to compare."""
    num_twins: Annotated[int, Range(2, MOST)] = 3
    """Networks trained from each ticket, in orders of the rows of their own; barriers lie between all pairs."""
    search_epochs: Count = 200
    """Passes over distilled data, or over the random subset, in each round of a search on these."""
    num_points: Annotated[int, Range(3, MOST)] = 31
    """Points on each path, both ends included; odd, so that the middle is one of them."""
    num_train_rows: Count = 2000
    """Training rows that are measured on the paths, the first ones."""
    num_probes: Natural = 10
    """Products with the Hessian for its trace, and as many for its largest eigenvalue, at five points of the first path
    of each ticket; 0 measures no curvature."""
    curvature_rows: Count = 200
    """Training rows that curvature is measured on, the first ones."""


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    models: Models = field(
        default_factory=lambda: Models(
            backbone=CNN((16, 16), norm="none", activation="relu"), archs=("standard", "w_asym")
        )
    )
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig("sgd", 0.2, num_epochs=20, batch_size=16)
    )
    sparse: SparseConfig = field(default_factory=SparseConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    num_seeds: Count = 4
    """Initialisations of each method; a ticket is found for each."""
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)
