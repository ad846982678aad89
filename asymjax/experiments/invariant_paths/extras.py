"""What single objectives need beside their points: ensembles, attacks, and barriers between optima."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from asymjax import trees
from asymjax.experiments.compare_posteriors.repeats import over_repeats
from asymjax.experiments.invariant_paths.arms import Walked
from asymjax.experiments.invariant_paths.attacked import measure_ensembles
from asymjax.experiments.invariant_paths.measures import SCORED, Curves
from asymjax.experiments.invariant_paths.subject import Subject, take
from asymjax.experiments.linear_connectivity.run import Ends, Task, matched_ends, run_paths
from asymjax.lab.results import Named
from asymjax.symmetry.connectivity import grid, in_batches, make_measure
from asymjax.types import Position

NUM_LINE_POINTS = 21


class More(NamedTuple):
    """What an objective adds.

    Attributes
    ----------
    curves : arm -> name -> [member, point].
    summary : entries of the method's summary.
    arrays : arrays of the method.
    """

    curves: Mapping[str, Curves]
    summary: Mapping[str, Any]
    arrays: Named


def measure_more(subject: Subject, walked: Mapping[str, Walked], curves: Mapping[str, Curves]) -> More:
    """Measure what the objective of a study adds."""
    more = MORE.get(subject.config.study.objective)
    return more(subject, walked, curves) if more else More({}, {}, {})


def _under_attack(subject: Subject, walked: Mapping[str, Walked], measured: Mapping[str, Curves]) -> More:
    """Measure the network of every point under attack, and on corrupted inputs."""
    curves = {}
    for name, one in walked.items():
        shape = jax.tree.leaves(one.points)[0].shape[:2]
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:]), one.points)
        phase = f"attack-{subject.arch}-{name}"
        found = measure_ensembles(subject, phase, partial(take, flat), int(np.prod(shape)))
        curves[name] = {
            score: values.reshape(shape) for score, values in found.items() if score.endswith((".accuracy", ".nll"))
        }
    return More(curves, {}, {})


def _ensembles(subject: Subject, walked: Mapping[str, Walked], measured: Mapping[str, Curves]) -> More:
    """Measure ensembles of points along paths, of networks trained one by one, and single networks."""
    num_members, points = subject.config.study.num_members, walked["path"].points
    along = np.linspace(0, jax.tree.leaves(points)[0].shape[1] - 1, num_members).round().astype(int)

    def deep(index: np.ndarray) -> Position:
        return take(subject.positions, subject.start[index][:, None] + np.arange(num_members))

    kinds = {
        "path": lambda index: jax.tree.map(lambda leaf: leaf[index][:, along], points),
        "deep": deep,
        "single": lambda index: jax.tree.map(lambda leaf: leaf[subject.start[index]][:, None], subject.positions),
    }
    found = {
        kind: measure_ensembles(subject, f"ensembles-{subject.arch}-{kind}", members, len(subject.start))
        for kind, members in kinds.items()
    }
    is_there = _is_there(subject, walked)
    ensembles = {
        kind: {
            name: over_repeats(values[is_there], None if kind == "deep" else found["deep"][name][is_there])
            for name, values in scores.items()
        }
        for kind, scores in found.items()
    }
    arrays: dict[str, Any] = {
        f"ensembles/{kind}/{name}": (("member",), values)
        for kind, scores in found.items()
        for name, values in scores.items()
    }
    return More({}, {"ensembles": ensembles, "ensemble_points": walked["path"].at[along]}, arrays)


def _lines(subject: Subject, walked: Mapping[str, Walked], measured: Mapping[str, Curves]) -> More:
    """Measure straight lines: from start to target, as they are and aligned, and from where a path ends."""
    model, dataset = subject.model, subject.dataset
    splits = {"test": in_batches(dataset.test), "train": in_batches(dataset.train)}
    task = Task(make_measure(model, dataset.task, SCORED), grid(NUM_LINE_POINTS), splits)
    merge = jax.jit(lambda positions, frozen: jax.lax.map(lambda one: model.merge(one, frozen), positions))
    targets = take(subject.positions, subject.start + 1)
    ends = jax.tree.map(lambda leaf: leaf[:, -1], walked["path"].points)
    start, end, target = (trees.to_host(merge(tree, subject.frozen)) for tree in (subject.starts, ends, targets))

    def between(first: Position) -> Callable[[np.ndarray], Ends]:
        return lambda index: Ends(take(first, index[:, 0]), take(target, index[:, 0]))

    straight, is_there = between(start), _is_there(subject, walked)
    lines = {
        "straight": straight,
        "aligned": matched_ends(straight, model.permutation_spec, subject.frozen),
        "rest": between(end),
    }
    pairs = np.repeat(np.flatnonzero(is_there)[:, None], 2, axis=1)
    whole = partial(_with_missing, is_there)
    arrays: dict[str, Any] = {"lines/points": (("place",), task.points)}
    for name, of in lines.items():
        phase = f"line-{subject.arch}-{name}"
        found = run_paths(subject.run, phase, of, pairs, subject.frozen, task, subject.config.run)
        arrays[f"lines/{name}/distance"] = (("member",), whole(found["distance"]))
        for split, scores in found["curves"].items():
            arrays |= {f"lines/{name}/{split}.{score}": (("member", "place"), whole(v)) for score, v in scores.items()}
    return More({}, {"ways": _ways(arrays, measured["path"], is_there)}, arrays)


def _with_missing(is_there: np.ndarray, values: Any) -> np.ndarray:
    """Return values of all members, NaN of those that are not there."""
    whole = np.full((len(is_there), *np.shape(values)[1:]), np.nan, np.asarray(values).dtype)
    whole[is_there] = values
    return whole


def _ways(arrays: Named, path: Curves, is_there: np.ndarray) -> dict[str, Any]:
    """Return how far losses rise, and accuracies fall, on each way over the mean of its ends (Frankle et al. 2020).

    Returns
    -------
    ``path``, with the line that is left after it, ``straight`` and ``aligned``: measure -> statistics, with the
    difference to the path; and ``left``, the distance at the end of the path as a share of that at its start.
    """

    def values(name: str, measure: str) -> np.ndarray:
        return np.asarray(arrays[f"lines/{name}/{measure}"][1])[is_there]

    found: dict[str, Any] = {name: {} for name in ("path", "straight", "aligned")}
    for measure in ("train.loss", "test.loss", "test.accuracy"):
        whole = np.concatenate([path[measure][is_there], values("rest", measure)[:, 1:]], axis=1)
        each = {"path": whole} | {name: values(name, measure) for name in ("straight", "aligned")}
        sign = -1 if measure.endswith("accuracy") else 1
        rises = {name: (sign * one).max(axis=1) - sign * one[:, [0, -1]].mean(axis=1) for name, one in each.items()}
        for name, own in rises.items():
            found[name][measure] = over_repeats(own, rises["path"] if name != "path" else None)
    return found | {"left": over_repeats(values("rest", "distance") / values("straight", "distance"))}


def _is_there(subject: Subject, walked: Mapping[str, Walked]) -> np.ndarray:
    """Return which paths are whole, bool [member]."""
    failed = subject.failed | walked["path"].failed
    return np.array([member not in failed for member in range(len(subject.start))])


MORE: Mapping[str, Callable[[Subject, Mapping[str, Walked], Mapping[str, Curves]], More]] = {
    "robust": _under_attack,
    "diverse": _ensembles,
    "join": _lines,
}
"""What is measured beside points, by objective."""
