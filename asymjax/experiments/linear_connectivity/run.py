"""Linear mode connectivity: loss and accuracy on the paths between all pairs of networks, variant by variant."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.data.corruptions import corrupt
from asymjax.errors import DivergedError
from asymjax.experiments.linear_connectivity.config import Config, ConnectivityConfig, PathConfig
from asymjax.experiments.linear_connectivity.planes import check_plane, measure_plane
from asymjax.experiments.linear_connectivity.strength import measure_strength
from asymjax.experiments.populations import (
    Population,
    loaded_populations,
    prepare_populations,
    read_sweeps,
    sweep_data,
)
from asymjax.experiments.setup import describe_network
from asymjax.lab import devices, processes
from asymjax.lab.measure import measure_members
from asymjax.lab.results import Named
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import RunDir, open_run
from asymjax.symmetry.alignment import match_pairs
from asymjax.symmetry.connectivity import (
    SCORES,
    Gates,
    Measure,
    Rows,
    Score,
    all_pairs,
    barriers,
    grid,
    in_batches,
    make_measure,
    make_path,
    over_pairs,
    running_averages,
)
from asymjax.symmetry.permutations import gates_of, permute, permute_frozen
from asymjax.types import Dataset, Frozen, Params, PermutationSpec, PyTree

EXPERIMENT = "lmc"
MIN_PAIRS_PER_CHUNK = 4


class Ends(NamedTuple):
    """The ends of paths.

    Attributes
    ----------
    start, end : effective parameters, leaves [pair, ...].
    gates : of both, where they are not the model's.
    objectives : [pair, start] the objective that each start of a matching led to, where the ends were matched.
    """

    start: Params
    end: Params
    gates: Sequence[Gates] | None = None
    objectives: np.ndarray | None = None


# int [pair, 2] -> the ends of those paths.
EndsOf = Callable[[np.ndarray], Ends]


def train_and_connect(config: Config) -> Path:
    """Train networks of several variants, then measure all paths of each; resumes a run that is not finished.

    Returns
    -------
    The run directory, with summary.json and ``kinds`` in results.zarr.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If fewer than two networks are finite of every variant.
    StopRequestedError
        If SIGTERM came.
    """
    dataset, populations, settings = prepare_populations(
        config.data, config.variants, config.models, config.optimizer, config.seeds, config.num_seeds, config.run
    )
    return _connect(dataset, populations, settings, config.connectivity, config.run)


def connect_sweeps(config: Config) -> Path:
    """Measure all paths between the networks of finished sweeps; resumes a run that is not finished.

    Returns
    -------
    The run directory, with summary.json and ``kinds`` in results.zarr.

    Raises
    ------
    InputError
        If sweeps are not finished or do not fit together, or the directory is not this run's.
    DivergedError
        If fewer than two networks are finite of every variant.
    StopRequestedError
        If SIGTERM came.
    """
    sweeps = processes.together(partial(read_sweeps, config.sweeps))
    first = next(iter(sweeps.values()))[0]
    dataset = processes.together(partial(sweep_data, first, config.data.data_dir))
    populations = loaded_populations(dataset, sweeps)
    settings = {
        "data": first.config["data"],
        "kinds": {arch: population.variant.record() for arch, population in populations.items()},
        "sweeps": {
            arch: {str(number): sweep.config for number, sweep in enumerate(members)}
            for arch, members in sweeps.items()
        },
    }
    return _connect(dataset, populations, settings, config.connectivity, config.run)


def _connect(
    dataset: Dataset,
    populations: Mapping[str, Population],
    settings: Mapping[str, Any],
    config: ConnectivityConfig,
    run_config: RunConfig,
) -> Path:
    check_plane(config)
    measure = partial(connect_population, config=config, run_config=run_config)
    settings = {**settings, "connectivity": config}
    return compare_populations(EXPERIMENT, dataset, populations, settings, config, run_config, measure)


# All variants ----------------------------------------------------------------------------------------------------


class Task(NamedTuple):
    """What is measured.

    Attributes
    ----------
    measure : the measurement of one network.
    points : [point] places on each path.
    splits : name -> the rows.
    """

    measure: Measure
    points: np.ndarray
    splits: dict[str, Rows]


# (run, name, population, task) -> its entry in summary.json, and its arrays.
MeasurePopulation = Callable[[RunDir, str, Population, Task], tuple[dict[str, Any], Named]]


def compare_populations(
    experiment: str,
    dataset: Dataset,
    populations: Mapping[str, Population],
    settings: Mapping[str, Any],
    config: PathConfig,
    run_config: RunConfig,
    measure: MeasurePopulation,
    scores: Mapping[str, Score] = SCORES,
) -> Path:
    """Open the run directory of an experiment on paths, measure one variant after the other, and write what was found.

    Parameters
    ----------
    experiment : name of the experiment.
    dataset, populations : data and networks.
    settings : the fields that decide the result.
    config : where on the paths, and on how many rows.
    run_config : where results go and where work runs.
    measure : the measurement of one population.
    scores : what is measured of a network, by task.

    Raises
    ------
    DivergedError
        If the networks of every variant diverged; those of some are set apart in the summary, as ``diverged``.
    """
    points = grid(config.num_points)
    splits = {"train": in_batches(dataset.train, config.num_train_rows), "test": in_batches(dataset.test)}
    splits |= {name: in_batches(corrupt(dataset.test, name)) for name in config.corruptions}
    backbone, dataset_name = next(iter(populations.values())).variant.model.backbone_name, settings["data"]["dataset"]
    run = open_run(experiment, f"{backbone}-{dataset_name.replace('/', '_')}", settings, run_config)
    checksums = {f"frozen_{name}": trees.checksum(population.frozen) for name, population in populations.items()}
    run.identify(**checksums)
    entries: dict[str, Any] = {}
    arrays: dict[str, Any] = {"kinds/points": (("point",), points)}
    diverged: dict[str, str] = {}
    for name, population in populations.items():
        variant, model, frozen, _ = population
        task = Task(make_measure(model, dataset.task, scores), points, splits)
        try:
            entry, curves = measure(run, name, population, task)
        except DivergedError as error:
            diverged[name] = str(error)
            print(f"warning: {name} is left out: {error}", file=sys.stderr, flush=True)
            continue
        description = describe_network(dataset, dataset_name, model, frozen, variant.model, variant.optimizer.trained)
        entries[name] = description | {"varied": next(iter(variant.varied.items()), None)} | entry
        arrays |= {f"kinds/{name}/{array}": values for array, values in curves.items()}
    if not entries:
        raise DivergedError("; ".join(diverged.values()))
    shared = ("backbone", "dataset", "task", "num_rows", "data")
    summary = {name: next(iter(entries.values()))[name] for name in shared}
    summary["diverged"] = diverged
    summary["num_measured_rows"] = {name: len(rows.targets) for name, rows in splits.items()}
    summary["kinds"] = {name: {n: v for n, v in entry.items() if n not in shared} for name, entry in entries.items()}
    run.finish(lambda: (summary | {"seconds": _seconds(run)}, arrays))
    return run.path


def _seconds(run: RunDir) -> dict[str, float]:
    """Sum the clocks over variants: those of "train-standard" and "train-w_asym" are "train"."""
    seconds: dict[str, float] = {}
    for phase, spent in run.seconds.items():
        name = phase.partition("-")[0]
        seconds[name] = seconds.get(name, 0.0) + spent
    return seconds


# One variant -----------------------------------------------------------------------------------------------------


def connect_population(
    run: RunDir, name: str, population: Population, task: Task, config: ConnectivityConfig, run_config: RunConfig
) -> tuple[dict[str, Any], Named]:
    """Measure the networks of a variant, their averages, and the paths between all pairs, as they are and aligned.

    Also how strongly the variant tells its units apart, and the plane through three of its networks.

    Returns
    -------
    Its entry in summary.json, and the arrays of its figures.
    """
    params, names, excluded = population.networks(run)
    count = len(names)
    both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), params, running_averages(params))
    measured = measure_each(task, both, population.frozen, run_config)
    entry: dict[str, Any] = {
        "networks": names,
        "excluded": excluded,
        "alone": jax.tree.map(lambda values: values[:count], measured),
        "average": jax.tree.map(lambda values: values[count:], measured),
    }

    def ends(pairs: np.ndarray) -> Ends:
        return Ends(*(jax.tree.map(lambda leaf, i=index: leaf[i], params) for index in pairs.T))

    pairs = all_pairs(count)
    entry |= measure_paths(run, f"paths-{name}", ends, pairs, population.frozen, task, run_config)
    arrays = entry.pop("arrays")
    entry["aligned"] = None
    if config.align:
        matched = matched_ends(ends, population.model.permutation_spec, population.frozen)
        aligned = measure_paths(run, f"aligned-{name}", matched, pairs, population.frozen, task, run_config)
        arrays |= {f"aligned/{array}": values for array, values in aligned.pop("arrays").items()}
        entry["aligned"] = aligned
    rows = task.splits["test"]
    entry["strength"], more = measure_strength(run, name, population, params, names, rows)
    arrays |= more
    entry["plane"], more = measure_plane(
        run, name, params, names, population.frozen, task.measure, rows, config, run_config
    )
    arrays |= more
    test = entry["barrier"]["test"]["loss"]["midpoint"]
    print(f"{name}: {entry['num_pairs']} pairs, midpoint barrier of the test loss {test['mean']:.4f}", flush=True)
    return entry, arrays


def matched_ends(ends: EndsOf, spec: PermutationSpec, frozen: Frozen) -> EndsOf:
    """Permute the second network of each pair to match the weights of the first, and its gates along.

    A permuted network with fixed weights is outside its asymmetric set: paths to it are paths of effective weights. One
    with gates is the same function only with its gates conjugated, so that on paths to it the gates move as well.
    """

    def matched(pairs: np.ndarray) -> Ends:
        starts, stops = map(trees.to_host, ends(pairs)[:2])
        couples = [
            tuple(jax.tree.map(lambda leaf, i=i: leaf[i], networks) for networks in (starts, stops))
            for i in range(len(pairs))
        ]
        matchings = match_pairs(spec, couples)
        found = [match.permutations for match in matchings]
        permuted = _stack(permute(stop, spec, element) for (_, stop), element in zip(couples, found, strict=True))
        objectives = np.stack([match.starts for match in matchings]).astype(np.float32)
        if not gates_of(frozen):
            return Ends(starts, permuted, None, objectives)
        gates = _stack(gates_of(frozen) for _ in found)
        moved = _stack(gates_of(permute_frozen(frozen, spec, element)) for element in found)
        return Ends(starts, permuted, (gates, moved), objectives)

    return matched


def _stack(networks: Iterable[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)


def measure_each(task: Task, params: Params, frozen: Frozen, run_config: RunConfig) -> PyTree:
    """Measure networks alone, on one device since they are few: split -> metric -> [network]."""
    width = devices.width_of(run_config.placement, len(jax.tree.leaves(params)[0]))
    measure = devices.map_on_device(task.measure, width, [True, False, False])
    return trees.to_host(jax.jit(measure)(params, frozen, task.splits))


def measure_paths(
    run: RunDir, phase: str, ends: EndsOf, pairs: np.ndarray, frozen: Frozen, task: Task, run_config: RunConfig
) -> dict[str, Any]:
    """Measure the paths of all pairs in resumable chunks, and summarise them.

    Parameters
    ----------
    pairs : int [pair, 2], all pairs of some networks.
    run, phase, ends, frozen, task, run_config : see :func:`run_paths`.

    Returns
    -------
    ``num_pairs``, ``barrier`` (split -> metric -> midpoint or maximum -> mean, std, low, high; of accuracy, how far it
    falls), ``distance``, and ``arrays``: ``pairs``, each pair's barriers, curves and distance, and the mean curves. Of
    ends that were matched, ``matching`` too: of the objectives of all starts ``best``, and ``spread``, the least of
    them below the best as a share of it; with the array ``objectives``.
    """
    measured = run_paths(run, phase, ends, pairs, frozen, task, run_config)
    entry = summarise_paths(task.points, pairs, measured["curves"], measured["distance"])
    if (objectives := measured.get("objectives")) is not None:
        best, least = objectives.max(axis=1), objectives.min(axis=1)
        entry["matching"] = {"best": over_pairs(best, pairs), "spread": over_pairs((best - least) / abs(best), pairs)}
        entry["arrays"]["objectives"] = (("pair", "start"), objectives)
    return entry


def run_paths(
    run: RunDir, phase: str, ends: EndsOf, pairs: np.ndarray, frozen: Frozen, task: Task, run_config: RunConfig
) -> PyTree:
    """Measure paths in resumable chunks.

    Parameters
    ----------
    run, phase : where chunks are committed.
    ends : of given pairs.
    pairs : int [pair, 2], a path each.
    frozen : constants of all networks on the paths.
    task : what is measured.
    run_config : where work runs.

    Returns
    -------
    ``curves``, split -> metric -> [pair, point], ``distance`` [pair], and ``objectives`` [pair, start] of matchings.
    """
    path = make_path(task.measure, task.points)

    def measure(start: Params, end: Params, gates: Any, objectives: Any, frozen: Frozen, splits: Any) -> PyTree:
        measured = path(start, end, frozen, splits, gates)
        return measured if objectives is None else measured | {"objectives": objectives}

    return measure_members(
        run,
        phase,
        measure,
        lambda indices: ends(pairs[indices]),
        (frozen, task.splits),
        len(pairs),
        MIN_PAIRS_PER_CHUNK,
        "pairs",
        run_config,
    )


def summarise_paths(points: np.ndarray, pairs: np.ndarray, curves: PyTree, distance: np.ndarray) -> dict[str, Any]:
    """Turn curves, split -> metric -> [pair, point], into what :func:`measure_paths` returns."""
    arrays: dict[str, Any] = {"pairs": (("pair", "end"), pairs), "distance": (("pair",), distance)}
    barrier: dict[str, dict[str, Any]] = {}
    for split, metrics in curves.items():
        barrier[split] = {}
        for metric, values in metrics.items():
            of_pairs = barriers(points, -values if metric == "accuracy" else values)
            barrier[split][metric] = {name: over_pairs(value, pairs) for name, value in of_pairs.items()}
            mean = {f"curve_{name}": value for name, value in over_pairs(values, pairs).items() if name != "std"}
            stored: dict[str, Any] = {"curves": (("pair", "point"), values)}
            stored |= {name: (("point",), value) for name, value in mean.items()}
            stored |= {name: (("pair",), value) for name, value in of_pairs.items()}
            arrays |= {f"{split}/{metric}/{name}": value for name, value in stored.items()}
    return {
        "num_pairs": len(pairs),
        "barrier": barrier,
        "distance": over_pairs(distance, pairs),
        "arrays": arrays,
    }
