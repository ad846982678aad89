"""Compare how networks of several methods connect: loss and accuracy on the straight paths between all pairs of seeds.

    python runs/lmc.py
    python runs/lmc.py --archs standard w_asym --controls different_masks w_asym_start random_features
    python runs/lmc.py --archs standard w_asym --vary fixed_scale --values 0 0.1 0.25 0.5 1 2

trains a few seeds of each method (MNIST images if the `mnist` extra is installed, scikit-learn's digits otherwise),
measures the paths between all pairs of one method, and prints barriers method by method. The same command resumes a
run that was stopped. The run directory (last line printed) holds summary.json, results.zarr and figures/.
With --sweeps, networks come from finished runs of runs/train_sweep.py.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.linear_connectivity.config import Config
from asymjax.experiments.variants import VariantsConfig
from asymjax.lab import command_line
from asymjax.lab.command_line import EMBEDDED_IMAGES
from asymjax.models.backbones import GCN, MLP
from asymjax.models.config import Models, each_method
from asymjax.models.presets import MODEL_PRESETS
from asymjax.train.optimizers import OptimizerConfig

DEFAULT = Config(
    data=DataConfig(EMBEDDED_IMAGES),
    models=Models(backbone=MLP((128, 128))),
    optimizer=OptimizerConfig(weight_decay=0.03),
)
PAPER = Config(
    data=DataConfig("mnist"),
    variants=VariantsConfig(controls=("soft_gates",)),  # The released gates have standard deviation 1 at width 512.
    models=MODEL_PRESETS["paper_mlp_mnist"],
    optimizer=OptimizerConfig(weight_decay=0.03, num_epochs=25),
    num_seeds=8,
)
RESNET = Config(
    data=DataConfig("cifar10"),
    models=MODEL_PRESETS["paper_resnet20_w1"],
    # The paper's learning rate grows by 1.259 an epoch for 20 epochs of 351 steps (0.0019 on average); here it grows by
    # the same step each (0.0050). Its sigma-asymmetric networks have a peak of 1e-3, and its images are augmented.
    optimizer=OptimizerConfig("adam", learning_rate=1e-2, warmup_steps=7020, num_epochs=100, batch_size=128),
    num_seeds=4,
)
# The paper's recipe for ogbn-arxiv on graphs of two thousand nodes, so that a laptop's cores take minutes: a quarter of
# its width of 256, with gates of standard deviation 0.01 / sqrt(width) as there.
CORA = Config(
    data=DataConfig("planetoid/cora"),
    models=Models(
        each_method(num_fixed=6, fixed_scale=0.5, gate_scale=0.00125),
        GCN((64, 64, 64), norm="batch"),
        ("standard", "w_asym", "w_sigma_asym", "sigma_asym", "pruned", "syre"),
    ),
    optimizer=OptimizerConfig("adam", warmup_steps=25, num_epochs=500, batch_size=None),
    num_seeds=8,
)
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT,
        data=DataConfig("digits"),
        models=Models(),
        optimizer=replace(DEFAULT.optimizer, num_epochs=5),
        num_seeds=3,
    ),
    "cora": CORA,
    "digits_graph": replace(CORA, data=DataConfig("digits_graph"), num_seeds=6),
    "mnist_mlp": PAPER,
    "mnist_mlp_short": replace(PAPER, optimizer=replace(PAPER.optimizer, num_epochs=5)),
    "resnet20_w1": RESNET,
    "resnet20_w8": replace(
        RESNET,
        models=MODEL_PRESETS["paper_resnet20_w8"],
        optimizer=replace(RESNET.optimizer, num_epochs=50),
    ),
}


def main(config: Config) -> Path:
    """Run one comparison, draw and print what it found, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.linear_connectivity.run import connect_sweeps, train_and_connect

    return reports.conclude(connect_sweeps(config) if config.sweeps else train_and_connect(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
