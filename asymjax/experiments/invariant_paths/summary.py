"""What a study comes to: statistics over networks at every point, at the end, and of differences to the paths."""

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from asymjax.experiments.compare_posteriors.repeats import over_repeats
from asymjax.experiments.invariant_paths.arms import Arm, Walked, count_row_gradients
from asymjax.experiments.invariant_paths.measures import Curves, curvature_points
from asymjax.experiments.invariant_paths.subject import Subject
from asymjax.symmetry.interpolation import over_networks

LEVELS = 4
"""Drifts at which methods are compared."""


def summarise_method(
    subject: Subject,
    arms: Mapping[str, Arm],
    walked: Mapping[str, Walked],
    curves: Mapping[str, Curves],
    curvature: Mapping[str, Curves],
) -> dict[str, Any]:
    """Return what summary.json says of one method.

    Returns
    -------
    ``arms``, by name: ``row_gradients`` of each network; ``at``, the steps of points; ``curves``, statistics over
    networks at each point; ``end``, those of the last point, with the difference to the path that an arm stands beside;
    ``freedom`` of paths, the least over steps, per network that is there; ``stuck``, paths at rest in their last step;
    ``failed``, networks that are none. ``curvature``, statistics at ``curvature_at``.
    """
    entries, own = {}, dict(curves)
    for name, arm in arms.items():
        own[name] = curves[name] | _sparsity(arm, walked[name]) | _forgetting(curves[name])
    failed = {name: walked[name].failed | subject.failed for name in arms}
    for name, arm in arms.items():
        is_there = _there(failed[name], len(subject.start))
        entries[name] = {
            "is_path": arm.is_path,
            "beside": arm.beside,
            "row_gradients": count_row_gradients(
                arm, subject.config.path, subject.config.study.num_replay, subject.dataset.num_outputs
            ),
            "at": walked[name].at,
            "failed": {str(member): why for member, why in failed[name].items()},
            "curves": _statistics(own[name], is_there),
            "end": _ends(own, failed, name, arm.beside),
        }
        if arm.is_path:
            entries[name] |= _told(subject, walked[name], failed[name])
    found = {
        name: {
            of: [over_networks(at) for at in values[_there(failed[name], len(values))].T] for of, values in one.items()
        }
        for name, one in curvature.items()
        if len(failed[name]) < len(subject.start)
    }
    at = {name: walked[name].at[curvature_points(len(walked[name].at))] for name in curvature}
    return {"arms": entries, "curvature": found, "curvature_at": at}


def _there(failed: Container[int], count: int) -> np.ndarray:
    return np.array([member not in failed for member in range(count)])


def _statistics(curves: Curves, is_there: np.ndarray) -> dict[str, list[dict[str, float]]]:
    if not is_there.any():
        return {}
    return {name: [over_networks(at) for at in values[is_there].T] for name, values in curves.items()}


def _ends(
    curves: Mapping[str, Curves], failed: Mapping[str, Mapping[int, str]], name: str, beside: str | None
) -> dict[str, Any]:
    """Return statistics of the last point of an arm over networks that are there in it, and in what it is beside."""
    own, other = curves[name], curves.get(beside or "", {})
    count = len(next(iter(own.values())))
    is_there = _there(failed[name] | (failed[beside] if beside else {}), count)  # type: ignore[operator]
    if not is_there.any():
        return {}
    return {
        measure: over_repeats(values[is_there, -1], other[measure][is_there, -1] if measure in other else None)
        for measure, values in own.items()
    }


def _told(subject: Subject, walked: Walked, failed: Container[int]) -> dict[str, Any]:
    """Say how free the steps of paths were, and which came to rest with their objective still to fall.

    Networks that failed have no part in it.
    """
    there = np.flatnonzero(_there(failed, len(subject.start)))
    freedom, path = walked.steps["freedom"][there], subject.config.path
    rests = (walked.steps["step_length"][there, -1] == 0) & (walked.steps["objective"][there, -1] != 0)
    left = (path.num_steps - np.arange(path.num_steps)) / max(1.0, path.anneal_share * path.num_steps)
    return {
        "freedom": {"first": freedom[:, 0], "least": freedom.min(axis=1), "mean": freedom.mean(axis=1)},
        "stuck": there[rests].tolist(),
        "budget": float(path.step_size * np.clip(left, 0, 1).sum()),
    }


def _sparsity(arm: Arm, walked: Walked) -> Curves:
    """Return how far points are from what they are projected to, and how many zeros were others a point before."""
    if arm.project is None:
        return {}
    projected = jax.tree.map(np.asarray, jax.jit(jax.vmap(jax.vmap(arm.project)))(walked.points))
    squares, swapped = 0.0, 0
    for point, zeroed in zip(jax.tree.leaves(walked.points), jax.tree.leaves(projected), strict=True):
        apart = (np.asarray(point, np.float64) - zeroed) ** 2
        squares = squares + apart.reshape(*apart.shape[:2], -1).sum(axis=-1)
        changed = (zeroed[:, 1:] == 0) & (zeroed[:, :-1] != 0)
        swapped = swapped + changed.reshape(*changed.shape[:2], -1).sum(axis=-1)
    swaps = np.concatenate([np.zeros((len(squares), 1)), swapped], axis=1)  # type: ignore[arg-type]
    return {"gap": np.sqrt(squares), "swaps": swaps}


