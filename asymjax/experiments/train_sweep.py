"""A sweep over seeds: independent networks of one model, trained side by side, each scored on its own."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import hosts, parallel, rng, trees
from asymjax.config import DataConfig, ModelConfig, OptimizerConfig, RunConfig, SeedConfig
from asymjax.errors import InputError
from asymjax.experiments.opening import describe, open_experiment
from asymjax.parallel import Placement
from asymjax.rundir import RunDir, config_hash, require_space
from asymjax.store import STORE, create_store, flatten_names, read_networks, shares_chunks, write_networks
from asymjax.train import make_optimizer, make_train, run_sweep
from asymjax.train.losses import TASK_LOSSES, smoothed_cross_entropy
from asymjax.train.optimizers import ELEMENTWISE, draw_recipe, with_recipe
from asymjax.train.sweep import MAX_ROUND, Finish, failures, fitting_round
from asymjax.train.trainer import Trainer, TrainState, initial_position, make_varied
from asymjax.types import Dataset, Frozen, Graph, Key, Model, Position, Split

STEPS_PER_CHUNK = 500
NODES_PER_CHUNK = 100_000  # A step on a graph passes all its nodes.
ROWS_PER_BATCH = 1000
SPLITS = ("train", "validation", "test")


def run_train_sweep(
    data_config: DataConfig,
    model_config: ModelConfig,
    config: OptimizerConfig,
    seeds: SeedConfig,
    num_seeds: int,
    run_config: RunConfig,
    keep_weights: bool = True,
) -> Path:
    """Train one network a seed and write a run directory; resumes one that is not finished.

    Returns
    -------
    The run directory; networks.zarr holds metrics and, with ``keep_weights``, positions of all networks (see
    ``store.read_networks``), summary.json their metrics and the status of every seed.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If every loss of a round leaves the finite numbers.
    StopRequestedError
        If SIGTERM came.
    """
    settings = {"optimizer": config, "seeds": seeds, "num_seeds": num_seeds, "keep_weights": keep_weights}
    max_size = run_config.round_size or MAX_ROUND
    opening = open_experiment(
        "train_sweep", config.optimizer, data_config, model_config, settings, num_seeds, run_config, max_size=max_size
    )
    dataset, model, frozen, _, placement, run = opening
    trainer = make_trainer(model, dataset, config)
    key = _train_keys(seeds, 1)[0]
    fitting = run_config.round_size or fitting_round(trainer, key, frozen, dataset.train, run_config.placement)
    round_size = run.settle("round_size", fitting)
    placement = parallel.place(num_seeds, run_config.num_devices, run_config.placement, round_size)
    recipes = drawn_recipes(config, seeds, num_seeds)
    finish = make_finish(run, model, frozen, dataset, placement, {"seed": np.arange(num_seeds)} | recipes, keep_weights)
    train_networks(run, model, frozen, dataset, config, seeds, placement, finish=finish)
    description = describe(opening, data_config, model_config, config.trained)
    run.finish(lambda: (description | summarise_sweep(run, recipes), {}))
    return run.path


def summarise_sweep(run: RunDir, recipes: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return what summary.json says of the networks of a finished sweep."""
    networks = read_networks(run.path)
    failed = failures(networks["failed_step"].values)
    count = networks.sizes["network"]
    summary: dict[str, Any] = {
        "num_seeds": count,
        "status": [f"not finite at step {failed[seed]}" if seed in failed else "ok" for seed in range(count)],
    }
    for split in SPLITS:
        metrics = [name for name in networks if str(name).startswith(f"{split}.")]
        summary[split] = {str(name).partition(".")[2]: networks[name].values for name in metrics} or None
    if recipes:
        summary["recipes"] = recipes
    return summary | {"seconds": {kind: run.seconds.get(kind, 0.0) for kind in ("compile", "train")}}


