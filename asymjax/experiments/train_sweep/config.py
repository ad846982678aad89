"""Settings of a sweep."""

from dataclasses import dataclass, field

from asymjax.data.config import DataConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig
from asymjax.settings import Count, Settings
from asymjax.train.members import Start
from asymjax.train.optimizers import OptimizerConfig


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    num_seeds: Count = 4
    """Networks, one a seed; of a grid, for each combination of its settings."""
    grid: tuple[str, ...] = ()
    """Train networks of every combination of these settings: NAME=V1,V2,... for any setting of methods, backbones and
    training, / inside a value for several layers, 0:4 for the whole numbers 0 to 3: learning_rate=1e-4,1e-3
    mask_seed=0:4 arch=standard,w_asym widths=16/16,32/32. All values of learning_rate, weight_decay, label_smoothing,
    fixed_scale and mask_seed train side by side in one compiled program and one run directory; each combination of
    other settings has its own. A setting varies where it has an effect: fixed_scale not for standard."""
    start: Start = "own"
    """Where networks begin: each at its own initialisation, or at a shared one, that of the first seed, with orders of
    the rows and drawn recipes of their own."""
    keep_weights: bool = True
    """Keep the trained weights of all networks, and not their metrics alone."""
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)
