"""What falls along a path: functions of (key, position, data) to a number, plain enough to be the user's own.

What they need of data is an argument, so that one compiled program serves other data, other targets and other members.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.paths.attacks import pgd
from asymjax.paths.metric import refuse_graphs
from asymjax.sparse.masks import Mask, apply_mask, full_mask
from asymjax.sparse.pruning import prune
from asymjax.train.losses import TASK_LOSSES
from asymjax.types import Array, Frozen, Key, Model, Position, Split

Objective = Callable[[Key, Position, Any], Array]
"""(key, position, data) -> []; what is random in it is drawn by the key, one of each step."""
AWAY = 1e-6
"""How far beside its start the point lies that :func:`leave` flees; enough to have a direction there."""


def new_task(model: Model, frozen: Frozen, task: str, batch_size: int | None = None) -> Objective:
    """Return the mean loss of other rows: continual learning. Its data is a ``Split``.

    Parameters
    ----------
    model, frozen : the network, and its constants.
    task : ``"classification"``, cross-entropy; or ``"regression"``, squared error.
    batch_size : rows of a step, drawn by its key without replacement; None, or as many as there are, for all.
    """

    def objective(key: Key, position: Position, data: Split) -> Array:
        return TASK_LOSSES[task](model.apply, position, frozen, _draw(key, data, batch_size))

    return objective


def _draw(key: Key, data: Split, batch_size: int | None) -> Split:
    num_rows = data.targets.shape[0]
    if batch_size is None or batch_size >= num_rows:
        return data
    return data.take(rng.permutation(key, num_rows)[:batch_size])


def sparsify(share: float, paths: frozenset[str] | None = None) -> Objective:
    """Return half the squared distance to the nearest position with so many zeros. Its data is None.

    Its gradient is the position where the nearest one is zero, and zero elsewhere. Which entries those are is found
    anew in every step.

    Parameters
    ----------
    share : of the entries, from 0 to 1, rounded to a whole number of them.
    paths : leaves that compete for zeros, as of :func:`asymjax.sparse.masks.prunable`; None for all.
    """

    def objective(key: Key, position: Position, data: None) -> Array:
        kept = nearest_mask(lax.stop_gradient(position), share, paths)
        return _half_square(jax.tree.map(lambda leaf, keep: jnp.where(keep, 0.0, leaf), position, kept))

    return objective


def nearest_mask(position: Position, share: float, paths: frozenset[str] | None = None) -> Mask:
    """Return which entries stay in the nearest position with so many zeros, a tree of booleans.

    Exactly ``round(share * entries)`` do not; of equal magnitudes the earlier entry goes first.

    Parameters
    ----------
    position : the network.
    share, paths : as of :func:`sparsify`.

    Raises
    ------
    InputError
        If the share is not from 0 to 1, or the position has no such leaves.
    """
    named = trees.flatten(position)
    chosen = frozenset(named) if paths is None else paths
    if not 0 <= share <= 1:
        raise InputError(f"share is {share}; give one from 0 to 1")
    if not chosen or not chosen <= set(named):
        raise InputError(f"paths are {', '.join(sorted(chosen)) or 'none'}; choose from {', '.join(named)}")
    count = trees.num_entries([named[path] for path in chosen])
    return prune(jax.tree.map(jnp.abs, position), full_mask(position), chosen, count - round(share * count))


def make_sparse(position: Position, share: float, paths: frozenset[str] | None = None) -> Position:
    """Return the nearest position with so many zeros; arguments as of :func:`nearest_mask`."""
    return apply_mask(position, nearest_mask(position, share, paths))


def leave() -> Objective:
    """Return minus half the squared distance from a position, its data: the walk goes away from there.

    That position itself has no way downhill; there a direction is drawn by the key.
    """

    def objective(key: Key, position: Position, data: Position) -> Array:
        named = trees.flatten(position)
        beside = {path: rng.normal(rng.named_key(key, path), leaf.shape) for path, leaf in named.items()}
        apart = AWAY / trees.norm(beside)
        return -_half_square(
            trees.unflatten(
                {path: leaf - trees.flatten(data)[path] - apart * beside[path] for path, leaf in named.items()}
            )
        )

    return objective


def reach() -> Objective:
    """Return half the squared distance to a position, its data: another optimum, or a draw of a posterior."""

    def objective(key: Key, position: Position, data: Position) -> Array:
        return _half_square(jax.tree.map(jnp.subtract, position, data))

    return objective


def disagree(model: Model, frozen: Frozen) -> Objective:
    """Return the mean cosine between the outputs and those of members that were kept: an ensemble along a path.

    Its data is (inputs [rows, ...], outputs of the members [member, rows, outputs]); each member's outputs are one
    vector over all rows. At a member itself the cosine is at its largest and shows no way, so walk away first, by
    :func:`leave`.

    Parameters
    ----------
    model, frozen : the network, and its constants.
    """

    def objective(key: Key, position: Position, data: tuple[Any, Array]) -> Array:
        inputs, members = data
        outputs = model.apply(position, frozen, inputs).ravel()
        flat = members.reshape(len(members), -1)
        return jnp.mean(jax.vmap(lambda member: optax.losses.cosine_similarity(outputs, member))(flat))

    return objective


def robust(model: Model, frozen: Frozen, task: str, radius: float | Array, batch_size: int | None = None) -> Objective:
    """Return the loss at inputs that an attack has moved by one signed step. Its data is a ``Split``.

    Goodfellow et al. 2015, arXiv 1412.6572, section 4 (FGSM).

    Parameters
    ----------
    model, frozen, task, batch_size : as of :func:`new_task`.
    radius : by how much each entry of the inputs moves, in the units of the inputs; may be traced.

    Raises
    ------
    InputError
        If inputs are a graph.
    """

    def objective(key: Key, position: Position, data: Split) -> Array:
        batch = attack(model, frozen, task, lax.stop_gradient(position), _draw(key, data, batch_size), radius)
        return TASK_LOSSES[task](model.apply, position, frozen, batch)

    return objective


def attack(model: Model, frozen: Frozen, task: str, position: Position, batch: Split, radius: float | Array) -> Split:
    """Return rows whose inputs were moved by one signed step up the loss of a network; arguments as of :func:`robust`.

    Raises
    ------
    InputError
        If inputs are a graph.
    """
    refuse_graphs(batch.inputs)

    def loss(inputs: Any) -> Array:
        return TASK_LOSSES[task](model.apply, position, frozen, Split(inputs, batch.targets))

    return Split(pgd(loss, batch.inputs, radius, 1), batch.targets)


def combine(objectives: Sequence[Objective], weights: Sequence[float | Array]) -> Objective:
    """Return the weighted sum of several. Its data is a tuple of theirs; each has a key of its own.

    Raises
    ------
    InputError
        If there are not as many weights as objectives.
    """
    if len(objectives) != len(weights) or not objectives:
        raise InputError(f"there are {len(objectives)} objectives and {len(weights)} weights; give one weight each")

    def objective(key: Key, position: Position, data: tuple[Any, ...]) -> Array:
        values = [
            weight * one(jax.random.fold_in(key, index), position, own)
            for index, (one, weight, own) in enumerate(zip(objectives, weights, data, strict=True))
        ]
        return jnp.sum(jnp.stack(values))

    return objective


def _half_square(tree: Any) -> Array:
    return 0.5 * jnp.sum(jnp.stack([jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)]))
