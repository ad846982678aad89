"""Objectives of a study: for each the networks that paths begin at, its arms, and the rows that are measured."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from asymjax.data.corruptions import corrupt
from asymjax.divisors import largest_divisor
from asymjax.errors import InputError
from asymjax.experiments.invariant_paths.arms import Arm, descent_way, own_data, path_way, shared_data
from asymjax.experiments.invariant_paths.config import Config
from asymjax.experiments.invariant_paths.subject import Subject, take
from asymjax.paths import objectives
from asymjax.paths.consolidation import elastic, fisher_diagonal
from asymjax.paths.invariant import Replay
from asymjax.paths.metric import bhattacharyya
from asymjax.sparse.masks import Mask, apply_mask
from asymjax.train.optimizers import make_optimizer
from asymjax.types import Array, Dataset, Frozen, Key, Position, Split


class Study(NamedTuple):
    """What belongs to one objective.

    Attributes
    ----------
    check : (config, dataset) refuses what cannot be.
    kept : (dataset) -> the training rows that networks are trained on first, and that the function is kept on.
    starts : (config) -> int [member] networks that paths begin at, and how many networks there are.
    arms : (subject) -> the arms by name, paths before what is compared with them.
    splits : (dataset) -> test rows by name, those on which the function should stay first.
    """

    check: Callable[[Config, Dataset], None]
    kept: Callable[[Dataset], Split]
    starts: Callable[[Config], tuple[np.ndarray, int]]
    arms: Callable[[Subject], dict[str, Arm]]
    splits: Callable[[Dataset], dict[str, Split]]


def _nothing(config: Config, dataset: Dataset) -> None:
    """Refuse nothing."""


def _all_rows(dataset: Dataset) -> Split:
    return dataset.train


def _test_rows(dataset: Dataset) -> dict[str, Split]:
    return {"test": dataset.test}


def _one_a_seed(config: Config) -> tuple[np.ndarray, int]:
    return np.arange(config.num_seeds), config.num_seeds


def _optimizer(subject: Subject) -> optax.GradientTransformation:
    """Return the optimizer of what paths are compared with: that of the training, at its peak learning rate."""
    steady = replace(subject.config.optimizer, schedule="constant", warmup_steps=0)
    return make_optimizer(steady, subject.config.path.num_steps)


def _path(subject: Subject, objective: Callable[[Frozen], objectives.Objective], **own: Any) -> Arm:
    make = path_way(subject.model, objective, subject.config.path, subject.dataset.task)
    defaults: dict[str, Any] = {"own": None, "shared": None, "data": own_data}
    return Arm(make, subject.starts, **(defaults | own), is_path=True)


def _descent(subject: Subject, objective: Callable[[Frozen], objectives.Objective], **own: Any) -> Arm:
    defaults: dict[str, Any] = {"starts": subject.starts, "own": None, "shared": None, "data": own_data}
    return Arm(descent_way(objective, _optimizer(subject)), **(defaults | own))


def _shared_first(own: Any, shared: Any) -> tuple[Any, Any]:
    return shared, own


def _on_device(split: Split) -> Split:
    return jax.tree.map(jnp.asarray, split)


def _loss_of(subject: Subject, rows: int | None) -> Callable[[Frozen], objectives.Objective]:
    return lambda frozen: objectives.new_task(subject.model, frozen, subject.dataset.task, rows)


def _rows(subject: Subject, there: int) -> int:
    """Return how many rows a step of the objective takes."""
    return min(subject.config.study.objective_rows or there, there)


# Continual learning ----------------------------------------------------------------------------------------------


def is_old(labels: Any, num_classes: int) -> np.ndarray:
    """Return which labels are of the classes that are learned first, those before the half; bool [row]."""
    return np.asarray(labels) < num_classes // 2


def _of_classes(split: Split, num_classes: int, old: bool) -> Split:
    return split.take(np.flatnonzero(is_old(split.targets, num_classes) == old))


def _check_continual(config: Config, dataset: Dataset) -> None:
    for split in ("train", "test"):
        labels = getattr(dataset, split).targets
        for name, count in (
            ("first", int(is_old(labels, dataset.num_outputs).sum())),
            ("second", int((~is_old(labels, dataset.num_outputs)).sum())),
        ):
            if count == 0:
                raise InputError(
                    f"{dataset.name} has {dataset.num_outputs} classes and no {split} rows of the {name} half of them; "
                    "give data with two classes at least, and more rows"
                )


def _old_and_new(dataset: Dataset) -> dict[str, Split]:
    return {name: _of_classes(dataset.test, dataset.num_outputs, name == "old") for name in ("old", "new")}


def _continual(subject: Subject) -> dict[str, Arm]:
    study, dataset = subject.config.study, subject.dataset
    new = _on_device(_of_classes(dataset.train, dataset.num_outputs, old=False))
    of_batch = _loss_of(subject, study.objective_rows)
    rows = _rows(subject, len(new.targets))
    arms = {"path": _path(subject, of_batch, shared=new, data=shared_data, rows=rows)}
    if not study.baselines:
        return arms
    beside: dict[str, Any] = {"beside": "path", "rows": rows}
    memory = Split(subject.replay.inputs, subject.labels)

    def replayed(frozen: Frozen) -> objectives.Objective:
        return objectives.combine([of_batch(frozen), _loss_of(subject, None)(frozen)], (1.0, 1.0))

    both = beside | {"rows": rows + study.num_replay}
    of_all = beside | {"rows": _rows(subject, len(dataset.train.targets))}
    arms["fine_tuning"] = _descent(subject, of_batch, shared=new, data=shared_data, **beside)
    arms["joint"] = _descent(subject, of_batch, shared=_on_device(dataset.train), data=shared_data, **of_all)
    arms["replay"] = _descent(subject, replayed, own=memory, shared=new, data=_shared_first, **both)
    return arms | _elastic(subject, of_batch, new, beside)


def _elastic(
    subject: Subject, of_batch: Callable[[Frozen], objectives.Objective], new: Split, beside: Mapping[str, Any]
) -> dict[str, Arm]:
    """Return elastic weights of every strength."""
    arms = {}
    held = (subject.starts, _fishers(subject))
    more = {"own": held, "shared": new, "once": len(subject.kept.targets) * subject.dataset.num_outputs, **beside}
    for strength in subject.config.study.ewc_strengths:

        def consolidated(frozen: Frozen, strength: float = strength) -> objectives.Objective:
            return objectives.combine([of_batch(frozen), elastic], (1.0, strength))

        arms[f"ewc-{strength:g}"] = _descent(subject, consolidated, data=_shared_first, **more)
    return arms


def _fishers(subject: Subject) -> Position:
    """Return the diagonal Fisher information of each network on the rows that it was trained on."""

    def one(position: Position, frozen: Frozen, inputs: Array) -> Position:
        return fisher_diagonal(lambda position, rows: subject.model.apply(position, frozen, rows), position, inputs)

    compiled = jax.jit(lambda positions, *rest: jax.lax.map(lambda position: one(position, *rest), positions))
    return jax.tree.map(np.asarray, compiled(subject.starts, subject.frozen, jnp.asarray(subject.kept.inputs)))


# Sparse networks -------------------------------------------------------------------------------------------------


def _check_sparse(config: Config, dataset: Dataset) -> None:
    shares = config.study.shares
    if not shares or len(set(shares)) < len(shares):
        raise InputError(f"shares is {shares}; give one value at least, and each once")


def _sparse(subject: Subject) -> dict[str, Arm]:
    study = subject.config.study
    arms = {}
    for share in study.shares:
        project = partial(objectives.make_sparse, share=share)

        def to_share(frozen: Frozen, share: float = share) -> objectives.Objective:
            return objectives.sparsify(share)

        arms[f"path-{share:g}"] = _path(subject, to_share, project=project)
        if study.baselines:
            arms |= _beside_sparse(subject, share)
    return arms


def _beside_sparse(subject: Subject, share: float) -> dict[str, Arm]:
    """Return descents of what magnitudes leave: with labels of training rows, and without, as paths have none."""
    kept = jax.jit(jax.vmap(lambda position: objectives.nearest_mask(position, share)))(subject.starts)
    mask, train = jax.tree.map(np.asarray, kept), _on_device(subject.dataset.train)
    more: dict[str, Any] = {
        "starts": jax.tree.map(np.asarray, apply_mask(subject.starts, kept)),
        "project": partial(objectives.make_sparse, share=share),
        "beside": f"path-{share:g}",
    }
    labelled = {"own": mask, "shared": train, "data": _shared_first, "rows": _rows(subject, len(train.targets))}
    taught = {"own": (subject.replay, mask), "rows": subject.config.study.num_replay}
    of_batch, to_start = _loss_of(subject, subject.config.study.objective_rows), _to_start(subject)
    return {
        f"masked-{share:g}": _descent(subject, _under_mask(of_batch), **labelled, **more),
        f"distilled-{share:g}": _descent(subject, _under_mask(to_start), **taught, **more),
    }


def _under_mask(objective: Callable[[Frozen], objectives.Objective]) -> Callable[[Frozen], objectives.Objective]:
    """Return an objective of what a mask keeps; its data is (that of the objective, mask)."""

    def make(frozen: Frozen) -> objectives.Objective:
        def masked(key: Key, position: Position, data: tuple[Any, Mask]) -> Array:
            return objective(frozen)(key, apply_mask(position, data[1]), data[0])

        return masked

    return make


def _to_start(subject: Subject) -> Callable[[Frozen], objectives.Objective]:
    """Return the mean distance of the probabilities on replayed inputs to those at the start; its data is a Replay."""

    def make(frozen: Frozen) -> objectives.Objective:
        def distance(key: Key, position: Position, data: Replay) -> Array:
            return jnp.mean(bhattacharyya(subject.model.apply(position, frozen, data.inputs), data.outputs))

        return distance

    return make


# Ensembles, robust networks, and other optima --------------------------------------------------------------------


def _check_attacked(config: Config, dataset: Dataset) -> None:
    for name in config.study.corruptions:
        corrupt(dataset.test.take(slice(1)), name)


def _check_diverse(config: Config, dataset: Dataset) -> None:
    _check_attacked(config, dataset)
    num_points = largest_divisor(config.path.num_steps, config.study.num_points)
    if config.study.num_members > num_points + 1:
        raise InputError(
            f"num_members is {config.study.num_members}, but a path of {config.path.num_steps} steps has {num_points} "
            "points and its start; give more --num-points, of which the number of steps is a multiple"
        )


def _several_a_seed(config: Config) -> tuple[np.ndarray, int]:
    count = config.num_seeds * config.study.num_members
    return np.arange(0, count, config.study.num_members), count


def _pairs(config: Config) -> tuple[np.ndarray, int]:
    return np.arange(0, 2 * config.num_seeds, 2), 2 * config.num_seeds


def _diverse(subject: Subject) -> dict[str, Arm]:
    return {"path": _path(subject, lambda _: objectives.leave(), own=subject.starts)}


def _robust(subject: Subject) -> dict[str, Arm]:
    study, train = subject.config.study, _on_device(subject.dataset.train)

    def attacked(frozen: Frozen) -> objectives.Objective:
        return objectives.robust(subject.model, frozen, subject.dataset.task, study.radius, study.objective_rows)

    rows = _rows(subject, len(train.targets))
    arms = {"path": _path(subject, attacked, shared=train, data=shared_data, rows=2 * rows)}
    if study.baselines:
        of_batch, more = _loss_of(subject, study.objective_rows), {"shared": train, "beside": "path"}
        arms["adversarial_training"] = _descent(subject, attacked, data=shared_data, rows=2 * rows, **more)
        arms["fine_tuning"] = _descent(subject, of_batch, data=shared_data, rows=rows, **more)
    return arms


def _join(subject: Subject) -> dict[str, Arm]:
    targets = take(subject.positions, subject.start + 1)
    return {"path": _path(subject, lambda _: objectives.reach(), own=targets)}


def _train_and_test(dataset: Dataset) -> dict[str, Split]:
    return {"test": dataset.test, "train": dataset.train}


def _old_rows(dataset: Dataset) -> Split:
    return _of_classes(dataset.train, dataset.num_outputs, old=True)


STUDIES: Mapping[str, Study] = {
    "continual": Study(_check_continual, _old_rows, _one_a_seed, _continual, _old_and_new),
    "sparse": Study(_check_sparse, _all_rows, _one_a_seed, _sparse, _test_rows),
    "diverse": Study(_check_diverse, _all_rows, _several_a_seed, _diverse, _test_rows),
    "robust": Study(_check_attacked, _all_rows, _one_a_seed, _robust, _test_rows),
    "join": Study(_nothing, _all_rows, _pairs, _join, _train_and_test),
}
"""Studies by objective."""
