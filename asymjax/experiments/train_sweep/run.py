"""A sweep over seeds: independent networks of one model, trained side by side, each scored on its own."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import xarray

from asymjax import trees
from asymjax.errors import InputError
from asymjax.experiments.grid import Program
from asymjax.experiments.setup import describe, open_experiment
from asymjax.experiments.train_sweep.config import Config
from asymjax.lab import devices, processes
from asymjax.lab.devices import Placement
from asymjax.lab.evaluate import SPLITS, make_evaluate
from asymjax.lab.results import NETWORKS, NOT_TRAINED, RESULTS, flatten_names, open_networks, read_arrays, values_of
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import RunDir, require_space
from asymjax.lab.sweep import Finish, epochs_per_chunk, fitting_round, flops_per_step, run_sweep
from asymjax.train.members import Training, drawn_recipes, make_training, steps_per_epoch
from asymjax.train.optimizers import OptimizerConfig, shortest
from asymjax.train.trainer import TrainState
from asymjax.types import Dataset, Frozen, Hyper, Model

SCORES = tuple(f"{NETWORKS}/{split}." for split in SPLITS)


def run_train_sweep(
    config: Config,
    program: Program,
    run_config: RunConfig,
    experiment: str = "train_sweep",
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Train the networks of one program and write a run directory; resumes one that is not finished.

    Parameters
    ----------
    config : settings that all programs of a grid have in common.
    program : the networks, ``num_seeds`` of each combination of settings that vary.
    run_config : where results go and where work runs.
    experiment : name of the experiment.
    more : what else config.json says of the networks.

    Returns
    -------
    The run directory; ``networks`` in results.zarr holds coordinates, metrics and positions of all networks (see
    ``results.open_networks``), summary.json their metrics and status.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If every loss leaves the finite numbers, where all networks train in one round.
    StopRequestedError
        If SIGTERM came.
    """
    variant, coordinates, hyper = program
    optimizer, seeds, seed_of = variant.optimizer, config.seeds, coordinates["seed"]
    settings: dict[str, Any] = {"optimizer": optimizer, "seeds": seeds, "num_seeds": config.num_seeds}
    settings |= {"start": config.start, "keep_weights": config.keep_weights} | (
        {"coordinates": coordinates} if hyper else {}
    )
    settings |= more
    opening = open_experiment(experiment, optimizer.optimizer, config.data, variant.model, settings, run_config)
    dataset, model, frozen, _, run = opening
    training = make_training(model, dataset, optimizer, seeds, seed_of, hyper, config.start)
    placement = _place_rounds(run, training, frozen, dataset, run_config)
    recipes = {name: values[seed_of] for name, values in drawn_recipes(optimizer, seeds, config.num_seeds).items()}
    coordinates = coordinates | recipes
    finish = make_finish(run, model, frozen, dataset, placement, hyper, coordinates, config.keep_weights)
    num_kept = (
        int(np.sum(values_of(open_networks(run.path), "failed_step") == NOT_TRAINED)) if config.keep_weights else 0
    )
    train_networks(run, training, model, frozen, dataset, optimizer, placement, finish=finish, num_kept=num_kept)
    description = describe(opening, config.data, variant.model, optimizer.trained)
    run.finish(lambda: (description | {"num_seeds": config.num_seeds} | summarise_sweep(run, coordinates), {}))
    return run.path


def _place_rounds(
    run: RunDir, training: Training, frozen: Frozen, dataset: Dataset, run_config: RunConfig
) -> Placement:
    """Cut a sweep into rounds as it was cut when it began, or else as asked for, or as memory has room for."""
    inside = run_config.placement
    one = jax.tree.map(lambda leaf: leaf[0], training.members)
    size = run_config.round_size
    if size is None:
        size = fitting_round(training.trainer, one, frozen, dataset.train, inside)
    place = partial(devices.place, training.num_networks, run_config.num_devices, inside)
    return place(run.settle("round_size", size, place))