def make_finish(
    run: RunDir,
    model: Model,
    frozen: Frozen,
    dataset: Dataset,
    placement: Placement,
    coordinates: Mapping[str, np.ndarray],
    keep_weights: bool,
) -> Finish:
    """Return what scores the networks of a round and writes them to the store of the run, each process its own rows.

    Raises
    ------
    InputError
        If the store there is another sweep's.
    """
    store = run.path / STORE
    evaluate = make_evaluate(model, dataset, placement)
    shape = jax.eval_shape(model.init, jax.random.key(0), frozen)
    variables: dict[str, Any] = {name: ((), np.float64) for name in evaluate.names}
    variables["failed_step"] = ((), np.int32)
    if keep_weights:
        variables |= {name: (leaf.shape, leaf.dtype) for name, leaf in flatten_names({"position": shape}).items()}
    chunk, identity = placement.size // placement.num_devices, config_hash(run.record["config"])
    hosts.lead(lambda: create_store(store, placement.count, chunk, variables, coordinates, identity))

    def finish(members: np.ndarray, is_new: np.ndarray, state: TrainState) -> None:
        start, stop = hosts.local_rows(state.failed_step)
        columns = evaluate.score(state.position, frozen) | {"failed_step": hosts.local(state.failed_step).astype(np.int32)}
        if keep_weights:
            columns |= flatten_names({"position": hosts.local(state.position)})
        own = is_new[start:stop]
        columns = {name: values[own] for name, values in columns.items()}

        def write() -> None:
            if own.any():
                write_networks(store, int(members[start:stop][own][0]), columns)

        boundaries = members[:: placement.size // jax.process_count()].tolist()
        hosts.in_turn(write, one_by_one=shares_chunks(store, boundaries))

    return finish


def make_trainer(model: Model, dataset: Dataset, config: OptimizerConfig) -> Trainer:
    """Build the training of one network of a model on a dataset.

    Raises
    ------
    InputError
        If there are fewer rows than a batch needs, or labels of a regression are to be smoothed.
    """
    is_smoothed = config.label_smoothing != 0
    if is_smoothed and dataset.task != "classification":
        raise InputError(f"label_smoothing is {config.label_smoothing}, but {dataset.name} has no classes; give 0")
    num_steps = config.num_epochs * _steps_per_epoch(config, len(dataset.train.targets))

    def make(config: OptimizerConfig) -> Trainer:
        return make_train(
            model,
            smoothed_cross_entropy(config.label_smoothing) if is_smoothed else TASK_LOSSES[dataset.task],
            make_optimizer(config, num_steps),
            config.num_epochs,
            config.batch_size,
            in_effective_weights=config.optimizer in ELEMENTWISE,
        )

    trainer = make(config)  # Even where it is not the one: it refuses what does not fit before anything is traced.
    if config.recipe == "shared":
        return trainer
    return make_varied(lambda key: make(with_recipe(config, draw_recipe(config, _recipe_key(key)))))


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
    return trees.to_host(jax.jit(jax.vmap(lambda key: draw_recipe(config, _recipe_key(key))))(keys))


def train_networks(
    run: RunDir,
    model: Model,
    frozen: Frozen,
    dataset: Dataset,
    config: OptimizerConfig,
    seeds: SeedConfig,
    placement: Placement,
    phase: str = "train",
    finish: Finish | None = None,
) -> TrainState:
    """Train one network a seed, resuming what the run directory holds; some may fail.

    Parameters
    ----------
    finish : what is done with the networks of a round, see ``run_sweep``.

    Returns
    -------
    TrainState of the last round with a leading [seed] axis, on its devices.

    Raises
    ------
    InputError
        If there are fewer rows than a batch needs, or the disk is too small.
    DivergedError
        If every loss of a round leaves the finite numbers.
    """
    steps_per_epoch = _steps_per_epoch(config, len(dataset.train.targets))
    shape = jax.eval_shape(model.init, jax.random.key(0), frozen)
    num_bytes = trees.num_bytes(shape) * (10 * placement.size + (placement.count if finish else 0))
    require_space(run.path, num_bytes)
    print(
        f"{placement}; {trees.num_entries(shape):,} trainable parameters, "
        f"{config.num_epochs} epochs of {steps_per_epoch} steps",
        flush=True,
    )
    return run_sweep(
        run,
        make_trainer(model, dataset, config),
        _init_keys(seeds, placement.count),
        _train_keys(seeds, placement.count),
        frozen,
        dataset.train,
        placement,
        config.num_epochs,
        _epochs_per_chunk(dataset.train, steps_per_epoch),
        may_fail=True,
        phase=phase,
        finish=finish,
    )


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
            f"batch_size is {config.batch_size}, there are {num_rows} training rows; lower it, or give None"
        )
    return num_rows // config.batch_size


def _epochs_per_chunk(data: Split, steps_per_epoch: int) -> int:
    if isinstance(data.inputs, Graph):
        return max(1, NODES_PER_CHUNK // len(data.inputs.features))
    return max(1, STEPS_PER_CHUNK // steps_per_epoch)


class Evaluate(NamedTuple):
    """Scores of the networks of a program.

    Attributes
    ----------
    names : what is scored: ``"test.loss"`` and, of classifiers, ``"test.accuracy"``, of every split with rows.
    score : (positions on their devices, frozen) -> name -> float64 [network] of this process's networks.
    """

    names: list[str]
    score: Callable[[Position, Frozen], dict[str, np.ndarray]]


def make_evaluate(model: Model, dataset: Dataset, placement: Placement) -> Evaluate:
    """Build the scoring of the networks of a program, where they lie."""
    loss, is_classifier = TASK_LOSSES[dataset.task], dataset.task == "classification"
    splits = {name: getattr(dataset, name) for name in SPLITS if len(getattr(dataset, name).targets)}

    def one(position: Position, frozen: Frozen, rows: Split) -> dict[str, jax.Array]:
        metrics = {"loss": loss(model.apply, position, frozen, rows)}
        if is_classifier:
            predicted = jnp.argmax(model.apply(position, frozen, rows.inputs), axis=-1)
            metrics["accuracy"] = jnp.mean(predicted == rows.targets)
        return metrics

    compiled = jax.jit(parallel.map_leading(one, placement, [True, False, False]))
    put = partial(parallel.put, placement=placement, is_mapped=False)

    def score(positions: Position, frozen: Frozen) -> dict[str, np.ndarray]:
        totals: dict[str, np.ndarray] = {}
        frozen = put(frozen)
        for split, rows in splits.items():
            for start in range(0, len(rows.targets), ROWS_PER_BATCH):
                batch = put(jax.tree.map(jnp.asarray, rows.take(slice(start, start + ROWS_PER_BATCH))))
                weight = batch.targets.shape[0] / len(rows.targets)
                for metric, values in compiled(positions, frozen, batch).items():
                    name = f"{split}.{metric}"
                    totals[name] = totals.get(name, 0.0) + weight * hosts.local(values).astype(np.float64)
        return totals

    metrics = ("loss", "accuracy") if is_classifier else ("loss",)
    return Evaluate([f"{split}.{metric}" for split in splits for metric in metrics], score)
