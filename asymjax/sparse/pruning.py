"""What is pruned: scores of the entries of a position, and the choice by rank.

Iterative magnitude pruning removes in each round a share of the entries that are left, those of the smallest magnitude
after training (Han et al. 2015, arXiv 1506.02626; Frankle and Carbin 2019, arXiv 1803.03635).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.sparse.masks import Mask
from asymjax.train.losses import TASK_LOSSES
from asymjax.types import Array, Frozen, Key, Model, Position, Split

Score = Callable[[Key, Model, Position, Frozen, Split, str], Position]
"""(key, model, position, frozen, rows, task) -> tree like the position; the smallest are pruned first."""


def magnitude(key: Key, model: Model, position: Position, frozen: Frozen, rows: Split, task: str) -> Position:
    """Return the magnitude of every entry."""
    return jax.tree.map(jnp.abs, position)


def random(key: Key, model: Model, position: Position, frozen: Frozen, rows: Split, task: str) -> Position:
    """Return a random number for every entry: all masks of one count are alike likely."""
    leaves = {
        path: rng.uniform(rng.named_key(key, path), leaf.shape, 1.0) for path, leaf in trees.flatten(position).items()
    }
    return trees.unflatten(leaves)


def snip(key: Key, model: Model, position: Position, frozen: Frozen, rows: Split, task: str) -> Position:
    """Return |entry x gradient of the loss on the rows|, the first-order change of the loss when an entry goes.

    Lee et al. (2019), "SNIP: single-shot network pruning", arXiv 1810.02340, equation 5, without its normalisation.
    """
    gradient = jax.grad(lambda position: TASK_LOSSES[task](model.apply, position, frozen, rows))(position)
    return jax.tree.map(lambda entry, slope: jnp.abs(entry * slope), position, gradient)


SCORES: dict[str, Score] = {"magnitude": magnitude, "random": random, "snip": snip}


def counts_left(total: int, share: float, num_rounds: int) -> list[int]:
    """Return how many entries are left after 0, 1, ... rounds that each prune a share of those left, rounded up.

    Parameters
    ----------
    total : entries that may be pruned.
    share : of the entries left, between 0 and 1; 0.2 is a fifth, to the last entry.
    num_rounds : rounds.
    """
    counts = [total]
    for _ in range(num_rounds):
        counts.append(counts[-1] - math.ceil(Fraction(repr(share)) * counts[-1]))
    return counts


def rounds_to(sparsity: float, share: float) -> int:
    """Return the number of rounds whose sparsity, 1 - (1 - share)^rounds, comes nearest to a given one."""
    return max(0, round(math.log(1 - sparsity) / math.log(1 - share)))


def prune(scores: Position, kept: Mask, paths: Iterable[str], num_left: Array | int) -> Mask:
    """Return the mask that keeps the best of what a mask keeps, chosen over all pruned leaves at once.

    By rank, so that exactly so many are left; of equal scores the earlier entry goes first (in the order of paths, then
    of the raveled leaf). Leaves that are not pruned keep all.

    Parameters
    ----------
    scores : tree like the position; NaN counts as the smallest.
    kept : mask before.
    paths : of the leaves that are pruned, as of :func:`~asymjax.sparse.masks.prunable`.
    num_left : how many entries of them all are kept, [], may be traced.
    """
    named, before, paths = trees.flatten(scores), trees.flatten(kept), sorted(set(paths) & set(trees.flatten(kept)))
    flat = jnp.concatenate([named[path].ravel() for path in paths])
    was_kept = jnp.concatenate([before[path].ravel() for path in paths])
    worth = jnp.where(was_kept, jnp.nan_to_num(flat, nan=-jnp.inf, posinf=jnp.inf, neginf=-jnp.inf), -jnp.inf)
    # What was pruned before comes first, then by score; the sort is stable.
    order = jnp.lexsort((worth, was_kept))
    is_left = jnp.zeros(flat.size, bool).at[order].set(jnp.arange(flat.size) >= flat.size - num_left)
    parts = jnp.split(is_left, np.cumsum([before[path].size for path in paths])[:-1])
    chosen = {path: part.reshape(before[path].shape) for path, part in zip(paths, parts, strict=True)}
    return trees.unflatten(before | chosen)


def prune_each_leaf(scores: Position, kept: Mask, paths: Iterable[str], share_left: Array | float) -> Mask:
    """Return :func:`prune` of every leaf on its own, each keeping the same share of its entries, rounded up.

    Parameters
    ----------
    scores, kept, paths : see :func:`prune`.
    share_left : of all entries of a leaf [], from 0 to 1, may be traced.
    """
    for path in sorted(set(paths) & set(trees.flatten(kept))):
        size = trees.flatten(kept)[path].size
        kept = prune(scores, kept, [path], jnp.ceil(share_left * size - 1e-4).astype(jnp.int32))
    return kept


def check_left(counts: Sequence[int], num_leaves: int) -> None:
    """Refuse to prune below one entry a leaf.

    Raises
    ------
    InputError
        If fewer entries would be left than there are leaves, so that a layer is empty for certain.
    """
    for number, left in enumerate(counts):
        if left < num_leaves:
            raise InputError(
                f"after {number} rounds {left} of {counts[0]:,} weights are left, fewer than the {num_leaves} layers, "
                f"so that one is empty; prune {number - 1} rounds at most"
            )
