"""Metanetworks are fitted to zoos: every one to every zoo, at every number of training networks."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from asymjax import trees
from asymjax.errors import DivergedError, InputError
from asymjax.experiments.metanetworks.barriers import measure_barriers
from asymjax.experiments.metanetworks.comparable import comparable_taus, matched_places
from asymjax.experiments.metanetworks.config import Config
from asymjax.experiments.metanetworks.widened import describe_wider, wider_zoos
from asymjax.experiments.words import read_named
from asymjax.experiments.zoo.kinds import kind_of
from asymjax.experiments.zoo.read import read_zoo
from asymjax.lab.measure import measure_members
from asymjax.lab.results import Named
from asymjax.lab.rundir import RunDir, open_run
from asymjax.metanets import (
    METANETS,
    ClassScores,
    Fit,
    Metanetwork,
    Parts,
    Regression,
    Scores,
    Zoo,
    accuracy,
    kinds,
    score,
    split,
)
from asymjax.metanets.barriers import BARRIERS
from asymjax.metanets.features import regression_features, require_memory
from asymjax.metanets.fit import (
    Member,
    Task,
    fit_by,
    make_member,
    make_task,
    regress,
    require_training,
)
from asymjax.report.read import read_record
from asymjax.symmetry.groups import position_spec
from asymjax.symmetry.interpolation import over_networks
from asymjax.types import Array, Key

EXPERIMENT = "metanet"
KNOWN = "validation.accuracy"
"""What tells how well accuracy on some rows is known from accuracy on others."""


class Cell(NamedTuple):
    """One metanetwork on one zoo.

    Attributes
    ----------
    zoo, metanet : their names.
    num_train : training networks.
    """

    zoo: str
    metanet: str
    num_train: int

    @property
    def name(self) -> str:
        """Name of the arrays and phases of it."""
        return f"{self.zoo}/{self.metanet}/{self.num_train}"


def run_metanets(config: Config) -> Path:
    """Fit metanetworks to zoos; resumes an unfinished run.

    Returns
    -------
    The run directory: scores in summary.json, and predictions of all networks in results.zarr.

    Raises
    ------
    InputError
        If a zoo cannot be read or widened, a name is unknown, settings cannot be met or do not fit each other, a
        metanetwork cannot read the networks of a zoo, or the directory is not this run's.
    DivergedError
        If no learning rate of a metanetwork trains.
    StopRequestedError
        If SIGTERM came.
    """
    metanets = read_named("metanets", config.metanets, METANETS, "metanetwork")
    if not config.zoo:
        raise InputError("zoo is empty; give run directories of runs/zoo.py, --zoo RUN_DIR [RUN_DIR ...]")
    paths = _named(config.zoo)
    zoos = {name: read_zoo(path) for name, path in paths.items()}
    _refuse_widened(config, zoos)
    if config.target in BARRIERS:
        zoos = {name: measure_barriers(name, paths[name], zoo, config) for name, zoo in zoos.items()}
    parts = {name: split(zoo.ids) for name, zoo in zoos.items()}
    targets = {name: zoo.target(config.target) for name, zoo in zoos.items()}
    cells = _cells(config, parts, metanets)
    for cell in cells:  # Refuse what cannot be before any is fitted.
        _check(cell, zoos[cell.zoo], metanets[cell.metanet], targets[cell.zoo], parts[cell.zoo], config)
    wider = wider_zoos(paths, zoos, parts, config.widened, config.seed)
    settings: dict[str, Any] = {
        name: getattr(config, name) for name in ("target", "num_train", "widened", "seed", "fit")
    }
    settings |= {"zoo": {name: trees.checksum(zoo.position) for name, zoo in zoos.items()}, "metanets": metanets}
    run = open_run(EXPERIMENT, f"{len(zoos)}_zoos-{config.target.replace('.', '_')}", settings, config.run)
    fits = {
        cell: fit_cell(run, cell, zoos[cell.zoo], metanets[cell.metanet], targets[cell.zoo], parts[cell.zoo], config)
        for cell in cells
    }
    of_wider = {cell: describe_wider(fitted, wider[cell.zoo]) for cell, fitted in fits.items()}
    run.finish(lambda: summarise(paths, zoos, targets, parts, fits, of_wider, run.seconds))
    return run.path


def _named(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Return zoos by what differs between them: kind, and start; by their directories where that is not enough."""
    configs = [read_record(path)["config"] for path in paths]
    names = [kind_of(config) if "model" in config else path.name for config, path in zip(configs, paths, strict=True)]
    count = Counter(names)
    found = {one if count[one] == 1 else path.resolve().name: path for one, path in zip(names, paths, strict=True)}
    if len(found) < len(paths):
        raise InputError("zoo has a directory twice, or two of one name; give each zoo once")
    return found


