"""A run of ``invariant_path``: networks trained, walked on along every arm, and measured, method after method."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from asymjax import trees
from asymjax.errors import DivergedError, InputError
from asymjax.experiments.invariant_paths.arms import Arm, Walked, check_points, path_way, walk
from asymjax.experiments.invariant_paths.config import Config
from asymjax.experiments.invariant_paths.extras import measure_more
from asymjax.experiments.invariant_paths.measures import Curves, curvature_points, measure_curvature, measure_points
from asymjax.experiments.invariant_paths.spectrum import measure_spectrum
from asymjax.experiments.invariant_paths.studies import STUDIES
from asymjax.experiments.invariant_paths.subject import Subject, draw_rows, replay_of, take, why_groups_fail
from asymjax.experiments.invariant_paths.summary import compare_methods, summarise_method
from asymjax.experiments.setup import describe_data, load_data, refuse_graph
from asymjax.experiments.train_sweep.run import train_networks
from asymjax.lab import devices, memory, processes
from asymjax.lab.results import Named
from asymjax.lab.rundir import RunDir, open_run
from asymjax.lab.sweep import why_failed
from asymjax.models import draw_frozen
from asymjax.paths import objectives
from asymjax.paths.invariant import Replay, check_replay
from asymjax.train.members import make_trainer, make_training
from asymjax.types import Dataset, Frozen, Key, Model, Position

EXPERIMENT = "invariant_path"


def run_paths(config: Config) -> Path:
    """Train networks, walk them on, and measure where they are; resumes a run that is not finished.

    Returns
    -------
    The run directory, with summary.json and the curves of all arms in results.zarr.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If no network of a method, or no path of an arm, is finite.
    StopRequestedError
        If SIGTERM came.
    """
    dataset = _load(config)
    models = {arch: config.models.of(arch) for arch in config.models.archs}
    built = {arch: model.build(dataset.input_shape, dataset.num_outputs) for arch, model in models.items()}
    _check(config, dataset, built)
    settings = {
        "data": config.data.identity(dataset),
        "models": {arch: model.record() for arch, model in models.items()},
        **{name: getattr(config, name) for name in ("optimizer", "study", "path", "seeds", "num_seeds")},
    }
    backbone, objective = next(iter(models.values())).backbone_name, config.study.objective
    run = open_run(EXPERIMENT, f"{backbone}-{config.data.slug}-{objective}", settings, config.run)
    entries: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for arch, model in built.items():
        entries[arch], own = _study_method(run, arch, model, models[arch].mask_seed, dataset, config)
        arrays |= {f"paths/{arch}/{name}": values for name, values in own.items()}
    summary = describe_data(dataset, config.data.dataset) | {"backbone": backbone, "objective": objective}
    summary |= {"methods": entries, "between_methods": compare_methods(entries, arrays)}
    run.finish(lambda: (summary | {"seconds": run.seconds}, arrays))
    return run.path


def _load(config: Config) -> Dataset:
    """Load the rows that are asked for, which must be of classes.

    Raises
    ------
    InputError
        If there are no classes, or fewer rows than are asked for.
    """
    dataset, study = load_data(config.data), config.study
    refuse_graph(dataset, config.data.dataset)
    if dataset.task != "classification":
        raise InputError(f"{config.data.dataset} has no classes; give a dataset of classes")
    for split in ("train", "test"):
        wanted, rows = getattr(study, f"num_{split}_rows"), getattr(dataset, split)
        if wanted is not None and wanted > len(rows.targets):
            raise InputError(
                f"num_{split}_rows is {wanted}, and {config.data.dataset} has {len(rows.targets)}; give at most as many"
            )
        dataset = dataset._replace(**{split: rows.take(slice(wanted))})
    return dataset


def _check(config: Config, dataset: Dataset, models: Mapping[str, Model]) -> None:
    """Refuse what cannot be before any work.

    Raises
    ------
    InputError
        If a setting does not suit data or network.
    """
    study = STUDIES[config.study.objective]
    if config.optimizer.recipe != "shared":
        raise InputError("recipe is drawn, but the networks of a study are trained alike; give shared")
    if config.optimizer.trained != "all":
        raise InputError(
            f"trained is {config.optimizer.trained}, but paths move all that the method leaves free; give all"
        )
    check_points(config)
    study.check(config, dataset)
    kept = study.kept(dataset)
    num_rows = len(kept.targets)
    if config.study.num_replay > num_rows:
        raise InputError(
            f"num_replay is {config.study.num_replay}, and there are {num_rows} training rows to replay; give at most "
            "as many"
        )
    for model in models.values():
        make_trainer(model, dataset._replace(train=kept), config.optimizer)
        _check_path(config, dataset.task, kept.take(slice(config.study.num_replay)).inputs, model)


def _check_path(config: Config, task: str, inputs: Any, model: Model) -> None:
    """Refuse a network that the driver cannot walk, or whose Jacobian memory has no room for."""

    def first_step(key: Key, frozen: Frozen, position: Position, inputs: Any) -> Any:
        way = path_way(model, lambda _: objectives.reach(), config.path, task)(frozen)
        replay = Replay(inputs, model.apply(position, frozen, inputs))
        return replay.outputs, way.advance(key, way.init(position), replay, position, 1)

    key = jax.random.key(0)
    frozen = jax.eval_shape(model.freeze, key)
    position = jax.eval_shape(model.init, key, frozen)
    outputs, _ = jax.eval_shape(first_step, key, frozen, position, inputs)
    limit = {"limit_bytes": found} if (found := memory.limit_bytes()) else {}
    num_rows, num_outputs = outputs.shape
    check_replay(num_rows, num_outputs, trees.num_entries(position), config.path, **limit)


def _study_method(
    run: RunDir, arch: str, model: Model, mask_seed: int, dataset: Dataset, config: Config
) -> tuple[dict[str, Any], Named]:
    """Train the networks of one method, walk them on, and measure; return its entry in summary.json and its arrays."""
    study = STUDIES[config.study.objective]
    subject = _trained(run, arch, model, mask_seed, dataset, config)
    arms = study.arms(subject)
    walked = {name: _walk(subject, name, arm) for name, arm in arms.items()}
    curves = measure_points(subject, arms, walked, study.splits(dataset))
    curvature: dict[str, Curves] = {}
    if config.study.num_probes:
        curvature = measure_curvature(subject, {name: walked[name] for name, arm in arms.items() if arm.is_path})
    more = measure_more(subject, walked, curves)
    for name, own in more.curves.items():
        curves[name] |= own
    entry = {**summarise_method(subject, arms, walked, curves, curvature), **more.summary}
    entry["null_space"] = measure_spectrum(subject) if config.study.null_space else {}
    size = trees.num_entries(take(subject.positions, 0))
    print(f"{arch}: {len(arms)} arms of {len(subject.start)} networks with {size:,} parameters", flush=True)
    return entry | {"num_parameters": size}, {**_arrays(walked, curves, curvature), **more.arrays}


def _trained(run: RunDir, arch: str, model: Model, mask_seed: int, dataset: Dataset, config: Config) -> Subject:
    """Train the networks that paths begin at, and those that they are set beside.

    Raises
    ------
    DivergedError
        If none at which a path begins is finite.
    """
    study = STUDIES[config.study.objective]
    frozen = draw_frozen(model, mask_seed)
    run.identify(**{f"frozen_{arch}": trees.checksum(frozen)})
    kept, (start, count) = study.kept(dataset), study.starts(config)
    old = dataset._replace(train=kept)
    training = make_training(model, old, config.optimizer, config.seeds, np.arange(count), {})
    placement = devices.place(count, config.run.num_devices, config.run.placement)
    state = train_networks(run, training, model, frozen, old, config.optimizer, placement, f"train-{arch}")
    positions, failed_step = processes.gather((state.position, state.failed_step))
    own = why_groups_fail(why_failed(failed_step), start, count)
    if len(own) == len(start):
        raise DivergedError(f"{arch}: in each of {len(start)} groups a network is not finite; lower the learning rate")
    positions = trees.to_host(positions)
    rows = draw_rows(kept, len(start), config)
    replay = replay_of(model, frozen, take(positions, start), rows.inputs)
    return Subject(
        run, config, arch, model, frozen, dataset, kept, positions, start, replay, np.asarray(rows.targets), own
    )


def _walk(subject: Subject, name: str, arm: Arm) -> Walked:
    """Walk the networks of an arm.

    Raises
    ------
    DivergedError
        If it is one of paths, and none of them is finite to its end.
    """
    config = subject.config
    walked = walk(
        subject.run,
        f"walk-{subject.arch}-{name}",
        arm,
        subject.frozen,
        subject.replay,
        subject.keys,
        config.path.num_steps,
        config.study.num_points,
        config.run,
    )
    failed = walked.failed | subject.failed
    if arm.is_path and len(failed) == len(subject.start):
        why = "; ".join(f"network {member}, {failed[member]}" for member in sorted(failed))
        raise DivergedError(f"{subject.arch}, {name}: no path is finite ({why}); give shorter steps or more damping")
    return walked


def _arrays(walked: Mapping[str, Walked], curves: Mapping[str, Curves], curvature: Mapping[str, Curves]) -> Named:
    """Return what is kept of all arms: measures at points, and what steps tell."""
    arrays: dict[str, Any] = {}
    for name, one in walked.items():
        arrays[f"{name}/at"] = (("point",), one.at)
        arrays |= {f"{name}/{measure}": (("member", "point"), values) for measure, values in curves[name].items()}
        arrays |= {f"{name}/steps/{told}": (("member", "step"), values) for told, values in one.steps.items()}
        if name in curvature:
            arrays[f"{name}/curvature/at"] = (("place",), one.at[curvature_points(len(one.at))])
            arrays |= {f"{name}/curvature/{of}": (("member", "place"), v) for of, v in curvature[name].items()}
    return arrays
