"""Zoos in memory: networks of the user's own model, trained by drawn recipes on arrays of their own."""

from typing import Any

import jax
import numpy as np

from asymjax import rng
from asymjax.errors import InputError
from asymjax.inference.posterior import read_rows
from asymjax.lab import devices
from asymjax.lab.evaluate import make_evaluate
from asymjax.lab.recorder import InMemory
from asymjax.lab.sweep import epochs_per_chunk, fitting_round, run_sweep, why_failed
from asymjax.metanets.zoo import MIN_NETWORKS, Zoo, finite_zoo
from asymjax.models import checked_frozen
from asymjax.train.members import Start, Training, make_training, steps_per_epoch
from asymjax.train.optimizers import OptimizerConfig
from asymjax.train.trainer import TrainState
from asymjax.types import Dataset, Frozen, Key, Model, Split

SMOOTHING = 0.2
"""Of classes, as in Lim et al. (2024)."""


def train_zoo(
    key: Key,
    model: Model,
    data: Any,
    *,
    validation: Any = None,
    test: Any = None,
    num_networks: int = 1000,
    learning_rate: float = 0.1,
    weight_decay: float = 0.1,
    label_smoothing: float | None = None,
    min_epochs: int = 1,
    num_epochs: int = 10,
    batch_size: int | None = 32,
    start: Start = "own",
    frozen: Frozen | None = None,
    show_progress: bool = True,
) -> Zoo:
    """Train a zoo in memory: networks of one model, each by AdamW with a recipe drawn for it, and score each.

    Networks are those of ``runs/zoo.py`` with that seed, on the same rows. Recipes are drawn as in Lim et al. (2024):
    the largest learning rate times 10^-U(0, 2), the largest decay times 10^-U(0, 4), the largest smoothing times
    U(0, 1), and a whole number of epochs, all alike likely.

    Parameters
    ----------
    key : of initial positions, recipes and the order of rows, ``jax.random.key(0)``.
    model : the network.
    data : training rows ``(X, y)``, or what else :func:`~asymjax.make_posterior` takes, as the network sees them; class
        indices make cross-entropy the loss, and other numbers the squared error.
    validation, test : further rows that networks are scored on, likewise. Default: none, or those of a ``Dataset``.
    num_networks : networks, 40 at least.
    learning_rate, weight_decay : the largest.
    label_smoothing : the largest. Default: 0.2 of classes, else 0.
    min_epochs, num_epochs : the shortest and the longest training.
    batch_size : rows a step; None takes all.
    start : where networks begin: each at its ``"own"`` initialisation, or at a ``"shared"`` one, that of the first.
    frozen : constants of the network. Default: those of mask seed 0.
    show_progress : whether to show a bar.

    Returns
    -------
    The networks whose parameters and scores are finite; ``excluded`` names the others. ``scores`` has ``"train.loss"``
    and the like of all rows there are, and of classes ``"train.accuracy"``.

    Raises
    ------
    InputError
        If data are damaged, rows do not fill a batch, a number or the key is none, or fewer than 40 networks are
        finite.
    DivergedError
        If every loss leaves the finite numbers.

    Examples
    --------
    >>> import jax, numpy as np, asymjax
    >>> from flax import linen as nn
    >>> model = asymjax.from_flax(nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)]), np.zeros((2, 3), np.float32))
    >>> X = np.random.default_rng(0).normal(size=(64, 3))
    >>> y = (X[:, 0] > 0).astype(int)
    >>> options = {"test": (X[:32], y[:32]), "num_networks": 40, "num_epochs": 2, "show_progress": False}
    >>> zoo = asymjax.train_zoo(jax.random.key(0), model, (X, y), **options)
    >>> zoo.target("test.accuracy").shape
    (40,)
    """
    frozen, key = checked_frozen(model, frozen), rng.checked_key(key)
    dataset = _dataset(model, frozen, data, validation, test)
    placed = devices.place(num_networks)  # Refuses what is no number.
    if placed.total < MIN_NETWORKS:
        raise InputError(f"num_networks is {num_networks}; a zoo takes {MIN_NETWORKS} at least")
    smoothing = label_smoothing if label_smoothing is not None else SMOOTHING * (dataset.task == "classification")
    config = OptimizerConfig(
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        label_smoothing=smoothing,
        recipe="drawn",
        min_epochs=min_epochs,
        num_epochs=num_epochs,
        batch_size=batch_size,
    )
    training = make_training(model, dataset, config, key, np.arange(placed.total), {}, start)
    return _train(training, model, frozen, dataset, config, show_progress)


def _train(
    training: Training, model: Model, frozen: Frozen, dataset: Dataset, config: OptimizerConfig, show_progress: bool
) -> Zoo:
    """Train networks in rounds that fit the memory, and score those of each round where they lie."""
    one = jax.tree.map(lambda leaf: leaf[0], training.members)
    size = fitting_round(training.trainer, one, frozen, dataset.train, "auto")
    placement = devices.place(training.num_networks, max_size=size)
    evaluate, rounds = make_evaluate(model, dataset, placement), []

    def finish(members: np.ndarray, is_new: np.ndarray, state: TrainState) -> None:
        scores = evaluate.score(state.position, frozen, {})
        own = (jax.tree.map(np.asarray, state.position), scores, np.asarray(state.failed_step))
        rounds.append(jax.tree.map(lambda leaf: leaf[is_new], own))

    run_sweep(
        InMemory(show_progress),
        training.trainer,
        training.init_members,
        training.members,
        frozen,
        dataset.train,
        placement,
        config.num_epochs,
        epochs_per_chunk(dataset.train, steps_per_epoch(config, len(dataset.train.targets))),
        may_fail=True,
        finish=finish,
    )
    position, scores, failed_step = jax.tree.map(lambda *leaves: np.concatenate(leaves), *rounds)
    recipes = {name: np.asarray(values) for name, values in training.members.hyper.items()}
    return finite_zoo(model, frozen, position, scores, recipes, why_failed(failed_step), "what was trained")


def _dataset(model: Model, frozen: Frozen, data: Any, validation: Any, test: Any) -> Dataset:
    """Return rows as the network sees them, in three splits; those that are not given have no rows."""
    split, kind, _ = read_rows(model, data)

    def read(given: Any, own: str) -> Split:
        if given is not None:
            return read_rows(model, given, kind)[0]
        return getattr(data, own) if isinstance(data, Dataset) else split.take(slice(0))

    others = read(validation, "validation"), read(test, "test")
    if isinstance(data, Dataset):
        return data._replace(train=split, validation=others[0], test=others[1])
    outputs = jax.eval_shape(lambda key: model.apply(model.init(key, frozen), frozen, model.example), jax.random.key(0))
    mean, scale = np.zeros(outputs.shape[-1]), np.ones(outputs.shape[-1])
    return Dataset("data", kind.task, split, *others, outputs.shape[-1], (), mean, scale, "")
