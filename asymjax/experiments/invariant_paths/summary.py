"""What a study comes to: statistics over networks at every point, at the end, and of differences to the paths."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from asymjax.experiments.compare_posteriors.repeats import over_repeats
from asymjax.experiments.invariant_paths.arms import Arm, Walked
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
    ``arms``, by name: ``at``, the steps of points; ``curves``, statistics over networks at each point; ``end``, those
    of the last point, with the difference to the path that an arm stands beside; ``freedom`` of paths, the least over
    steps, per network; ``failed``, networks that are none. ``curvature``, statistics at ``curvature_at``.
    """
    entries, own = {}, dict(curves)
    for name, arm in arms.items():
        own[name] = curves[name] | _sparsity(arm, walked[name]) | _forgetting(curves[name])
    failed = {name: subject.failed | walked[name].failed for name in arms}
    for name, arm in arms.items():
        is_there = np.array([member not in failed[name] for member in range(len(subject.start))])
        entries[name] = {
            "is_path": arm.is_path,
            "beside": arm.beside,
            "at": walked[name].at,
            "failed": {str(member): why for member, why in failed[name].items()},
            "curves": _statistics(own[name], is_there),
            "end": _ends(own, failed, name, arm.beside),
        }
        if arm.is_path:
            entries[name] |= _told(subject, walked[name])
    found = {
        name: {
            of: [over_networks(at) for at in values[_there(failed[name], len(values))].T] for of, values in one.items()
        }
        for name, one in curvature.items()
        if len(failed[name]) < len(subject.start)
    }
    at = {name: walked[name].at[curvature_points(len(walked[name].at))] for name in curvature}
    return {"arms": entries, "curvature": found, "curvature_at": at}


def _there(failed: Mapping[int, str], count: int) -> np.ndarray:
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


def _told(subject: Subject, walked: Walked) -> dict[str, Any]:
    """Say how free the steps of paths were, and which did not move at all."""
    lengths, freedom = (np.nan_to_num(walked.steps[name]) for name in ("step_length", "freedom"))
    path = subject.config.path
    left = (path.num_steps - np.arange(path.num_steps)) / max(1.0, path.anneal_share * path.num_steps)
    return {
        "freedom": {"first": freedom[:, 0], "least": freedom.min(axis=1), "mean": freedom.mean(axis=1)},
        "stuck": [member for member in range(len(lengths)) if not lengths[member].any()],
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
    classes, forgetting, and the length of the path. Nothing where there are no old classes.
    """
    found = {arch: _path_of(arch, entry, arrays) for arch, entry in entries.items()}
    if any(one is None or not len(one["drift"]) for one in found.values()):
        return {}
    top = min(float(one["drift"].max(axis=1).min()) for one in found.values() if one is not None)
    levels = top * (np.arange(LEVELS) + 1) / LEVELS
    methods: dict[str, Any] = {}
    first: dict[str, np.ndarray] | None = None
    for arch, one in found.items():
        assert one is not None
        at = {name: _at_levels(one["drift"], values, levels) for name, values in one.items() if name != "drift"}
        first = first or at
        is_like = at is not first and len(at["length"]) == len(first["length"])
        methods[arch] = {
            name: [
                over_repeats(values[:, i], first[name][:, i] if is_like else None) | {"level": levels[i]}
                for i in range(LEVELS)
            ]
            for name, values in at.items()
        }
    return {"levels": levels, "methods": methods}


def _path_of(arch: str, entry: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """Return drift and measures of the path of a method [member, point], those of finite networks."""
    if f"paths/{arch}/path/old.accuracy" not in arrays:
        return None
    names = {"drift": "drift.held_out", "old": "old.accuracy", "new": "new.accuracy", "length": "length"}
    found = {name: np.asarray(arrays[f"paths/{arch}/path/{array}"][1]) for name, array in names.items()}
    is_there = _there({int(member): "" for member in entry["arms"]["path"]["failed"]}, len(found["old"]))
    found = {name: values[is_there] for name, values in found.items()}
    return found | {"forgetting": np.maximum.accumulate(found["old"], axis=1) - found["old"]}


def _at_levels(drift: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return values [member, level] where the drift of each first reaches a level, on straight lines between points."""
    reached = np.maximum.accumulate(drift, axis=1)
    return np.stack([np.interp(levels, own, of) for own, of in zip(reached, values, strict=True)])
