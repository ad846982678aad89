"""Monotonic linear interpolation: the loss on the straight path from each network's start to its end."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from asymjax import trees
from asymjax.errors import DivergedError
from asymjax.experiments.linear_connectivity.run import Ends, Task, compare_populations, run_paths
from asymjax.experiments.monotonic_interpolation.config import Config
from asymjax.experiments.populations import Population, prepare_populations
from asymjax.experiments.variants import VariantsConfig
from asymjax.lab.results import Named
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import RunDir
from asymjax.rng import SeedConfig
from asymjax.symmetry.interpolation import (
    PATH_SCORES,
    over_networks,
    path_statistics,
    smooth_losses,
    summarise_statistics,
)
from asymjax.train.members import drawn_recipes, initial_positions
from asymjax.train.optimizers import OptimizerConfig
from asymjax.types import Params

EXPERIMENT = "mli"


def train_and_interpolate(config: Config) -> Path:
    """Train networks of several methods, then measure the path of each from its start; resumes an unfinished run.

    Returns
    -------
    The run directory, with summary.json and ``kinds`` in results.zarr.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If fewer than two networks of a method are finite all along their paths.
    StopRequestedError
        If SIGTERM came.
    """
    optimizer, seeds, num_seeds = config.optimizer, config.seeds, config.num_seeds
    dataset, populations, settings = prepare_populations(
        config.data, VariantsConfig(), config.models, optimizer, seeds, num_seeds, config.run
    )
    measure = partial(
        interpolate_population,
        seeds=seeds,
        num_seeds=num_seeds,
        recipes=drawn_recipes(optimizer, seeds, num_seeds),
        optimizer=optimizer,
        run_config=config.run,
    )
    settings = {**settings, "path": config.path}
    return compare_populations(
        EXPERIMENT, dataset, populations, settings, config.path, config.run, measure, PATH_SCORES
    )


def interpolate_population(
    run: RunDir,
    arch: str,
    population: Population,
    task: Task,
    seeds: SeedConfig,
    num_seeds: int,
    optimizer: OptimizerConfig,
    recipes: Mapping[str, np.ndarray],
    run_config: RunConfig,
) -> tuple[dict[str, Any], Named]:
    """Measure the paths of the networks of a variant.

    Returns
    -------
    Its entry in summary.json, and the arrays of its figures.
    """
    trained, names, excluded = population.networks(run)
    initial = initial_networks(population, seeds, num_seeds, names)

    def ends(pairs: np.ndarray) -> Ends:
        start, end = pairs.T
        return Ends(jax.tree.map(lambda leaf: leaf[start], initial), jax.tree.map(lambda leaf: leaf[end], trained))

    pairs = np.stack([np.arange(len(names))] * 2, axis=1)
    measured = run_paths(run, f"paths-{arch}", ends, pairs, population.frozen, task, run_config)
    smoothing = recipes.get("label_smoothing", np.full(num_seeds, optimizer.label_smoothing))[list(map(int, names))]
    curves = {split: smooth_losses(metrics, smoothing) for split, metrics in measured["curves"].items()}
    failed = not_finite(task.points, curves, names)
    kept = [index for index, name in enumerate(names) if name not in failed]
    if len(kept) < 2:
        raise DivergedError(f"{arch}: the loss is finite on the paths of {len(kept)} of {len(names)} networks alone")
    entry, arrays = summarise_paths(task.points, jax.tree.map(lambda values: values[kept], curves))
    distance = measured["distance"][kept]
    arrays["distance"] = (("network",), distance)
    entry = {
        "networks": [names[index] for index in kept],
        "excluded": excluded | failed,
        "recipes": dict(recipes),
        "distance": over_networks(distance),
        **entry,
    }
    share = entry["statistics"]["train"]["is_monotonic"]["mean"]
    print(f"{arch}: training loss monotonic on {share:.0%} of {len(kept)} paths, {len(entry['excluded'])} excluded")
    return entry, arrays


def initial_networks(population: Population, seeds: SeedConfig, num_seeds: int, names: Sequence[str]) -> Params:
    """Return effective parameters of named networks before training, NumPy leaves [network, ...]."""
    positions = initial_positions(population.model, population.frozen, seeds, num_seeds)
    params = trees.to_host(jax.jit(jax.vmap(population.model.merge, (0, None)))(positions, population.frozen))
    return jax.tree.map(lambda leaf: leaf[list(map(int, names))], params)


def not_finite(
    points: np.ndarray, curves: Mapping[str, Mapping[str, np.ndarray]], names: Sequence[str]
) -> dict[str, str]:
    """Return name -> where, of networks with a loss that is not finite somewhere on their path."""
    is_finite = np.all([np.isfinite(metrics["loss"]) for metrics in curves.values()], axis=0)
    return {
        name: f"loss not finite at {points[np.argmin(along)]:.3g} of the path"
        for name, along in zip(names, is_finite, strict=True)
        if not along.all()
    }


def summarise_paths(
    points: np.ndarray, curves: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[dict[str, Any], dict[str, tuple[Sequence[str], np.ndarray]]]:
    """Turn curves, split -> metric -> [network, point], into statistics.

    Returns
    -------
    ``statistics``, split -> statistic of the loss -> mean and interval; ``initial`` and ``trained``, split -> metric ->
    [network]. And arrays: curves, and the statistics of each network.
    """
    arrays: dict[str, tuple[Sequence[str], np.ndarray]] = {}
    statistics = {}
    for split, metrics in curves.items():
        found = path_statistics(points, metrics["loss"])
        statistics[split] = summarise_statistics(found)
        arrays |= {f"{split}/{metric}/curves": (("network", "point"), values) for metric, values in metrics.items()}
        arrays |= {f"{split}/{name}": (("network",), values) for name, values in found.items()}
    entry: dict[str, Any] = {"statistics": statistics}
    for end, place in {"initial": 0, "trained": -1}.items():
        entry[end] = {
            split: {metric: values[:, place] for metric, values in metrics.items()} for split, metrics in curves.items()
        }
    return entry, arrays
