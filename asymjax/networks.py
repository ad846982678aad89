"""Sweeps of networks in memory, and what lies between them: alignment and barriers."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.inference.posterior import read_rows
from asymjax.lab import devices
from asymjax.lab.recorder import InMemory
from asymjax.lab.sweep import run_sweep
from asymjax.models import checked_frozen
from asymjax.symmetry import alignment, connectivity
from asymjax.symmetry.permutations import gates_of
from asymjax.train import make_train
from asymjax.train.losses import TASK_LOSSES
from asymjax.train.optimizers import OptimizerConfig
from asymjax.types import Frozen, Key, Model, Params, Position

NUM_LOSSES = 100


class Trained(NamedTuple):
    """Networks of a sweep, host arrays.

    Attributes
    ----------
    position : trainable leaves [seed, ...].
    params : their effective weights [seed, ...].
    losses : [seed, point], the mean training loss of the epochs ``epochs``; NaN from where a network diverged.
    epochs : int [point], from 1.
    frozen : the constants of all.
    """

    position: Position
    params: Params
    losses: np.ndarray
    epochs: np.ndarray
    frozen: Frozen


def train_sweep(
    key: Key,
    model: Model,
    data: Any,
    *,
    num_seeds: int = 8,
    num_epochs: int = 25,
    batch_size: int | None = 64,
    optimizer: optax.GradientTransformation | None = None,
    frozen: Frozen | None = None,
    show_progress: bool = True,
) -> Trained:
    """Train networks of one model from several initialisations, side by side, in memory.

    Keys and kernels are those of ``runs/train_sweep.py`` with that seed, in coordinates of the position.

    Parameters
    ----------
    key : of initial positions and of the order of rows, ``jax.random.key(0)``.
    model : the network.
    data : ``(X, y)``, or what else :func:`~asymjax.make_posterior` takes; class indices make cross-entropy the loss,
        and other numbers the squared error.
    num_seeds : networks.
    num_epochs, batch_size : passes over the rows, and rows a step; None takes all rows.
    optimizer : of Optax, acting on positions. Default: AdamW with learning rate 0.001.
    frozen : constants of the network. Default: those of mask seed 0.
    show_progress : whether to show a bar.

    Raises
    ------
    InputError
        If data are damaged, rows do not fill a batch, or a number or the key is none.
    DivergedError
        If every network's loss leaves the finite numbers.

    Examples
    --------
    >>> import jax, numpy as np, asymjax
    >>> from flax import linen as nn
    >>> model = asymjax.from_flax(nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(1)]), np.zeros((2, 2), np.float32))
    >>> X = np.random.default_rng(0).normal(size=(64, 2))
    >>> options = {"num_seeds": 2, "num_epochs": 3, "batch_size": 32, "show_progress": False}
    >>> asymjax.train_sweep(jax.random.key(0), model, (X, X[:, :1]), **options).losses.shape
    (2, 3)
    """
    split, kind, _ = read_rows(model, data)
    OptimizerConfig.require("num_epochs", num_epochs)
    OptimizerConfig.require("batch_size", batch_size)
    if batch_size is not None and batch_size > len(split.targets):
        raise InputError(f"batch_size is {batch_size}, but there are {len(split.targets)} rows; give at most as many")
    frozen = checked_frozen(model, frozen)
    trainer = make_train(model, TASK_LOSSES[kind.task], optimizer or optax.adamw(1e-3), num_epochs, batch_size)
    run, placement, key = InMemory(show_progress), devices.place(num_seeds), rng.checked_key(key)
    init_keys, keys = (rng.member_keys(rng.named_key(key, role), num_seeds) for role in ("init", "train"))
    per_chunk = max(1, num_epochs // NUM_LOSSES)
    state = run_sweep(run, trainer, init_keys, keys, frozen, split, placement, num_epochs, per_chunk, may_fail=True)
    position = jax.tree.map(np.asarray, state.position)
    params = jax.tree.map(np.asarray, jax.jit(jax.vmap(model.merge, (0, None)))(position, frozen))
    losses = np.stack([line["loss"] for line in run.metrics], axis=1)
    epochs = np.arange(1, losses.shape[1] + 1) * (num_epochs // losses.shape[1])
    return Trained(position, params, losses, epochs, frozen)


def align(model: Model, reference: Params, params: Params, frozen: Frozen | None = None) -> alignment.Aligned:
    """Permute the units of a network, or of each of several, so that its weights match those of a reference.

    By weight matching (Ainsworth et al. 2023, arXiv 2209.04836, algorithm 1), from two starts: see
    :func:`asymjax.symmetry.weight_matching`.

    Parameters
    ----------
    model : the model of all.
    reference : effective weights, which stay as they are.
    params : effective weights of a network, or leaves [network, ...] of several, as of ``Trained.params``.
    frozen : constants of the networks. Default: those of mask seed 0.

    Returns
    -------
    ``params``, permuted; ``frozen``, with which they are the function that they were; and the ``departure`` from the
    model's own set, 0 for a standard network. Of several networks, all with leaves [network, ...].

    Raises
    ------
    InputError
        If the networks have other parameters than the reference.

    Examples
    --------
    >>> import jax, numpy as np, asymjax
    >>> from flax import linen as nn
    >>> model = asymjax.from_flax(nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(1)]), np.zeros((2, 2), np.float32))
    >>> a, b = (model.init(jax.random.key(seed), {}) for seed in (0, 1))
    >>> float(asymjax.align(model, a, b).departure)
    0.0
    >>> asymjax.align(model, a, jax.tree.map(lambda *leaves: np.stack(leaves), a, b)).departure.shape
    (2,)
    """
    frozen = checked_frozen(model, frozen)
    one, several = (list(map(np.shape, jax.tree.leaves(tree))) for tree in (reference, params))
    if not one or len(one) != len(several) or any(shape[1:] != like for shape, like in zip(several, one, strict=True)):
        matching = alignment.weight_matching(model.permutation_spec, reference, params)
        return alignment.align(model, params, frozen, matching.permutations)
    return alignment.align_all(model, reference, params, frozen)


def barriers(
    model: Model, params: Params, data: Any, frozen: Frozen | None = None, num_points: int = 25
) -> dict[str, np.ndarray]:
    """Measure how far the loss rises on the straight paths between all pairs of networks.

    Parameters
    ----------
    model : the model of all.
    params : effective weights, leaves [network, ...], of two networks or more.
    data : ``(X, y)``, or what else :func:`~asymjax.make_posterior` takes.
    frozen : constants of the networks. Default: those of mask seed 0. After :func:`align` of a stack give its
        ``frozen``, leaves [network, ...]: each network has the gates with which it is its function, and gates move
        along the paths as weights do.
    num_points : points on each path, odd, both ends included.

    Returns
    -------
    ``pairs`` int [pair, 2]; ``loss`` [pair, point], the mean cross-entropy or squared error; and the barriers
    ``midpoint`` and ``maximum`` [pair] of :func:`asymjax.symmetry.connectivity.barriers`.

    Examples
    --------
    >>> import jax, numpy as np, asymjax
    >>> from flax import linen as nn
    >>> model = asymjax.from_flax(nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(1)]), np.zeros((2, 2), np.float32))
    >>> networks = jax.vmap(lambda key: model.init(key, {}))(jax.random.split(jax.random.key(0), 3))
    >>> X = np.random.default_rng(0).normal(size=(10, 2))
    >>> asymjax.barriers(model, networks, (X, X[:, :1]), num_points=3)["maximum"].shape
    (3,)
    """
    split, kind, _ = read_rows(model, data)
    count = _count(model, params)
    pairs, points = connectivity.all_pairs(count), connectivity.grid(num_points)
    if not len(pairs):
        raise InputError(f"params hold {count} network; barriers lie between two or more")
    frozen, gates = _constants(model, frozen, count)
    measure = jax.jit(partial(connectivity.losses_between, model, kind.task, points))
    loss = np.asarray(measure(jnp.asarray(pairs), (params, gates), frozen, connectivity.in_batches(split)))
    return {"pairs": pairs, "loss": loss, **connectivity.barriers(points, loss)}


def _constants(model: Model, frozen: Frozen | None, count: int) -> tuple[Frozen, Any]:
    """Return the constants of networks, and of those that each has of its own the gates, leaves [network, ...]."""
    wanted = trees.flatten(jax.eval_shape(model.freeze, jax.random.key(0)))
    given = trees.flatten(frozen) if isinstance(frozen, dict) else {}
    if given and {path: np.shape(leaf) for path, leaf in given.items()} == {
        path: (count, *like.shape) for path, like in wanted.items()
    }:
        return jax.tree.map(lambda leaf: leaf[0], frozen), gates_of(frozen or {})
    return checked_frozen(model, frozen), None


def _count(model: Model, params: Params) -> int:
    """Return how many networks parameters hold, leaves [network, ...].

    Raises
    ------
    InputError
        If they are not those of the model, or not as many in every leaf.
    """
    wanted = {path: leaf.shape for path, leaf in trees.flatten(model.params_shape).items()}
    given = {path: np.shape(leaf) for path, leaf in trees.flatten(params).items()} if isinstance(params, dict) else {}
    if {path: shape[1:] for path, shape in given.items()} != wanted or len({shape[:1] for shape in given.values()}) > 1:
        raise InputError(f"params have leaves {given}; give those of the model, {wanted}, with [network] before each")
    return next(iter(given.values()))[0]
