"""Settings of a comparison of metanetworks."""

from dataclasses import dataclass, field
from pathlib import Path

from asymjax.lab.run_config import RunConfig
from asymjax.metanets.config import FitConfig
from asymjax.settings import Count, Seed, Settings


@dataclass(frozen=True)
class Config(Settings):
    """All settings of a run."""

    zoo: tuple[Path, ...] = ()
    """Run directories of zoos, one or more, of runs/zoo.py or runs/train_sweep.py, or of runs/bnn_*.py, whose draws are
    networks then."""
    metanets: tuple[str, ...] = ("recipe", "stat_trees", "statnn", "flat_mlp", "hnp", "probe")
    """What predicts, each with settings of its own, if any, NAME,SETTING=VALUE: flat_mlp,reads=aligned. Networks:
    statnn, flat_mlp, deepsets, dmc (as published), hnp, np (equivariant), scale_hnp (of ReLU, without scales), probe
    (learned inputs). Regressions: recipe (no weights), norms, stat_trees, ridge."""
    target: str = "test.accuracy"
    """What is predicted: a score of the zoo; gap (of training and test accuracy); barrier, how far the loss on the
    validation rows rises on the straight path to the network of the best validation accuracy, which is set apart;
    aligned_barrier, the same after weight matching to that network; or chain, which one a draw of a posterior is of."""
    data_dir: Path | None = None
    """Folder with the files of the zoos' data set, where it is not embedded; for barriers."""
    num_train: tuple[Count, ...] = ()
    """Numbers of training networks, for a learning curve; all of them by default."""
    widened: tuple[Count, ...] = ()
    """Widths to which the test networks are widened without a change of their function, to be read too: who sees the
    function says the same. Every hidden layer is made so wide (a resnet so many times as wide as with a width of 1), by
    splitting units and by units that feed nothing."""
    seed: Seed = 0
    """Seed of metanetworks and of their batches; the split of a zoo is the same for all."""
    fit: FitConfig = field(default_factory=FitConfig)
    run: RunConfig = field(default_factory=RunConfig)
