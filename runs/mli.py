"""Follow the training loss on the straight path from each network's start to where its training ends.

    python runs/mli.py

trains a hundred networks of each method (MNIST images if the `mnist` extra is installed, scikit-learn's digits
otherwise) and reports, method by method, how often the loss falls all along the path (monotonic linear interpolation)
and how convex it is, beside the numbers of Lim et al. (2024). The same command resumes a run that was stopped. The run
directory (last line printed) holds summary.json, results.zarr and figures/.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.monotonic_interpolation.config import Config
from asymjax.lab import command_line
from asymjax.lab.command_line import EMBEDDED_IMAGES
from asymjax.models.backbones import MLP
from asymjax.models.config import Models
from asymjax.models.presets import MODEL_PRESETS
from asymjax.train.optimizers import OptimizerConfig

DEFAULT = Config(
    data=DataConfig(EMBEDDED_IMAGES),
    models=Models(backbone=MLP((128, 128))),
    # Steps so large that some paths rise: at a tenth of this rate the loss falls along all of them.
    optimizer=OptimizerConfig(learning_rate=0.01, weight_decay=0.03, num_epochs=5),
)
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT,
        data=DataConfig("digits"),
        models=Models(),
        num_seeds=6,
    ),
    "resnet8": Config(
        data=DataConfig("cifar10"),
        models=replace(MODEL_PRESETS["paper_resnet8_metanet"], archs=("standard", "sigma_asym", "w_asym")),
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
    """Run one comparison, draw and print what it found, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.monotonic_interpolation.run import train_and_interpolate

    return reports.conclude(train_and_interpolate(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
