"""Compare sparse networks by where their masks come from: how well twins trained from one ticket connect.

    python runs/sparse_lmc.py
    python runs/sparse_lmc.py --archs standard w_asym --sources imp naive permuted --rewind-steps 0 100

prunes networks iteratively, on all training rows, on distilled data and on a random subset, trains twins from every
ticket in orders of the rows of their own, and measures the paths between twins. It prints accuracy and instability for
each source of masks and each sparsity. The same command resumes a run that was stopped. The run directory (last line
printed) holds summary.json, results.zarr and figures/.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.sparse_connectivity.config import Config
from asymjax.lab import command_line
from asymjax.models.backbones import MLP
from asymjax.models.config import Models
from asymjax.train.optimizers import OptimizerConfig

DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT,
        models=Models(backbone=MLP((16,), norm="none", activation="relu")),
        optimizer=replace(DEFAULT.optimizer, num_epochs=2),
        sparse=replace(DEFAULT.sparse, sparsities=(0.36, 0.59), num_twins=2, search_epochs=10),
        distillation=replace(DEFAULT.distillation, images_per_class=1, num_steps=20, num_networks=2),
        num_seeds=2,
    ),
    # LeNet-300-100 on MNIST (Frankle et al. 2020), stable from the start.
    "lenet": replace(
        DEFAULT,
        data=DataConfig("mnist"),
        models=Models(backbone=MLP((300, 100), norm="none", activation="relu")),
        optimizer=OptimizerConfig("sgd", 0.1, num_epochs=40, batch_size=128),
    ),
}


def main(config: Config) -> Path:
    """Run one study, draw and print what it found, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.sparse_connectivity.run import run_sparse

    return reports.conclude(run_sparse(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
