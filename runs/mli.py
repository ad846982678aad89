"""Follow the training loss on the straight path from each network's start to where its training ends.

    python runs/mli.py

trains a hundred networks of each method (MNIST images if the `mnist` extra is installed, scikit-learn's digits
otherwise) and says, method by method, how often the loss falls all along the path (monotonic linear interpolation) and
how convex it is, beside the numbers of Lim et al. (2024). The same command resumes a run that was stopped. The run
directory (last line printed) holds summary.json, results.zarr and what runs/report.py draws figures from.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from asymjax.config import (
    MODEL_PRESETS,
    DataConfig,
    OptimizerConfig,
    PathConfig,
    RunConfig,
    SeedConfig,
)
from asymjax.lab import command_line
from asymjax.lab.command_line import EMBEDDED_IMAGES, PlainModelConfig


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    archs: tuple[str, ...] = ("standard", "w_asym", "sigma_asym", "pruned", "syre")
    """Methods to compare, out of: standard, w_asym, pruned, sigma_asym, w_sigma_asym, syre, fixed_bias."""
    model: PlainModelConfig = field(default_factory=PlainModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    num_seeds: int = 100
    """Networks of each method, one a seed."""
    path: PathConfig = field(default_factory=PathConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)


DEFAULT = Config(
    data=DataConfig(EMBEDDED_IMAGES),
    model=PlainModelConfig(widths=(128, 128)),
    # Steps so large that some paths rise: at a tenth of this rate the loss falls along all of them.
    optimizer=OptimizerConfig(learning_rate=0.01, weight_decay=0.03, num_epochs=5),
)
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT,
        data=DataConfig("digits"),
        model=PlainModelConfig(),
        num_seeds=6,
    ),
    "resnet8": Config(
        data=DataConfig("cifar10"),
        archs=("standard", "sigma_asym", "w_asym"),
        model=PlainModelConfig(**vars(MODEL_PRESETS["paper_resnet8_metanet"])),
        optimizer=OptimizerConfig(
            learning_rate=0.5,
            weight_decay=0.1,
            label_smoothing=0.2,
            recipe="drawn",
            schedule="linear",
            warmup_steps=435,  # 5 epochs of 45,000 rows; with fewer rows give fewer.
            num_epochs=25,
            batch_size=512,
        ),
        num_seeds=300,
    ),
}


def main(config: Config) -> Path:
    """Run one comparison, print its tables and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.monotonic_interpolation.run import train_and_interpolate

    path = train_and_interpolate(
        config.data,
        config.model,
        config.archs,
        config.optimizer,
        config.seeds,
        config.num_seeds,
        config.path,
        config.run,
    )
    reports.print_tables(path)
    return path


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