def _refuse_widened(config: Config, zoos: Mapping[str, Zoo]) -> None:
    """Refuse to widen networks whose target is no number that their function decides on.

    Raises
    ------
    InputError
        If it is a barrier or a class.
    """
    if config.widened and config.target in BARRIERS:
        raise InputError("barriers are of weights, and change where networks are widened; give no widths, or a score")
    if config.widened and any(config.target in zoo.labels for zoo in zoos.values()):
        raise InputError(f"{config.target} is a class, and wider networks are scored by numbers; give no widths")


def _cells(config: Config, parts: Mapping[str, Parts], metanets: Mapping[str, Any]) -> list[Cell]:
    """Return what is to be fitted.

    Raises
    ------
    InputError
        If a zoo has fewer training networks than are asked for.
    """
    for name, part in parts.items():
        if too_many := [count for count in config.num_train if count > len(part.train)]:
            raise InputError(f"num_train has {too_many[0]}, but {name} has {len(part.train)} networks for training")
    return [
        Cell(zoo, metanet, count)
        for zoo, part in parts.items()
        for count in (config.num_train or (len(part.train),))
        for metanet in metanets
    ]


def _of_training(parts: Parts, count: int) -> Parts:
    """Return a split with so many of its training networks, the first of an order that does not depend on how many."""
    order = np.random.default_rng(0).permutation(len(parts.train))
    return parts._replace(train=np.sort(parts.train[order[:count]]))


def _check(
    cell: Cell, zoo: Zoo, settings: Metanetwork | Regression, targets: np.ndarray, parts: Parts, config: Config
) -> None:
    """Refuse a metanetwork that cannot read a zoo or be trained on it; the message names both."""
    two = np.arange(2)
    few = zoo.take(two)
    with _naming(cell):
        if isinstance(settings, Regression):
            require_memory(regression_features(few, settings, 0), zoo.num_networks)
        else:
            require_training(targets, _of_training(parts, cell.num_train), config.fit)
            make_task(few, settings, targets[two], Parts(two, two, two), config.fit)


@contextmanager
def _naming(cell: Cell) -> Iterator[None]:
    """Let what is raised say which metanetwork on which zoo it is of."""
    try:
        yield
    except (InputError, DivergedError) as error:
        raise type(error)(f"{cell.metanet} on {cell.zoo}: {error}") from error


def fit_cell(
    run: RunDir,
    cell: Cell,
    zoo: Zoo,
    settings: Metanetwork | Regression,
    targets: np.ndarray,
    parts: Parts,
    config: Config,
) -> Fit:
    """Fit one metanetwork to one zoo, as :func:`asymjax.metanets.fit` does, spread over devices and resumable."""
    parts = _of_training(parts, cell.num_train)
    if isinstance(settings, Regression):
        fitted = regress(zoo, settings, targets, parts)
    else:
        task = make_task(zoo, settings, targets, parts, config.fit)
        measure = partial(_measure, run, cell, task, config)
        with _naming(cell):
            fitted = fit_by(measure, task, targets, parts, jax.random.key(config.seed), config.fit)
    scores = scores_of(fitted)
    headline, mean = scores[0]._fields[0], np.mean([one[0] for one in scores])
    print(f"{cell.zoo}, {cell.metanet}, {cell.num_train} training networks: {headline} {mean:.3f}", flush=True)
    return fitted


def _measure(run: RunDir, cell: Cell, task: Task, config: Config, stage: str, keys: Key, rates: Array) -> Member:
    """Fit a metanetwork a key; leaves [key, ...]."""

    def members(chosen: np.ndarray) -> tuple[Key, Array]:
        return keys[chosen], rates[chosen]

    member = make_member(task, config.fit, bool(config.widened))
    phase = f"{stage}/{cell.name}"
    return measure_members(run, phase, member, members, task.shared, len(keys), 1, "metanetworks", config.run)


