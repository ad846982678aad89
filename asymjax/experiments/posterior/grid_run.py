"""A grid of posteriors: every combination of settings has chains and a run directory of its own.

Chains of other posteriors are no replicates of one another, so each combination is diagnosed alone.
"""

from functools import partial
from pathlib import Path
from typing import Any

from asymjax.data.config import DataConfig
from asymjax.experiments.child_runs import finish_points
from asymjax.experiments.grid import GridConfig, PosteriorPoint, posterior_points
from asymjax.experiments.posterior.run import make_algorithm, run_posterior
from asymjax.experiments.setup import load_data, refuse_graph
from asymjax.inference.chains_config import ChainsConfig
from asymjax.inference.posterior import PosteriorConfig, check_posterior
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import open_run
from asymjax.models import build_model
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig

KEPT = ("coordinates", "arch", "num_trainable", "function_space", "weight_space", "sampler", "test", "seconds")


def run_posterior_grid(
    family: str,
    data_config: DataConfig,
    model_config: ModelConfig,
    posterior_config: PosteriorConfig,
    config: ChainsConfig,
    seeds: SeedConfig,
    grid: GridConfig,
    run_config: RunConfig,
) -> Path:
    """Sample the posterior of every combination of settings, one after the other; resumes what is not finished.

    Values of temperature and prior scale are data of compiled programs, as masks are, so that all but the first are
    found in the compilation cache.

    Parameters
    ----------
    family, data_config, seeds, run_config : as of :func:`~asymjax.experiments.run_posterior`.
    model_config, posterior_config, config : settings that do not vary.
    grid : those that do.

    Returns
    -------
    The run directory: that of a single posterior, or one with a directory for each, and the main numbers of their
    summaries by name in summary.json.

    Raises
    ------
    InputError
        If the axes or any of their combinations cannot be used, data are damaged, or the directory is not this run's.
    DivergedError
        If a loss or log density is not finite; all other posteriors are finished then.
    StopRequestedError
        If SIGTERM came.
    """

    def sample(point: PosteriorPoint, where: RunConfig) -> Path:
        own = (point.model, point.posterior, point.chains)
        return run_posterior(family, data_config, *own, seeds, where, point.coordinates)

    points = posterior_points(grid, model_config, posterior_config, config)
    if len(points) == 1:
        return sample(points[0], run_config)
    dataset = load_data(data_config)
    refuse_graph(dataset, data_config.dataset)
    for point in points:  # Refuse what cannot be before any is sampled.
        check_posterior(point.posterior)
        make_algorithm(point.chains)
        build_model(point.model, dataset.input_shape, dataset.num_outputs)
    identity = {"dataset": data_config.dataset, "data_seed": data_config.data_seed}
    settings: dict[str, Any] = {"data": identity, "model": model_config, "posterior": posterior_config, family: config}
    settings |= {"seeds": seeds, "grid": grid.grid}
    name = f"{data_config.dataset.replace('/', '_')}-{len(points)}_posteriors"
    run = open_run(f"bnn_{family}_grid", name, settings, run_config)
    run.identify(dataset=dataset.checksum)
    made = {point.name: partial(sample, point) for point in points}
    return finish_points(run, made, run_config, lambda summary: {name: summary[name] for name in KEPT})
