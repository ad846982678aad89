"""What is measured at points of arms: scores, how far the function and the weights went, and curvature."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import rng, trees
from asymjax.diagnostics.curvature import curvature, mean_loss
from asymjax.experiments.invariant_paths.arms import Arm, Walked
from asymjax.experiments.invariant_paths.subject import Subject, take
from asymjax.lab.measure import measure_members
from asymjax.paths.metric import bhattacharyya
from asymjax.symmetry.connectivity import SCORES, Rows, in_batches, make_measure
from asymjax.types import Array, Frozen, Position, PyTree, Split

Curves = dict[str, np.ndarray]
"""Name of a measure -> [member, point]."""
MIN_PER_CHUNK = 16
SCORED = {"classification": lambda logits, labels: _two(SCORES["classification"](logits, labels))}


def _two(scores: Mapping[str, Array]) -> dict[str, Array]:
    return {name: scores[name] for name in ("loss", "accuracy")}


def measure_points(
    subject: Subject, arms: Mapping[str, Arm], walked: Mapping[str, Walked], splits: Mapping[str, Split]
) -> dict[str, Curves]:
    """Measure every point of every arm.

    Parameters
    ----------
    subject, arms, walked : the arms.
    splits : test rows by name; the function should stay on the first of them.

    Returns
    -------
    Arm -> name -> [member, point]: ``old.accuracy`` and ``old.loss`` of a split ``old``, the same of the projected
    network after ``projected.`` where there is one, mean Bhattacharyya distances ``drift.replay`` and
    ``drift.held_out`` to the function at the start, ``drift.replay_max`` and ``drift.held_out_max``, the largest
    changes of an output, ``distance`` from the start, and of what the steps tell ``length`` and, on paths,
    ``metric_length``.
    """
    stacks = {name: [one.points] for name, one in walked.items()}
    for name, arm in arms.items():
        if arm.project is not None:
            stacks[name].append(trees.to_host(jax.jit(jax.vmap(jax.vmap(arm.project)))(walked[name].points)))
    found = _measure_stacks(subject, [one for stack in stacks.values() for one in stack], splits)
    each, curves = iter(found), {}
    for name, stack in stacks.items():
        own = next(each)
        if len(stack) > 1:
            own |= {f"projected.{score}": values for score, values in next(each).items() if "." in score[1:]}
            own = {score: values for score, values in own.items() if not score.startswith("projected.drift")}
        curves[name] = own | _told_by_steps(walked[name])
    return curves


def _told_by_steps(walked: Walked) -> Curves:
    """Return the lengths of arms up to each point, from the start on."""
    found = {}
    for name, told in (("length", "step_length"), ("metric_length", "metric_length")):
        if told in walked.steps:
            sums = np.cumsum(np.nan_to_num(walked.steps[told].astype(np.float64)), axis=1)
            found[name] = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)[:, walked.at]
    return found


def _measure_stacks(subject: Subject, stacks: list[Position], splits: Mapping[str, Split]) -> list[Curves]:
    """Measure positions, leaves [member, point, ...] each, in one program."""
    shapes = [jax.tree.leaves(stack)[0].shape[:2] for stack in stacks]
    places = [(which, *place) for which, shape in enumerate(shapes) for place in np.ndindex(*shape)]
    model, kept = subject.model, next(iter(splits))
    score = make_measure(model, subject.dataset.task, SCORED)

    def measure(
        position: Position, start: Position, replay: PyTree, frozen: Frozen, rows: Mapping[str, Rows]
    ) -> PyTree:
        scores = score(model.merge(position, frozen), frozen, rows)
        found = {f"{split}.{name}": value for split, own in scores.items() for name, value in own.items()}
        drifts = {
            "replay": (replay.outputs, model.apply(position, frozen, replay.inputs)),
            "held_out": (_outputs(model, start, frozen, rows[kept]), _outputs(model, position, frozen, rows[kept])),
        }
        for name, (first, now) in drifts.items():
            found[f"drift.{name}"] = jnp.mean(bhattacharyya(now, first))
            found[f"drift.{name}_max"] = jnp.max(jnp.abs(now - first))
        return found | {"distance": trees.norm(jax.tree.map(jnp.subtract, position, start))}

    def members(index: np.ndarray) -> list[PyTree]:
        chosen = [places[i] for i in index]
        positions = [take(stacks[which], (member, point)) for which, member, point in chosen]
        member_of = np.array([member for _, member, _ in chosen])
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *positions)
        return [stacked, take(subject.starts, member_of), take(subject.replay, member_of)]

    shared = (subject.frozen, {name: in_batches(split) for name, split in splits.items()})
    phase, config = f"measure-{subject.arch}", subject.config.run
    found = measure_members(subject.run, phase, measure, members, shared, len(places), MIN_PER_CHUNK, "points", config)
    cuts = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    each = [{name: np.split(values, cuts)[i] for name, values in found.items()} for i in range(len(stacks))]
    return [
        {name: values.reshape(shape) for name, values in one.items()} for one, shape in zip(each, shapes, strict=True)
    ]


def _outputs(model: PyTree, position: Position, frozen: Frozen, rows: Rows) -> Array:
    outputs = jax.lax.map(lambda inputs: model.apply(position, frozen, inputs), rows.inputs)
    return outputs.reshape(-1, outputs.shape[-1])[: len(rows.targets)]


def curvature_points(num_points: int) -> np.ndarray:
    """Return the points whose curvature is measured: the start, half-way, and the end; int, each once."""
    return np.unique([0, (num_points - 1) // 2, num_points - 1])


def measure_curvature(subject: Subject, walked: Mapping[str, Walked]) -> dict[str, Curves]:
    """Measure the curvature of the loss that networks were trained on first, at points of paths.

    All networks meet the same rows and the same probes.

    Parameters
    ----------
    subject : the networks.
    walked : the paths.

    Returns
    -------
    Path -> ``trace``, ``trace_error``, ``largest``, ``largest_residual``, each [member, point] at
    :func:`curvature_points`.
    """
    study, task = subject.config.study, subject.dataset.task
    key = rng.role_key(subject.config.seeds.seed, "curvature")
    chosen = {name: curvature_points(len(one.at)) for name, one in walked.items()}
    places = [
        (name, member, point)
        for name, points in chosen.items()
        for member in range(len(subject.start))
        for point in points
    ]

    def measure(position: Position, frozen: Frozen, rows: Rows) -> PyTree:
        loss = mean_loss(subject.model, task, frozen, rows)
        return curvature(loss, position, key, None, study.num_probes, study.num_probes)

    def members(index: np.ndarray) -> list[PyTree]:
        positions = [take(walked[name].points, (member, point)) for name, member, point in (places[i] for i in index)]
        return [jax.tree.map(lambda *leaves: np.stack(leaves), *positions)]

    shared = (subject.frozen, in_batches(subject.kept, study.curvature_rows))
    measured = partial(measure_members, subject.run, f"curvature-{subject.arch}", measure, members, shared)
    found = measured(len(places), 4, "networks", subject.config.run)._asdict()
    sizes = [len(subject.start) * len(points) for points in chosen.values()]
    parts = {name: np.split(values, np.cumsum(sizes)[:-1]) for name, values in found.items()}
    return {
        path: {name: part[i].reshape(len(subject.start), -1) for name, part in parts.items()}
        for i, path in enumerate(chosen)
    }
