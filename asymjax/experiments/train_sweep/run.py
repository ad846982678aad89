"""A sweep over seeds: independent networks of one model, trained side by side, each scored on its own."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.experiments.grid import Program
from asymjax.experiments.setup import describe, open_experiment
from asymjax.experiments.train_sweep.config import Config, Start
from asymjax.lab import devices, processes
from asymjax.lab.devices import Placement
from asymjax.lab.results import NETWORKS, NOT_TRAINED, RESULTS, flatten_names, open_networks, read_arrays
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import RunDir, require_space
from asymjax.lab.sweep import Finish, fitting_round, flops_per_step, run_sweep
from asymjax.models import vary_frozen
from asymjax.rng import SeedConfig
from asymjax.train import make_optimizer, make_train
from asymjax.train.losses import TASK_LOSSES, smoothed_cross_entropy
from asymjax.train.optimizers import ELEMENTWISE, OptimizerConfig, draw_recipe, shortest, with_values
from asymjax.train.trainer import Member, Trainer, TrainState, initial_position, make_varied
from asymjax.types import Dataset, Frozen, Graph, Hyper, Key, Model, Position, PyTree, Split

# Between checkpoints; an accelerator takes them in seconds, too.
STEPS_PER_CHUNK, ACCELERATED_STEPS_PER_CHUNK = 500, 10_000
NODES_PER_CHUNK = 100_000  # A step on a graph passes all its nodes.
ROWS_PER_BATCH = 1000
SPLITS = ("train", "validation", "test")
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
    num_kept = int(np.sum(open_networks(run.path)["failed_step"] == NOT_TRAINED)) if config.keep_weights else 0
    train_networks(run, training, model, frozen, dataset, optimizer, placement, finish=finish, num_kept=num_kept)
    description = describe(opening, config.data, variant.model, optimizer.trained)
    run.finish(lambda: (description | {"num_seeds": config.num_seeds} | summarise_sweep(run, coordinates), {}))
    return run.path


def _place_rounds(
    run: RunDir, training: "Training", frozen: Frozen, dataset: Dataset, run_config: RunConfig
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
    if num_missing := int(np.sum(networks["failed_step"] == NOT_TRAINED)):
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


def make_trainer(model: Model, dataset: Dataset, config: OptimizerConfig, hyper_names: Collection[str] = ()) -> Trainer:
    """Build the training of one network of a model on a dataset.

    Parameters
    ----------
    hyper_names : settings that each network has of its own, learning_rate, weight_decay, label_smoothing, num_epochs
        (up to the configured one) or those of ``vary_frozen``; where there are any, the trainer takes a ``Member`` in
        place of a key.

    Raises
    ------
    InputError
        If a number of the configuration cannot be, there are fewer rows than a batch needs, or labels of a regression
        are to be smoothed.
    """
    is_smoothed = config.label_smoothing != 0 or "label_smoothing" in hyper_names
    if is_smoothed and dataset.task != "classification":
        given = config.label_smoothing or "varied"
        raise InputError(f"label_smoothing is {given}, but {dataset.name} has no classes; give 0")
    steps_per_epoch = _steps_per_epoch(config, len(dataset.train.targets))

    def make(own: OptimizerConfig) -> Trainer:
        num_steps = own.num_epochs * steps_per_epoch
        return make_train(
            model,
            smoothed_cross_entropy(own.label_smoothing) if is_smoothed else TASK_LOSSES[dataset.task],
            make_optimizer(own, num_steps),
            config.num_epochs,
            config.batch_size,
            in_effective_weights=config.optimizer in ELEMENTWISE,
            last_step=jnp.asarray(num_steps) if "num_epochs" in hyper_names else None,
        )

    # Even where it is not the one: it refuses what does not fit before anything is traced.
    trainer = make(shortest(config))
    if not hyper_names:
        return trainer
    return make_varied(lambda hyper: make(with_values(config, hyper)), partial(vary_frozen, model))


def _recipe_key(key: Key) -> Key:
    return rng.named_key(key, "recipe")


def _init_keys(seeds: SeedConfig, num_seeds: int) -> Key:
    return rng.member_keys(rng.role_key(seeds.init_seed, "init"), num_seeds)


def _train_keys(seeds: SeedConfig, num_seeds: int) -> Key:
    return rng.member_keys(rng.role_key(seeds.seed, "train"), num_seeds)


def initial_positions(model: Model, frozen: Frozen, seeds: SeedConfig, num_seeds: int) -> Position:
    """Return where the training of each network of a sweep begins, leaves [seed, ...]."""
    return jax.jit(jax.vmap(partial(initial_position, model), (0, None)))(_init_keys(seeds, num_seeds), frozen)


def drawn_recipes(config: OptimizerConfig, seeds: SeedConfig, num_seeds: int) -> dict[str, np.ndarray]:
    """Return what was drawn for each network of a sweep, float32 [seed] by name; nothing of a shared recipe."""
    if config.recipe == "shared":
        return {}
    keys = _train_keys(seeds, num_seeds)
    # One after the other, so that nothing depends on how many there are.
    return trees.to_host(jax.jit(lambda keys: lax.map(lambda key: draw_recipe(config, _recipe_key(key)), keys))(keys))


class Training(NamedTuple):
    """How the networks of a sweep are trained.

    Attributes
    ----------
    num_networks : networks.
    trainer : training of one.
    init_members, members : what the trainer takes for each [network]: its key for the start and for the order of the
        rows, with the settings that it has of its own, if any.
    """

    num_networks: int
    trainer: Trainer
    init_members: PyTree
    members: PyTree


def make_training(
    model: Model,
    dataset: Dataset,
    config: OptimizerConfig,
    seeds: SeedConfig,
    seed_of: np.ndarray,
    hyper: Hyper,
    start: Start = "own",
) -> Training:
    """Prepare the training of the networks of a sweep.

    Parameters
    ----------
    seed_of : int [network] which seed each has.
    hyper : settings that networks have of their own [network], beside the recipes that are drawn for them.
    start : ``"own"``, or ``"shared"`` for networks that all begin where that of the first seed does.

    Raises
    ------
    InputError
        If a number of the configuration cannot be, there are fewer rows than a batch needs, or labels of a regression
        are to be smoothed.
    """
    num_seeds = int(seed_of.max()) + 1
    hyper = {name: values[seed_of] for name, values in drawn_recipes(config, seeds, num_seeds).items()} | hyper

    def members(keys: Key) -> PyTree:
        return Member(keys[seed_of], hyper) if hyper else keys[seed_of]

    trainer = make_trainer(model, dataset, config, hyper)
    init_keys = _init_keys(seeds, num_seeds)
    init_keys = init_keys if start == "own" else init_keys[np.zeros(num_seeds, int)]
    return Training(len(seed_of), trainer, members(init_keys), members(_train_keys(seeds, num_seeds)))


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
    steps_per_epoch = _steps_per_epoch(config, len(dataset.train.targets))
    shape = jax.eval_shape(model.init, jax.random.key(0), frozen)
    kept = trees.num_bytes(shape) * num_kept
    require_space(run.path, 10 * placement.size * trees.num_bytes(shape) + kept)
    one = jax.tree.map(lambda leaf: leaf[0], training.members)
    flops = flops_per_step(training.trainer, one, frozen, dataset.train)
    print(
        f"{placement}; {trees.num_entries(shape):,} trainable parameters, "
        f"{_describe_cost(config, steps_per_epoch, placement.total, flops)}"
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
        run.settle(f"{phase}_epochs_per_chunk", _epochs_per_chunk(dataset.train, steps_per_epoch)),
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


def _steps_per_epoch(config: OptimizerConfig, num_rows: int) -> int:
    """Return the optimizer steps of one pass.

    Raises
    ------
    InputError
        If there are fewer rows than a batch needs.
    """
    if config.batch_size is None:
        return 1
    if num_rows < config.batch_size:
        raise InputError(
            f"batch_size is {config.batch_size}, there are {num_rows} training rows; give 1 to {num_rows}, or None"
        )
    return num_rows // config.batch_size


def _epochs_per_chunk(data: Split, steps_per_epoch: int) -> int:
    scale = 1 if jax.default_backend() == "cpu" else ACCELERATED_STEPS_PER_CHUNK // STEPS_PER_CHUNK
    if isinstance(data.inputs, Graph):
        return max(1, scale * NODES_PER_CHUNK // len(data.inputs.features))
    return max(1, scale * STEPS_PER_CHUNK // steps_per_epoch)


class Evaluate(NamedTuple):
    """Scores of the networks of a program.

    Attributes
    ----------
    names : what is scored: ``"test.loss"`` and, of classifiers, ``"test.accuracy"``, of every split with rows.
    score : (positions on their devices, frozen, settings of their own) -> name -> float64 [network] of this process's
        networks.
    """

    names: list[str]
    score: Callable[[Position, Frozen, Hyper], dict[str, np.ndarray]]


def make_evaluate(model: Model, dataset: Dataset, placement: Placement) -> Evaluate:
    """Build the scoring of the networks of a program, where they lie."""
    loss, is_classifier = TASK_LOSSES[dataset.task], dataset.task == "classification"
    splits = {name: getattr(dataset, name) for name in SPLITS if len(getattr(dataset, name).targets)}

    def one(position: Position, hyper: Hyper, frozen: Frozen, rows: Split) -> dict[str, jax.Array]:
        own = vary_frozen(model, frozen, hyper)
        metrics = {"loss": loss(model.apply, position, own, rows)}
        if is_classifier:
            predicted = jnp.argmax(model.apply(position, own, rows.inputs), axis=-1)
            accuracy = jnp.mean(predicted == rows.targets)
            metrics["accuracy"] = jnp.where(jnp.isnan(metrics["loss"]), jnp.nan, accuracy)
        return metrics

    compiled = jax.jit(devices.map_leading(one, placement, [True, True, False, False]))
    put = partial(devices.put, placement=placement)

    def score(positions: Position, frozen: Frozen, hyper: Hyper) -> dict[str, np.ndarray]:
        totals: dict[str, np.ndarray] = {}
        hyper, frozen = put(hyper, is_mapped=True), put(frozen, is_mapped=False)
        for split, rows in splits.items():
            for start in range(0, len(rows.targets), ROWS_PER_BATCH):
                batch = jax.tree.map(jnp.asarray, rows.take(slice(start, start + ROWS_PER_BATCH)))
                weight = batch.targets.shape[0] / len(rows.targets)
                for metric, values in compiled(positions, hyper, frozen, put(batch, is_mapped=False)).items():
                    name = f"{split}.{metric}"
                    totals[name] = totals.get(name, 0.0) + weight * processes.local(values).astype(np.float64)
        return totals

    metrics = ("loss", "accuracy") if is_classifier else ("loss",)
    return Evaluate([f"{split}.{metric}" for split in splits for metric in metrics], score)
