"""Compare how networks of several kinds connect: loss and accuracy on the straight paths between all pairs of seeds.

    python runs/lmc.py
    python runs/lmc.py --archs standard w_asym --controls different_masks w_asym_start random_features
    python runs/lmc.py --archs standard w_asym --vary fixed_scale --values 0 0.1 0.25 0.5 1 2

trains a few seeds of each kind (MNIST images if the `mnist` extra is installed, scikit-learn's digits otherwise),
measures the paths between all pairs of one kind, and prints barriers kind by kind. The same command resumes a
run that was stopped. The run directory (last line printed) holds summary.json, results.zarr and what report.py draws
figures from. With --sweeps, networks come from finished runs of runs/train_sweep.py.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from asymjax.config import (
    MODEL_PRESETS,
    ConnectivityConfig,
    DataConfig,
    KindsConfig,
    OptimizerConfig,
    RunConfig,
    SeedConfig,
)
from asymjax.lab import command_line
from asymjax.lab.command_line import EMBEDDED_IMAGES, PlainModelConfig


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    kinds: KindsConfig = field(default_factory=KindsConfig)
    model: PlainModelConfig = field(default_factory=PlainModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    num_seeds: int = 6
    """Networks of each kind, one a seed."""
    sweeps: tuple[Path, ...] = ()
    """Compare the networks of these run directories of runs/train_sweep.py instead of training any. Sweeps of one
    method make one kind. Settings of data (but for --data-dir), model and training are then those of the sweeps."""
    connectivity: ConnectivityConfig = field(default_factory=ConnectivityConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)


DEFAULT = Config(
    data=DataConfig(EMBEDDED_IMAGES),
    model=PlainModelConfig(widths=(128, 128)),
    optimizer=OptimizerConfig(weight_decay=0.03),
)
PAPER = Config(
    data=DataConfig("mnist"),
    model=PlainModelConfig(**vars(MODEL_PRESETS["paper_mlp_mnist"])),
    optimizer=OptimizerConfig(weight_decay=0.03, num_epochs=25),
    num_seeds=8,
)
RESNET = Config(
    data=DataConfig("cifar10"),
    model=PlainModelConfig(**vars(MODEL_PRESETS["paper_resnet20_w1"])),
    # The paper's learning rate grows by 1.259 an epoch for 20 epochs of 351 steps; here it grows by the same step each.
    optimizer=OptimizerConfig("adam", learning_rate=1e-2, warmup_steps=7020, num_epochs=100, batch_size=128),
    num_seeds=4,
)
# The paper's recipe for ogbn-arxiv on graphs of two thousand nodes, so that a laptop's cores take minutes: a quarter of
# its width of 256, with gates of standard deviation 0.01 / sqrt(width) as there.
CORA = Config(
    data=DataConfig("planetoid/cora"),
    kinds=KindsConfig(archs=("standard", "w_asym", "w_sigma_asym", "sigma_asym", "pruned", "syre")),
    model=PlainModelConfig(
        **vars(replace(MODEL_PRESETS["paper_gnn_arxiv"], widths=(64, 64, 64), gate_scale=0.00125)),
    ),
    optimizer=OptimizerConfig("adam", warmup_steps=25, num_epochs=500, batch_size=None),
    num_seeds=8,
)
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT,
        data=DataConfig("digits"),
        model=PlainModelConfig(),
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
        model=PlainModelConfig(**vars(MODEL_PRESETS["paper_resnet20_w8"])),
        optimizer=replace(RESNET.optimizer, num_epochs=50),
    ),
}


def main(config: Config) -> Path:
    """Run one comparison, print its tables and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.linear_connectivity.run import connect_sweeps, train_and_connect

    if config.sweeps:
        path = connect_sweeps(config.sweeps, config.data.data_dir, config.connectivity, config.run)
    else:
        path = train_and_connect(
            config.data,
            config.model,
            config.kinds,
            config.optimizer,
            config.seeds,
            config.num_seeds,
            config.connectivity,
            config.run,
        )
    reports.print_tables(path)
    return path


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
