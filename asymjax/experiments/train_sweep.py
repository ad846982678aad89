"""A sweep over seeds: independent networks of one model, trained side by side, each scored on its own."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asymjax import rng, trees
from asymjax.config import DataConfig, ModelConfig, OptimizerConfig, RunConfig, SeedConfig
from asymjax.errors import InputError
from asymjax.experiments.grid import Point
from asymjax.experiments.opening import describe, open_experiment
from asymjax.models import vary_frozen
from asymjax.parallel import Placement
from asymjax.rundir import RunDir, require_space
from asymjax.train import make_optimizer, make_train, run_sweep
from asymjax.train.losses import TASK_LOSSES, smoothed_cross_entropy
from asymjax.train.optimizers import ELEMENTWISE, draw_recipe, with_values
from asymjax.train.sweep import failures
from asymjax.train.trainer import Member, Trainer, TrainState, initial_position, make_varied
from asymjax.types import Dataset, Frozen, Graph, Hyper, Key, Model, Position, PyTree, Split

STEPS_PER_CHUNK = 500
NODES_PER_CHUNK = 100_000  # A step on a graph passes all its nodes.
ROWS_PER_BATCH = 1000


def run_train_sweep(
    data_config: DataConfig,
    model_config: ModelConfig,
    config: OptimizerConfig,
    seeds: SeedConfig,
    num_seeds: int,
    run_config: RunConfig,
    point: Point | None = None,
) -> Path:
    """Train one network a seed and write a run directory; resumes one that is not finished.

    Parameters
    ----------
    point : the networks where their settings vary, of these model and training; without it, one a seed.

    Returns
    -------
    The run directory; ``checkpoints/train`` holds positions with a leading [network] axis, summary.json the metrics,
    the status and, of a point, the coordinates of every network.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If every seed's loss leaves the finite numbers.
    StopRequestedError
        If SIGTERM came.
    """
    settings: dict[str, Any] = {"optimizer": config, "seeds": seeds, "num_seeds": num_seeds}
    hyper, seed_of = (point.hyper, point.coordinates["seed"]) if point else ({}, np.arange(num_seeds))
    varied = {"coordinates": point.coordinates} if point and hyper else {}
    opening = open_experiment(
        "train_sweep", config.optimizer, data_config, model_config, settings | varied, len(seed_of), run_config
    )
    dataset, model, frozen, _, placement, run = opening
    state = train_networks(run, model, frozen, dataset, config, seeds, placement, hyper=hyper, seed_of=seed_of)
    failed = failures(state)
    summary = describe(opening, data_config, model_config, config.trained) | {
        "num_seeds": num_seeds,
        "status": [f"not finite at step {failed[i]}" if i in failed else "ok" for i in range(len(seed_of))],
        **varied,
    }
    for split in ("train", "validation", "test"):
        summary[split] = evaluate_members(model, frozen, state.position, dataset, getattr(dataset, split), hyper)
    if recipes := drawn_recipes(config, seeds, num_seeds):
        summary["recipes"] = recipes
    summary["seconds"] = {kind: run.seconds.get(kind, 0.0) for kind in ("compile", "train")}
    run.finish(summary)
    return run.path


def make_trainer(model: Model, dataset: Dataset, config: OptimizerConfig, hyper_names: Collection[str] = ()) -> Trainer:
    """Build the training of one network of a model on a dataset.

    Parameters
    ----------
    hyper_names : settings that each network has of its own, learning_rate, weight_decay, label_smoothing or those of
        ``vary_frozen``; where there are any, the trainer takes a ``Member`` in place of a key.

    Raises
    ------
    InputError
        If there are fewer rows than a batch needs, or labels of a regression are to be smoothed.
    """
    is_smoothed = config.label_smoothing != 0 or "label_smoothing" in hyper_names
    if is_smoothed and dataset.task != "classification":
        given = config.label_smoothing or "varied"
        raise InputError(f"label_smoothing is {given}, but {dataset.name} has no classes; give 0")
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


def members(keys: Key, hyper: Hyper) -> PyTree:
    """Return what a trainer takes for each network: its key [network], with its settings [network] where it has any."""
    return Member(keys, hyper) if hyper else keys


def train_networks(
    run: RunDir,
    model: Model,
    frozen: Frozen,
    dataset: Dataset,
    config: OptimizerConfig,
    seeds: SeedConfig,
    placement: Placement,
    phase: str = "train",
    hyper: Hyper | None = None,
    seed_of: np.ndarray | None = None,
) -> TrainState:
    """Train one network a seed, resuming what the run directory holds; some may fail.

    Parameters
    ----------
    frozen : constants of networks that have none of their own.
    hyper : settings that networks have of their own [network], beside the recipes that are drawn for them.
    seed_of : int [network] which seed each has; by default the i-th network the i-th.

    Returns
    -------
    TrainState with a leading [network] axis.

    Raises
    ------
    InputError
        If there are fewer rows than a batch needs, or the disk is too small.
    DivergedError
        If every seed's loss leaves the finite numbers.
    """
    steps_per_epoch = _steps_per_epoch(config, len(dataset.train.targets))
    seed_of = np.arange(placement.size) if seed_of is None else seed_of
    num_seeds = int(seed_of.max()) + 1
    drawn = {name: values[seed_of] for name, values in drawn_recipes(config, seeds, num_seeds).items()}
    hyper = drawn | (hyper or {})
    shape = jax.eval_shape(model.init, jax.random.key(0), frozen)
    require_space(run.path, 10 * placement.size * trees.num_bytes(shape))
    print(
        f"{placement}; {trees.num_entries(shape):,} trainable parameters, "
        f"{config.num_epochs} epochs of {steps_per_epoch} steps",
        flush=True,
    )
    return run_sweep(
        run,
        make_trainer(model, dataset, config, hyper),
        members(_init_keys(seeds, num_seeds)[seed_of], hyper),
        members(_train_keys(seeds, num_seeds)[seed_of], hyper),
        frozen,
        dataset.train,
        placement,
        config.num_epochs,
        _epochs_per_chunk(dataset.train, steps_per_epoch),
        may_fail=True,
        phase=phase,
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


def evaluate_members(
    model: Model, frozen: Frozen, positions: Position, dataset: Dataset, split: Split, hyper: Hyper | None = None
) -> dict[str, list[float]] | None:
    """Return loss and, for classifiers, accuracy of every member [network] on a split; None if it has no rows.

    ``hyper`` are settings that networks have of their own, [network].
    """
    if len(split.targets) == 0:
        return None
    loss = TASK_LOSSES[dataset.task]

    def one(member: tuple[Position, Hyper], rows: Split) -> dict[str, jax.Array]:
        position, own = member[0], vary_frozen(model, frozen, member[1])
        metrics = {"loss": loss(model.apply, position, own, rows)}
        if dataset.task == "classification":
            predicted = jnp.argmax(model.apply(position, own, rows.inputs), axis=-1)
            metrics["accuracy"] = jnp.mean(predicted == rows.targets)
        return metrics

    evaluate = jax.jit(lambda members, rows: lax.map(partial(one, rows=rows), members))
    totals: dict[str, np.ndarray] = {}
    for start in range(0, len(split.targets), ROWS_PER_BATCH):
        rows = jax.tree.map(jnp.asarray, split.take(slice(start, start + ROWS_PER_BATCH)))
        for name, values in evaluate((positions, hyper or {}), rows).items():
            weight = rows.targets.shape[0] / len(split.targets)
            totals[name] = totals.get(name, 0.0) + weight * np.asarray(values, np.float64)
    return {name: values.tolist() for name, values in totals.items()}
