"""Describe what a model consists of, and which parameter symmetries its method removes and leaves.

    python runs/describe_model.py --preset paper_bnn_mlp8 --arch w_asym

prints, in a few seconds and without any data: trainable and fixed entries of every parameter, the checksum of what is
fixed, and the symmetries of the standard network, those that the method removed and those that remain, counted from
the very masks and gates of --mask-seed. With --json, one JSON object and nothing else goes to standard output.
"""

from dataclasses import dataclass, field

from asymjax.lab import command_line
from asymjax.models.backbones import GCN, MLP, ResNet
from asymjax.models.config import ModelConfig
from asymjax.models.presets import MODEL_PRESETS
from asymjax.settings import Count, Settings


@dataclass(frozen=True)
class ShowConfig(Settings):
    """Where the model stands, and how to print it."""

    preset: str = "default"
    """Named settings to start from; flags given beside it win."""
    input_shape: tuple[Count, ...] = (8, 8, 1)
    """Shape of one input: 8 8 1 (digits), 28 28 1 (MNIST, and the presets), 32 32 3 (CIFAR), 13, 1433 (Cora)."""
    num_outputs: Count = 10
    """Outputs of the network."""
    json: bool = False
    """Print JSON instead of tables."""


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a description."""

    model: ModelConfig = field(default_factory=ModelConfig)
    run: ShowConfig = field(default_factory=ShowConfig)


STANDS = {
    ResNet: ShowConfig(input_shape=(32, 32, 3)),
    MLP: ShowConfig(input_shape=(28, 28, 1)),
    GCN: ShowConfig(input_shape=(128,), num_outputs=40),
}
PRESETS = {"default": Config()} | {
    name: Config(models.of("standard"), STANDS[type(models.backbone)]) for name, models in MODEL_PRESETS.items()
}


def main(config: Config) -> None:
    """Describe the model on standard output."""
    from rich.console import Console

    from asymjax.experiments.describe_model.table import as_tables
    from asymjax.lab.run_files import dumps
    from asymjax.models.describe import describe

    description = describe(config.model, config.run.input_shape, config.run.num_outputs)
    if config.run.json:
        print(dumps(description, indent=2))
    else:
        Console().print(as_tables(description))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__, MODEL_PRESETS)
