"""Walk trained networks to where another objective is lower while their function stays, and set that beside training.

    python runs/invariant_path.py --objective continual
    python runs/invariant_path.py --objective sparse --driver penalty --step-size 0.01 --num-replay 1000

trains networks of each method, walks each along a functionally invariant path and along what paths are compared with,
and measures accuracy, how far the function has drifted, lengths and curvature at points on the way. The same command
resumes a run that was stopped. The run directory (last line printed) holds summary.json, results.zarr and figures/.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.invariant_paths.config import Config
from asymjax.lab import command_line
from asymjax.models.backbones import MLP
from asymjax.models.config import Models
from asymjax.train.optimizers import OptimizerConfig

DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT,
        models=Models(backbone=MLP((8,), norm="none", activation="relu"), archs=("standard",)),
        optimizer=replace(DEFAULT.optimizer, num_epochs=2),
        study=replace(
            DEFAULT.study,
            num_replay=4,
            ewc_strengths=(100.0,),
            shares=(0.5,),
            num_members=2,
            num_points=2,
            num_probes=2,
            attack_steps=2,
        ),
        path=replace(DEFAULT.path, num_steps=4),
        num_seeds=2,
    ),
    # 4,000 images of MNIST, and a perceptron of one hidden layer.
    "sheet": replace(
        DEFAULT,
        data=DataConfig("mnist"),
        models=Models(backbone=MLP((128,), norm="none", activation="relu"), archs=("standard",)),
        optimizer=OptimizerConfig(num_epochs=20),
        study=replace(DEFAULT.study, num_train_rows=4000, num_test_rows=1000),
    ),
}


def main(config: Config) -> Path:
    """Run one study, draw and print what it found, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.invariant_paths.run import run_paths

    return reports.conclude(run_paths(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
