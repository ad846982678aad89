"""Settings of a distillation."""

from dataclasses import dataclass, field

from asymjax.data.config import DataConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.backbones import CNN
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig
from asymjax.settings import Count, NonNegative, Settings
from asymjax.sparse.distillation import DistillationConfig
from asymjax.train.optimizers import OptimizerConfig


@dataclass(frozen=True)
class EvaluationConfig(Settings):
    """How networks are trained on distilled rows, and on real ones beside them: by AdamW, all as many steps."""

    num_seeds: Count = 5
    """Networks of each set of rows; of random real subsets each has its own."""
    train_steps: Count = 500
    """Steps of each network."""
    batch_size: Count = 64
    """Rows a step, or all where there are fewer."""
    learning_rate: NonNegative = 3e-3
    """Learning rate of the networks."""
    whole: bool = True
    """Train on all real rows too."""

    def optimizer(self, num_rows: int) -> OptimizerConfig:
        """Return the training on so many rows: as many whole passes as come nearest to the steps."""
        batch_size = min(self.batch_size, num_rows)
        num_epochs = max(1, round(self.train_steps / (num_rows // batch_size)))
        return OptimizerConfig(learning_rate=self.learning_rate, num_epochs=num_epochs, batch_size=batch_size)


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=lambda: ModelConfig(backbone=CNN((32, 32))))
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)
