"""Distil a dataset: a few images of each class, fitted so that networks trained on them do as well as they can.

    python runs/distill.py --method distribution --images-per-class 1
    python runs/train_sweep.py --dataset distilled/RUN_DIR --backbone cnn --batch-size 10

fits images, then trains networks on them, on random real images, as many, and on all real ones, and compares their
accuracy on test rows. The same command resumes a run that was stopped. The run directory (last line printed) holds the
images as a dataset that every script takes, summary.json, results.zarr and figures/.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.distillation.config import Config, EvaluationConfig
from asymjax.lab import command_line
from asymjax.models.backbones import CNN
from asymjax.models.config import ModelConfig
from asymjax.sparse.distillation import DistillationConfig

DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT,
        distillation=DistillationConfig(images_per_class=1, num_steps=20, num_networks=2),
        evaluation=EvaluationConfig(num_seeds=2, train_steps=50),
    ),
    "mnist": Config(
        data=DataConfig("mnist"),
        model=ModelConfig(backbone=CNN((16, 32, 32))),
        distillation=DistillationConfig(num_networks=2),
        evaluation=EvaluationConfig(num_seeds=3),
    ),
}


def main(config: Config) -> Path:
    """Run one distillation, draw and print what it found, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.distillation.run import run_distillation

    return reports.conclude(run_distillation(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
