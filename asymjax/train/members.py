"""How the networks of a sweep are trained: the trainer of all, and what each has of its own, as drawn recipes."""

from collections.abc import Collection
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.models import vary_frozen
from asymjax.rng import SeedConfig
from asymjax.train.losses import TASK_LOSSES, smoothed_cross_entropy
from asymjax.train.optimizers import (
    ELEMENTWISE,
    OptimizerConfig,
    draw_recipe,
    make_optimizer,
    shortest,
    with_values,
)
from asymjax.train.trainer import Member, Trainer, initial_position, make_train, make_varied
from asymjax.types import Dataset, Frozen, Hyper, Key, Model, Position, PyTree

Start = Literal["own", "shared"]
Seeds = SeedConfig | Key
"""Seeds, or one key in place of that of both."""


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
    epoch = steps_per_epoch(config, len(dataset.train.targets))

    def make(own: OptimizerConfig) -> Trainer:
        num_steps = own.num_epochs * epoch
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


def steps_per_epoch(config: OptimizerConfig, num_rows: int) -> int:
    """Return the optimizer steps of one pass over so many rows.

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


def _recipe_key(key: Key) -> Key:
    return rng.named_key(key, "recipe")


def initial_keys(seeds: Seeds, num_seeds: int) -> Key:
    """Return the keys of the initial positions of the networks of a sweep [seed]."""
    one = rng.role_key(seeds.init_seed, "init") if isinstance(seeds, SeedConfig) else rng.named_key(seeds, "init")
    return rng.member_keys(one, num_seeds)


def train_keys(seeds: Seeds, num_seeds: int) -> Key:
    """Return the keys of the order of rows, and of drawn recipes, of the networks of a sweep [seed]."""
    one = rng.role_key(seeds.seed, "train") if isinstance(seeds, SeedConfig) else rng.named_key(seeds, "train")
    return rng.member_keys(one, num_seeds)


def initial_positions(model: Model, frozen: Frozen, seeds: Seeds, num_seeds: int) -> Position:
    """Return where the training of each network of a sweep begins, leaves [seed, ...]."""
    return jax.jit(jax.vmap(partial(initial_position, model), (0, None)))(initial_keys(seeds, num_seeds), frozen)


def drawn_recipes(config: OptimizerConfig, seeds: Seeds, num_seeds: int) -> dict[str, np.ndarray]:
    """Return what was drawn for each network of a sweep, float32 [seed] by name; nothing of a shared recipe."""
    if config.recipe == "shared":
        return {}
    keys = train_keys(seeds, num_seeds)
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
    seeds: Seeds,
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
    init_keys = initial_keys(seeds, num_seeds)
    init_keys = init_keys if start == "own" else init_keys[np.zeros(num_seeds, int)]
    return Training(len(seed_of), trainer, members(init_keys), members(train_keys(seeds, num_seeds)))
