"""Monotonic linear interpolation: the loss on the straight path from each network's start to its end."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from asymjax import trees
from asymjax.data.config import DataConfig
from asymjax.errors import DivergedError
from asymjax.experiments.kinds import Kind, prepare_kinds
from asymjax.experiments.linear_connectivity.config import PathConfig
from asymjax.experiments.linear_connectivity.run import Task, compare_kinds, run_paths
from asymjax.experiments.train_sweep.run import drawn_recipes, initial_positions
from asymjax.experiments.variants import KindsConfig
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import RunDir
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig
from asymjax.symmetry.interpolation import (
    PATH_SCORES,
    over_networks,
    path_statistics,
    smooth_losses,
    summarise_statistics,
)
from asymjax.train.optimizers import OptimizerConfig
from asymjax.types import Params

EXPERIMENT = "mli"


def train_and_interpolate(
    data_config: DataConfig,
    model_config: ModelConfig,
    archs: Sequence[str],
    optimizer: OptimizerConfig,
    seeds: SeedConfig,
    num_seeds: int,
    config: PathConfig,
    run_config: RunConfig,
) -> Path:
    """Train networks of several methods, then measure the path of each from its start; resumes an unfinished run.

    Parameters
    ----------
    model_config : the model; ``archs`` takes the place of its method.
    archs : the methods, a kind each.

    Returns
    -------
    The run directory, with summary.json and curves.npz.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If fewer than two networks of a kind are finite all along their paths.
    StopRequestedError
        If SIGTERM came.
    """
    kinds_config = KindsConfig(archs=tuple(archs))
    dataset, kinds, settings = prepare_kinds(
        data_config, model_config, kinds_config, optimizer, seeds, num_seeds, run_config
    )
    recipes = drawn_recipes(optimizer, seeds, num_seeds)
    measure_kind = partial(
        interpolate_kind, seeds=seeds, num_seeds=num_seeds, recipes=recipes, optimizer=optimizer, run_config=run_config
    )
    return compare_kinds(
        EXPERIMENT, dataset, kinds, {**settings, "path": config}, config, run_config, measure_kind, PATH_SCORES
    )


def interpolate_kind(
    run: RunDir,
    arch: str,
    kind: Kind,
    task: Task,
    seeds: SeedConfig,
    num_seeds: int,
    optimizer: OptimizerConfig,
    recipes: Mapping[str, np.ndarray],
    run_config: RunConfig,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Measure the paths of the networks of a kind.

    Returns
    -------
    The kind's entry in summary.json, and the arrays of its figures.
    """
    trained, names, excluded = kind.networks(run)
    initial = initial_networks(kind, seeds, num_seeds, names)

    def ends(pairs: np.ndarray) -> tuple[Params, Params, None]:
        start, end = pairs.T
        return jax.tree.map(lambda leaf: leaf[start], initial), jax.tree.map(lambda leaf: leaf[end], trained), None

    pairs = np.stack([np.arange(len(names))] * 2, axis=1)
    measured = run_paths(run, f"paths-{arch}", ends, pairs, kind.frozen, task, run_config)
    smoothing = recipes.get("label_smoothing", np.full(num_seeds, optimizer.label_smoothing))[list(map(int, names))]
    curves = {split: smooth_losses(metrics, smoothing) for split, metrics in measured["curves"].items()}
    failed = not_finite(task.points, curves, names)
    kept = [index for index, name in enumerate(names) if name not in failed]
    if len(kept) < 2:
        raise DivergedError(f"{arch}: the loss is finite on the paths of {len(kept)} of {len(names)} networks alone")
    entry, arrays = summarise_paths(task.points, jax.tree.map(lambda values: values[kept], curves))
    arrays["distance"] = measured["distance"][kept]
    entry = {
        "networks": [names[index] for index in kept],
        "excluded": excluded | failed,
        "recipes": dict(recipes),
        "distance": over_networks(arrays["distance"]),
        **entry,
    }
    share = entry["statistics"]["train"]["is_monotonic"]["mean"]
    print(f"{arch}: training loss monotonic on {share:.0%} of {len(kept)} paths, {len(entry['excluded'])} excluded")
    return entry, arrays


def initial_networks(kind: Kind, seeds: SeedConfig, num_seeds: int, names: Sequence[str]) -> Params:
    """Return effective parameters of named networks before training, NumPy leaves [network, ...]."""
    positions = initial_positions(kind.model, kind.frozen, seeds, num_seeds)
    params = trees.to_host(jax.jit(jax.vmap(kind.model.merge, (0, None)))(positions, kind.frozen))
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
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Turn curves, split -> metric -> [network, point], into statistics.

    Returns
    -------
    ``statistics``, split -> statistic of the loss -> mean and interval; ``initial`` and ``trained``, split -> metric ->
    [network]. And arrays: curves, and the statistics of each network.
    """
    arrays: dict[str, np.ndarray] = {}
    statistics = {}
    for split, metrics in curves.items():
        found = path_statistics(points, metrics["loss"])
        statistics[split] = summarise_statistics(found)
        arrays |= {f"{split}/{metric}/curves": values for metric, values in metrics.items()}
        arrays |= {f"{split}/{name}": values for name, values in found.items()}
    entry: dict[str, Any] = {"statistics": statistics}
    for end, place in {"initial": 0, "trained": -1}.items():
        entry[end] = {
            split: {metric: values[:, place] for metric, values in metrics.items()} for split, metrics in curves.items()
        }
    return entry, arrays