def summarise_sweep(run: RunDir, coordinates: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return what summary.json says of the networks of a finished sweep, each number [network].

    Raises
    ------
    InputError
        If the results are damaged, or lack networks: they are not those that networks were written to.
    """
    networks = open_networks(run.path)
    if num_missing := int(np.sum(values_of(networks, "failed_step") == NOT_TRAINED)):
        raise InputError(
            f"{run.path / RESULTS} lacks {num_missing} networks that were trained, so it is not the one that they were "
            "written to; train again with --force"
        )
    scores = {name.rpartition("/")[-1]: found for name, found in read_arrays(run.path, *SCORES).items()}
    status = list(map(_status, networks["failed_step"].values.tolist(), scores["train.loss"]))
    summary: dict[str, Any] = {"coordinates": coordinates, "status": status}
    for split in SPLITS:
        metrics = {name: values for name, values in scores.items() if name.startswith(f"{split}.")}
        summary[split] = {name.partition(".")[2]: values for name, values in metrics.items()} or None
    return summary | {"seconds": {kind: run.seconds.get(kind, 0.0) for kind in ("compile", "train")}}


def _status(failed_step: int, loss: float) -> str:
    """Return how the training of a network went, which says nothing of the loss after its last step."""
    if failed_step >= 0:
        return f"not finite at step {failed_step}"
    return "ok" if np.isfinite(loss) else "not finite after the last step"


def make_finish(
    run: RunDir,
    model: Model,
    frozen: Frozen,
    dataset: Dataset,
    placement: Placement,
    hyper: Hyper,
    coordinates: Mapping[str, np.ndarray],
    keep_weights: bool,
) -> Finish:
    """Return what scores the networks of a round and writes them to the results of the run, each process its own rows.

    Parameters
    ----------
    hyper : settings that networks have of their own [network].
    coordinates : what is known of every network beforehand [network].

    Raises
    ------
    InputError
        If the networks there are another sweep's.
    """
    evaluate = make_evaluate(model, dataset, placement)
    shape = jax.eval_shape(model.init, jax.random.key(0), frozen)
    kept = flatten_names({"position": shape}) if keep_weights else {}
    like = {name: jax.ShapeDtypeStruct((), np.dtype(np.float64)) for name in evaluate.names}
    like |= kept | {"failed_step": jax.ShapeDtypeStruct((), np.dtype(np.int32))}
    template = xarray.Dataset(
        {
            name: (
                ("network", *(f"{name}_dim_{axis}" for axis in range(len(leaf.shape)))),
                np.broadcast_to(np.zeros((), leaf.dtype), (placement.total, *leaf.shape)),
            )
            for name, leaf in like.items()
        },
        {name: ("network", values) for name, values in coordinates.items()},
    )
    num_rows = placement.size // jax.process_count()
    run.create_group(NETWORKS, template, {"network": num_rows}, {"failed_step": NOT_TRAINED})

    def finish(members: np.ndarray, is_new: np.ndarray, state: TrainState) -> None:
        start, stop = processes.local_rows(state.failed_step)
        columns = evaluate.score(state.position, frozen, jax.tree.map(lambda values: values[members], hyper))
        if keep_weights:
            columns |= flatten_names({"position": processes.local(state.position)})
        # Last, so that a network that is called trained has all else.
        columns["failed_step"] = processes.local(state.failed_step).astype(np.int32)
        num_own = int(is_new[start:stop].sum())  # They come first.
        columns = {name: values[:num_own] for name, values in columns.items()}
        first = int(members[start])
        run.write_rows(
            f"network {first} and the next ones",
            {NETWORKS: columns},
            {"network": first},
            "network",
            members[::num_rows].tolist(),
        )

    return finish


def train_networks(
    run: RunDir,
    training: Training,
    model: Model,
    frozen: Frozen,
    dataset: Dataset,
    config: OptimizerConfig,
    placement: Placement,
    phase: str = "train",
    finish: Finish | None = None,
    num_kept: int = 0,
) -> TrainState:
    """Train the networks of a sweep, resuming what the run directory holds; some may fail.

    Parameters
    ----------
    frozen : constants of networks that have none of their own.
    finish : what is done with the networks of a round, see ``run_sweep``.
    num_kept : networks whose weights ``finish`` is still to write.

    Returns
    -------
    TrainState of the last round with a leading [network] axis, on its devices.

    Raises
    ------
    InputError
        If the disk is too small.
    DivergedError
        If every loss leaves the finite numbers, where all networks train in one round.
    """
    epoch = steps_per_epoch(config, len(dataset.train.targets))
    shape = jax.eval_shape(model.init, jax.random.key(0), frozen)
    kept = trees.num_bytes(shape) * num_kept
    require_space(run.path, 10 * placement.size * trees.num_bytes(shape) + kept)
    one = jax.tree.map(lambda leaf: leaf[0], training.members)
    flops = flops_per_step(training.trainer, one, frozen, dataset.train)
    print(
        f"{placement}; {trees.num_entries(shape):,} trainable parameters, "
        f"{_describe_cost(config, epoch, placement.total, flops)}"
        + (f"; weights to write take {kept / 1e6:,.1f} MB" if kept else ""),
        flush=True,
    )
    return run_sweep(
        run,
        training.trainer,
        training.init_members,
        training.members,
        frozen,
        dataset.train,
        placement,
        config.num_epochs,
        run.settle(f"{phase}_epochs_per_chunk", epochs_per_chunk(dataset.train, epoch)),
        may_fail=True,
        phase=phase,
        finish=finish,
    )


def _describe_cost(
    config: OptimizerConfig, steps_per_epoch: int, num_networks: int, flops_per_step: float | None
) -> str:
    least, most = shortest(config).num_epochs, config.num_epochs
    steps = f"{most if least == most else f'{least} to {most}'} epochs of {steps_per_epoch} steps"
    if flops_per_step is None:
        return steps
    total = flops_per_step * (least + most) / 2 * steps_per_epoch * num_networks
    return f"{steps} of {flops_per_step / 1e6:,.3g} MFLOP: {total / 1e9:,.4g} GFLOP in all"
