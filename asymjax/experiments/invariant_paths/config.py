"""Settings of a study of invariant paths."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from asymjax.data.config import DataConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.backbones import MLP
from asymjax.models.config import Models
from asymjax.paths.invariant import PathConfig
from asymjax.rng import SeedConfig
from asymjax.settings import MOST, Count, Inside, Natural, NonNegative, Positive, Range, Settings
from asymjax.train.optimizers import OptimizerConfig


@dataclass(frozen=True)
class StudyConfig(Settings):
    """What falls along the paths, and what they are compared with."""

    objective: Literal["continual", "sparse", "diverse", "robust", "join"] = "continual"
    """What falls while the function stays: the loss on new classes (continual), the distance to the nearest sparse
    network (sparse), nearness to the start (diverse), the loss on attacked inputs (robust), the distance to the network
    of the next seed (join)."""
    num_replay: Count = 20
    """Training inputs on which the function has to stay, drawn for each path; of the old classes in continual."""
    objective_rows: Count | None = 100
    """Rows a step of the objective and of what paths are compared with; None takes all."""
    baselines: bool = True
    """Walk what paths are compared with too, as many steps."""
    ewc_strengths: tuple[Positive, ...] = (10.0, 100.0, 1000.0, 10000.0)
    """Weights of the elastic penalty in continual, each a comparison of its own; all are told, and none is chosen."""
    shares: tuple[Inside, ...] = (0.8, 0.9, 0.95, 0.98)
    """Shares of all parameters that are to be zero in sparse, each a path of its own."""
    num_members: Annotated[int, Range(2, MOST)] = 5
    """Networks of an ensemble in diverse: points of one path, beside as many networks trained one by one."""
    radius: NonNegative = 0.1
    """How far attacks move each input feature, in standardised units (diverse, robust)."""
    attack_steps: Count = 10
    """Steps of the stronger attack."""
    corruptions: tuple[str, ...] = ("noise", "rotation")
    """Corruptions of test inputs in diverse and robust: noise, blur, contrast, rotation, occlusion; all but noise need
    images."""
    num_points: Count = 10
    """Points of a path that are kept and measured, at most, beside its start; their number divides that of the
    steps."""
    num_probes: Natural = 10
    """Products with the Hessian for its trace, and as many for its largest eigenvalue, at the start, half-way and at
    the end; 0 measures no curvature."""
    curvature_rows: Count = 200
    """Training rows that curvature is measured on, the first ones."""
    null_space: bool = True
    """Count the null directions of the metric where the first path of each method begins, of up to 6,000 parameters."""
    num_train_rows: Count | None = None
    """Training rows that are taken, the first ones; None for all."""
    num_test_rows: Count | None = None
    """Test rows that are taken, the first ones; None for all."""


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    models: Models = field(
        default_factory=lambda: Models(
            backbone=MLP((32,), norm="none", activation="relu"), archs=("standard", "w_asym")
        )
    )
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    path: PathConfig = field(
        default_factory=lambda: PathConfig(num_steps=150, step_size=0.05, retract=True, anneal_share=0.2)
    )
    num_seeds: Count = 4
    """Trained networks of each method that paths begin at."""
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)
