"""A zoo: the sweep of one program, under a name of its own."""

from pathlib import Path

from asymjax.experiments.grid import grid_programs
from asymjax.experiments.train_sweep.config import Config as SweepConfig
from asymjax.experiments.train_sweep.run import run_train_sweep
from asymjax.experiments.variants import Variant
from asymjax.experiments.zoo.config import Config

EXPERIMENT = "zoo"


def run_zoo(config: Config) -> Path:
    """Train the networks of a zoo; resumes one that is not finished.

    Returns
    -------
    The run directory, as of ``run_train_sweep``; :func:`asymjax.read_zoo` reads it.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If every loss leaves the finite numbers, where all networks train in one round.
    StopRequestedError
        If SIGTERM came.
    """
    (program,) = grid_programs((), Variant(config.model, config.optimizer), config.num_networks)
    sweep = SweepConfig(
        config.data, config.model, config.optimizer, config.num_networks, start=config.start, seeds=config.seeds
    )
    return run_train_sweep(sweep, program, config.run, EXPERIMENT)
