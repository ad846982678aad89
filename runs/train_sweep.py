"""Train a sweep of networks, one a seed, side by side on all devices.

    python runs/train_sweep.py --arch w_asym --num-seeds 16

    python runs/train_sweep.py --grid learning_rate=1e-4,1e-3 arch=standard,w_asym mask_seed=0:4

trains networks of every combination of settings. The same command resumes a run that was stopped. The run directory
(last line printed) holds the trained positions, metrics.jsonl and summary.json with the metrics and the status of every
network, and figures/; of a grid that takes several programs, such a directory for each.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.train_sweep.config import Config
from asymjax.lab import command_line
from asymjax.models.presets import MODEL_PRESETS
from asymjax.train.optimizers import OptimizerConfig

DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(DEFAULT, optimizer=OptimizerConfig(num_epochs=2)),
    "paper_mlp_mnist": Config(
        data=DataConfig("mnist"),
        model=MODEL_PRESETS["paper_mlp_mnist"].of("standard"),
        optimizer=OptimizerConfig(weight_decay=0.03, num_epochs=25),
    ),
}


def main(config: Config) -> Path:
    """Run one sweep, draw and print what it found, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.train_sweep.grid_run import run_train_grid

    return reports.conclude(run_train_grid(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__, MODEL_PRESETS)
