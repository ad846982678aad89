"""A grid of sweeps: a run directory for each combination of settings that is a program of its own."""

from functools import partial
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.child_runs import finish_points
from asymjax.experiments.grid import GridConfig, Point, grid_points
from asymjax.experiments.setup import load_data
from asymjax.experiments.train_sweep.run import make_trainer, run_train_sweep
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import open_run
from asymjax.models import build_model
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig
from asymjax.train.optimizers import OptimizerConfig

EXPERIMENT = "train_grid"


def run_train_grid(
    data_config: DataConfig,
    model_config: ModelConfig,
    config: OptimizerConfig,
    seeds: SeedConfig,
    num_seeds: int,
    grid: GridConfig,
    run_config: RunConfig,
    keep_weights: bool = True,
) -> Path:
    """Train ``num_seeds`` networks of every combination of settings; resumes what is not finished.

    Parameters
    ----------
    model_config, config : settings that do not vary.
    grid : those that do.

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
    points = grid_points(grid, model_config, config, num_seeds)
    if len(points) == 1:
        (point,) = points
        return run_train_sweep(data_config, point, seeds, num_seeds, run_config, keep_weights)
    dataset = load_data(data_config)
    for point in points:  # Refuse what fits none of them before any is trained.
        model = build_model(point.model, dataset.input_shape, dataset.num_outputs)
        make_trainer(model, dataset, point.optimizer, point.hyper)
    identity = {"dataset": data_config.dataset, "data_seed": data_config.data_seed}
    settings = {"optimizer": config, "seeds": seeds, "num_seeds": num_seeds, "grid": grid.grid}
    settings["keep_weights"] = keep_weights
    name = f"{data_config.dataset.replace('/', '_')}-{len(points)}_programs"
    run = open_run(EXPERIMENT, name, {"data": identity, "model": model_config, **settings}, run_config)
    run.identify(dataset=dataset.checksum)

    def train(point: Point, where: RunConfig) -> Path:
        return run_train_sweep(data_config, point, seeds, num_seeds, where, keep_weights)

    return finish_points(run, {point.name: partial(train, point) for point in points}, run_config)