def _forgetting(curves: Curves) -> Curves:
    """Return how far the accuracy on old classes has fallen below its largest so far, and the mean over both halves."""
    if "old.accuracy" not in curves:
        return {}
    old, new = curves["old.accuracy"], curves["new.accuracy"]
    return {"forgetting": np.maximum.accumulate(old, axis=1) - old, "average.accuracy": (old + new) / 2}


# Between methods -------------------------------------------------------------------------------------------------


def compare_methods(entries: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the paths of methods at equal drift on held-out inputs.

    Parameters
    ----------
    entries : of the methods, from which failed networks are known.
    arrays : all arrays of the run.

    Returns
    -------
    ``levels`` of the mean Bhattacharyya distance on held-out inputs, up to what all paths reach, and method -> measure
    -> statistics at each level, with the difference to the first method; measures are the accuracy on old and on new
    classes, forgetting, and the length of the path. Differences are of seeds that are in both. Paths that are not
    finite or came to rest are left out. Nothing where there are no old classes, or a method has no path left.
    """
    found = {arch: _path_of(arch, entry, arrays) for arch, entry in entries.items()}
    if any(one is None or not len(one.members) for one in found.values()):
        return {}
    paths = {arch: one for arch, one in found.items() if one is not None}
    top = min(float(one.measures["drift"].max(axis=1).min()) for one in paths.values())
    levels = top * (np.arange(LEVELS) + 1) / LEVELS
    first = next(iter(paths))
    at = {arch: _measures_at(one, levels) for arch, one in paths.items()}
    methods = {
        arch: {
            name: [_beside(path, at[first] if arch != first else None, name, i) for i in range(LEVELS)]
            for name in path.measures
        }
        for arch, path in at.items()
    }
    for method in methods.values():
        for values in method.values():
            for level, value in zip(levels, values, strict=True):
                value["level"] = level
    return {"levels": levels, "methods": methods}


class _Paths(NamedTuple):
    """Paths of a method.

    Attributes
    ----------
    members : int [path] which seeds they are of.
    measures : name -> [path, point or level].
    """

    members: np.ndarray
    measures: dict[str, np.ndarray]


def _beside(paths: _Paths, first: _Paths | None, name: str, level: int) -> dict[str, Any]:
    """Return statistics over all paths at a level, with the difference over the seeds that are in the first as well."""
    values = paths.measures[name][:, level]
    found = over_repeats(values)
    if first is not None:
        _, own, other = np.intersect1d(paths.members, first.members, return_indices=True)
        if len(own):
            found["difference"] = over_repeats(values[own], first.measures[name][other, level])["difference"]
    return found


def _measures_at(paths: _Paths, levels: np.ndarray) -> _Paths:
    """Return what paths come to at levels of drift."""
    drift = paths.measures["drift"]
    at = {name: _at_levels(drift, values, levels) for name, values in paths.measures.items() if name != "drift"}
    return paths._replace(measures=at)


def _path_of(arch: str, entry: Mapping[str, Any], arrays: Mapping[str, Any]) -> _Paths | None:
    """Return drift and measures of the paths of a method at points; of networks that are finite and go on to the end.

    A path that came to rest has no drift further on, and one that never moved has none at all.
    """
    if f"paths/{arch}/path/old.accuracy" not in arrays:
        return None
    names = {"drift": "drift.held_out", "old": "old.accuracy", "new": "new.accuracy", "length": "length"}
    found = {name: np.asarray(arrays[f"paths/{arch}/path/{array}"][1]) for name, array in names.items()}
    path = entry["arms"]["path"]
    out = {int(member) for member in path["failed"]} | set(path["stuck"])
    members = np.flatnonzero(_there(out, len(found["old"])))
    found = {name: values[members] for name, values in found.items()}
    return _Paths(members, found | {"forgetting": np.maximum.accumulate(found["old"], axis=1) - found["old"]})


def _at_levels(drift: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return values [member, level] where the drift of each first reaches a level, on straight lines between points.

    Each starts below the levels and reaches all of them; what it does after it has reached one does not count for it.
    """
    found = np.empty((len(drift), len(levels)))
    for member, (own, of) in enumerate(zip(drift, values, strict=True)):
        for i, level in enumerate(levels):
            after = max(1, int(np.argmax(own >= level)))
            found[member, i] = np.interp(level, own[after - 1 : after + 1], of[after - 1 : after + 1])
    return found
