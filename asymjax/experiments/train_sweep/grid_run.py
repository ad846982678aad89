"""A grid of sweeps: a run directory for each combination of settings that is a program of its own."""

from functools import partial
from pathlib import Path

from asymjax.experiments.child_runs import finish_runs
from asymjax.experiments.grid import grid_programs
from asymjax.experiments.setup import load_data
from asymjax.experiments.train_sweep.config import Config
from asymjax.experiments.train_sweep.run import run_train_sweep
from asymjax.experiments.variants import Variant
from asymjax.lab.rundir import open_run
from asymjax.train.members import make_trainer

EXPERIMENT = "train_grid"


def run_train_grid(config: Config) -> Path:
    """Train ``num_seeds`` networks of every combination of settings; resumes what is not finished.

    Returns
    -------
    The run directory: that of one sweep where one program has all networks, else one with a sweep for each program, and
    their summaries by name in summary.json.

    Raises
    ------
    InputError
        If the axes or any of their combinations cannot be used, data are damaged, or the directory is not this run's.
    DivergedError
        If every network of a program leaves the finite numbers; all others are finished then.
    StopRequestedError
        If SIGTERM came.
    """
    programs = grid_programs(config.grid, Variant(config.model, config.optimizer), config.num_seeds)
    if len(programs) == 1:
        return run_train_sweep(config, programs[0], config.run)
    dataset = load_data(config.data)
    for variant, _, hyper in programs:  # Refuse what fits none of them before any is trained.
        make_trainer(variant.build(dataset), dataset, variant.optimizer, hyper)
    names = ("optimizer", "seeds", "num_seeds", "grid", "start", "keep_weights")
    settings = {name: getattr(config, name) for name in names}
    settings |= {"data": config.data.identity(dataset), "model": config.model.record()}
    run = open_run(EXPERIMENT, f"{config.data.slug}-{len(programs)}_programs", settings, config.run)
    makers = {program.variant.name: partial(run_train_sweep, config, program) for program in programs}
    return finish_runs(run, makers, config.run)
