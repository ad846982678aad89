"""Distillation: a few rows of each class in place of all, and how good networks are that are trained on them."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from asymjax import rng
from asymjax.data.distilled import FILE, to_bytes
from asymjax.errors import InputError
from asymjax.experiments.distillation.config import Config, EvaluationConfig
from asymjax.experiments.distillation.distil import Snapshots, distil_snapshots
from asymjax.experiments.setup import Opening, describe, open_experiment, refuse_graph
from asymjax.lab.measure import measure_members
from asymjax.lab.results import Named
from asymjax.lab.run_files import dumps
from asymjax.lab.rundir import RunDir
from asymjax.symmetry.connectivity import Rows, in_batches, make_measure
from asymjax.symmetry.interpolation import over_networks
from asymjax.train.members import make_training
from asymjax.types import Array, Dataset, Frozen, Key, PyTree, Split

EXPERIMENT = "distill"
MIN_PER_CHUNK = 1


def run_distillation(config: Config) -> Path:
    """Distil data and train networks on them; resumes a run that is not finished.

    Returns
    -------
    The run directory: the rows in ``distilled.npz``, to be loaded as ``distilled/RUN_DIR``; scores in summary.json.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged or have no classes, or the directory is not this
        run's.
    DivergedError
        If the loss leaves the finite numbers.
    StopRequestedError
        If SIGTERM came.
    """
    own, evaluation = config.distillation, config.evaluation
    settings = {"distillation": own, "evaluation": evaluation, "seeds": config.seeds}
    suffix = f"{own.method}-{own.images_per_class}"
    opening = open_experiment(EXPERIMENT, suffix, config.data, config.model, settings, config.run)
    dataset, run = opening.dataset, opening.run
    refuse_what_has_no_classes(dataset, config.data.dataset)
    random_subsets(np.asarray(dataset.train.targets), own.rows_per_class, 1, 0)  # Before any work.
    key = rng.role_key(config.seeds.seed, "distil")
    found = distil_snapshots(run, "distil", key, opening.model, opening.frozen, dataset, own, config.run)
    scores = _score_all(opening, found, config)
    origin = config.data.identity(dataset)
    run.write_file(FILE, to_bytes(found.distilled.inputs, found.distilled.targets, dumps(origin)))
    description = describe(opening, config.data, config.model)
    run.finish(lambda: (description | summarise(run, found, scores), arrays_of(found, scores)))
    return run.path


def refuse_what_has_no_classes(dataset: Dataset, name: str) -> None:
    """Refuse graphs and regressions.

    Raises
    ------
    InputError
        If the data are either.
    """
    refuse_graph(dataset, name)
    if dataset.task != "classification":
        raise InputError(f"{name} has no classes; distilled are rows of classes")


def _score_all(opening: Opening, found: Snapshots, config: Config) -> dict[str, np.ndarray]:
    """Return the test accuracy of networks trained on rows of each kind [network]; of distilled [snapshot, network]."""
    train, evaluation = opening.dataset.train, config.evaluation
    count, size = evaluation.num_seeds, len(found.rows[0].targets)
    rows = Split(*(np.concatenate(parts) for parts in zip(*found.rows, strict=True)))
    index = np.arange(len(rows.targets)).reshape(len(found.rows), 1, size).repeat(count, axis=1)
    distilled = _score(opening, "distilled", rows, index.reshape(-1, size), config)
    scores = {"distilled": distilled.reshape(len(found.rows), count)}
    chosen = random_subsets(np.asarray(train.targets), config.distillation.rows_per_class, count, config.seeds.seed)
    scores["random"] = _score(opening, "random", train, chosen, config)
    if evaluation.whole:
        index = np.arange(len(train.targets))[None].repeat(count, axis=0)
        scores["whole"] = _score(opening, "whole", train, index, config)
    return scores


def random_subsets(labels: np.ndarray, per_class: int, count: int, seed: int) -> np.ndarray:
    """Draw rows of each class, none twice, for each of several networks: int [network, classes * per_class].

    Raises
    ------
    InputError
        If a class has fewer rows.
    """
    places = [np.flatnonzero(labels == one) for one in np.unique(labels)]
    if (least := min(map(len, places))) < per_class:
        raise InputError(f"{per_class} rows of each class are asked for, and one class has {least}; give fewer images")

    def draw(network: int) -> np.ndarray:
        generator = np.random.default_rng([seed, rng.checksum("random"), network])
        return np.concatenate([generator.choice(found, per_class, replace=False) for found in places])

    return np.stack([draw(network) for network in range(count)])


def _score(opening: Opening, name: str, rows: Split, index: np.ndarray, config: Config) -> np.ndarray:
    """Train networks, each on rows of its own, and return their test accuracy [network].

    Parameters
    ----------
    rows : rows of all.
    index : int [network, rows] which are whose.
    """
    dataset, model, frozen, _, run = opening
    evaluation: EvaluationConfig = config.evaluation
    optimizer = evaluation.optimizer(index.shape[1])
    seed_of = np.arange(len(index)) % evaluation.num_seeds
    subset = dataset._replace(train=rows.take(index[0]))
    training = make_training(model, subset, optimizer, config.seeds, seed_of, {})
    measure_test = make_measure(model, dataset.task)

    def measure(init_key: Key, key: Key, index: Array, frozen: Frozen, rows: Split, test: Rows) -> PyTree:
        trainer, own = training.trainer, rows.take(index)
        state, _ = trainer.advance(key, trainer.init(init_key, frozen), frozen, own, optimizer.num_epochs)
        scores = measure_test(model.merge(state.position, frozen), frozen, {"test": test})
        return scores["test"]["accuracy"]

    def members(chosen: np.ndarray) -> list[PyTree]:
        return [training.init_members[chosen], training.members[chosen], index[chosen].astype(np.int32)]

    shared = (frozen, jax.tree.map(np.asarray, rows), in_batches(dataset.test))
    return measure_members(
        run, f"train-{name}", measure, members, shared, len(index), MIN_PER_CHUNK, "networks", config.run
    )


def summarise(run: RunDir, found: Snapshots, scores: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what summary.json says of a distillation."""
    of_end = {"distilled": scores["distilled"][-1], "start": scores["distilled"][0]} | {
        name: values for name, values in scores.items() if name != "distilled"
    }
    return {
        "counts": found.distilled.counts._asdict(),
        "accuracy": {name: over_networks(values) | {"networks": values} for name, values in of_end.items()},
        "steps": found.steps,
        "curve": [over_networks(values) for values in scores["distilled"]],
        "seconds": run.seconds,
    }


def arrays_of(found: Snapshots, scores: dict[str, np.ndarray]) -> Named:
    """Return the arrays of a distillation by path."""
    stored = found.distilled.stored
    inputs = ("image", *(f"input_dim_{axis}" for axis in range(stored.ndim - 1)))
    dimensions = {"distilled": ("snapshot", "network")}
    return {
        "distillation/stored": (inputs, stored),
        "distillation/losses": (("step",), found.distilled.losses),
        **{f"distillation/{name}": (dimensions.get(name, ("network",)), values) for name, values in scores.items()},
    }