def scores_of(fitted: Fit) -> list[Scores | ClassScores]:
    """Return the scores of every seed on the test networks."""
    part, kind = fitted.parts.test, kinds.kind_of(fitted.targets)
    return [kind.score(fitted.targets[part], predictions[part]) for predictions in fitted.predictions]


def summarise(
    paths: Mapping[str, Path],
    zoos: Mapping[str, Zoo],
    targets: Mapping[str, np.ndarray],
    parts: Mapping[str, Parts],
    fits: Mapping[Cell, Fit],
    of_wider: Mapping[Cell, list[dict[str, Any]]],
    seconds: Mapping[str, float],
) -> tuple[dict[str, Any], Named]:
    """Return what summary.json says, and the predictions of all networks."""
    places = matched_places({cell.zoo: fitted for cell, fitted in fits.items()})
    summary = {
        "num_matched": len(next(iter(places.values()), ())),
        "zoos": {name: _describe(paths[name], zoo, targets[name], parts[name]) for name, zoo in zoos.items()},
        "cells": [
            cell._asdict() | _describe_fit(fitted, zoos[cell.zoo], places.get(cell.zoo)) | {"widened": of_wider[cell]}
            for cell, fitted in fits.items()
        ],
        "seconds": seconds,
    }
    arrays: dict[str, tuple[Sequence[str], np.ndarray]] = {
        f"predictions/{cell.name}": (("seed", "network", "class")[: fitted.predictions.ndim], fitted.predictions)
        for cell, fitted in fits.items()
    }
    for name, zoo in zoos.items():
        sides = _sides(parts[name], zoo.num_networks)
        own = {"target": targets[name], "id": zoo.ids, "part": sides}
        arrays |= {f"zoos/{name}/{what}": (("network",), values) for what, values in own.items()}
    return summary, arrays


def _sides(parts: Parts, count: int) -> np.ndarray:
    """Return on which side of the split each network is: 0 training, 1 validation, 2 test."""
    sides = np.zeros(count, np.int8)
    for number, part in enumerate(parts):
        sides[part] = number
    return sides


def _describe(path: Path, zoo: Zoo, targets: np.ndarray, parts: Parts) -> dict[str, Any]:
    return {
        "path": str(path),
        "num_networks": zoo.num_networks,
        "excluded": {str(number): why for number, why in zoo.excluded.items()},
        "num_parts": {name: len(part) for name, part in parts._asdict().items()},
        "num_trainable": trees.num_entries(zoo.position) // zoo.num_networks,
        "is_permutable": bool(position_spec(zoo.model, zoo.frozen)),
        **(_describe_classes if kinds.kind_of(targets).is_class else _describe_numbers)(zoo, targets, parts),
    }


def _describe_numbers(zoo: Zoo, targets: np.ndarray, parts: Parts) -> dict[str, Any]:
    known = None if BARRIERS[0] in zoo.scores else zoo.scores.get(KNOWN)
    return {
        "target": {
            "mean": float(targets.mean()),
            "std": float(targets.std()),
            "quantiles": np.quantile(targets, (0, 0.25, 0.5, 0.75, 1)),
        },
        "other_rows": None if known is None else score(targets[parts.test], known[parts.test])._asdict(),
    }


def _describe_classes(zoo: Zoo, targets: np.ndarray, parts: Parts) -> dict[str, Any]:
    """Return how many classes and test blocks there are, and the share of the largest class, which is chance."""
    shares = np.bincount(targets[parts.test]) / len(parts.test)
    num_blocks = len(np.unique(zoo.ids[parts.test]))
    return {"target": {"num_classes": int(targets.max()) + 1, "chance": shares.max(), "num_blocks": num_blocks}}


def _describe_fit(fitted: Fit, zoo: Zoo, places: np.ndarray | None) -> dict[str, Any]:
    scores = scores_of(fitted)
    found = {
        name: over_networks(values) | {"values": values}
        for name, values in zip(scores[0]._fields, np.array(scores).T, strict=True)
    }
    if kinds.kind_of(fitted.targets).is_class:
        part = fitted.parts.test
        found["accuracy"] |= accuracy(fitted.targets[part], fitted.predictions[:, part], zoo.ids[part])
    return {
        "learning_rate": None if np.isnan(fitted.learning_rate) else fitted.learning_rate,
        "trials": {f"{rate:g}": values for rate, values in fitted.trials.items()},
        "epochs": fitted.epochs,
        "scores": found | comparable_taus(zoo, fitted, places),
    }
