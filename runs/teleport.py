"""Train networks with and without teleports, jumps along symmetries that leave the function as it is.

    python runs/teleport.py
    python runs/teleport.py --arms flat sharp straight curved --teleport-epoch 10 --num-seeds 20

trains networks from several seeds, plain and with teleports to larger gradients, to flatter or sharper places, or
anywhere, and compares the loss against steps and against seconds, and curvature and generalisation at the end. The same
command resumes a run that was stopped. The run directory (last line printed) holds summary.json, results.zarr and
figures/.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.teleportation.config import Config, MeasureConfig, ScheduleConfig, TrainingConfig
from asymjax.lab import command_line

DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT,
        training=TrainingConfig(num_epochs=3, num_seeds=2),
        schedule=ScheduleConfig(arms=("steep",), num_teleports=2),
        measure=MeasureConfig(num_rows=100, num_probes=4),
    ),
    # The network and the schedule of Zhao et al. (2024), on all of MNIST.
    "mnist": replace(DEFAULT, data=DataConfig("mnist"), training=TrainingConfig(num_epochs=40)),
}


def main(config: Config) -> Path:
    """Run one comparison, draw and print what it found, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.teleportation.run import run_teleportation

    return reports.conclude(run_teleportation(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
