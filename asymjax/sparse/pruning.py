"""What is pruned: scores of the entries of a position, and the choice by rank.

Iterative magnitude pruning removes in each round a share of the entries that are left, those of the smallest magnitude
after training (Han et al. 2015, arXiv 1506.02626; Frankle and Carbin 2019, arXiv 1803.03635).
"""

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.sparse.masks import Mask, prunable
from asymjax.train.losses import TASK_LOSSES
from asymjax.types import Array, Frozen, Key, Model, Position, Split

Score = Callable[[Key, Position, Model, Frozen, Split, str], Position]
"""(key, position, model, frozen, rows, task) -> tree like the position; the smallest are pruned first."""


def magnitude(key: Key, position: Position, model: Model, frozen: Frozen, rows: Split, task: str) -> Position:
    """Return the magnitude of every entry."""
    return jax.tree.map(jnp.abs, position)


def random(key: Key, position: Position, model: Model, frozen: Frozen, rows: Split, task: str) -> Position:
    """Return a random number for every entry: all masks of one count are alike likely."""
    leaves = {
        path: rng.uniform(rng.named_key(key, path), leaf.shape, 1.0) for path, leaf in trees.flatten(position).items()
    }
    return trees.unflatten(leaves)


def snip(key: Key, position: Position, model: Model, frozen: Frozen, rows: Split, task: str) -> Position:
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


class PruningPlan(NamedTuple):
    """Iterative pruning, settled: who competes, and how many are left.

    Attributes
    ----------
    groups : paths of the leaves that compete with each other; one group of all, or one of each leaf.
    left : int [round + 1, group] entries that are left after so many rounds.
    """

    groups: tuple[tuple[str, ...], ...]
    left: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Entries of all pruned leaves that are left after 0, 1, ... rounds, int [round + 1]."""
        return self.left.sum(axis=1)


def plan_pruning(model: Model, share: float, num_rounds: int, scope: str = "global") -> PruningPlan:
    """Settle what each of some rounds prunes.

    Parameters
    ----------
    model : the network.
    share : of the entries left that a round prunes, between 0 and 1; see :func:`counts_left`.
    num_rounds : rounds.
    scope : ``"global"``, entries of all leaves compete; or ``"layer"``, those of each leaf alone.

    Raises
    ------
    InputError
        If the network has no kernels, or fewer entries would be left than there are leaves, so that a layer is empty.
    """
    constants = jax.eval_shape(model.freeze, jax.random.key(0))
    leaves = trees.flatten(jax.eval_shape(model.init, jax.random.key(0), constants))
    sizes = {path: leaf.size for path, leaf in leaves.items() if path in prunable(model)}
    if not sizes:
        raise InputError("the network has no kernel that is trained, so there is nothing to prune")
    groups = (tuple(sizes),) if scope == "global" else tuple((path,) for path in sizes)
    left = [counts_left(sum(sizes[path] for path in group), share, num_rounds) for group in groups]
    plan = PruningPlan(groups, np.array(left).T)
    for number, count in enumerate(plan.counts):
        if count < len(sizes):
            raise InputError(
                f"after {number} rounds {count} of {plan.counts[0]:,} weights are left, fewer than the {len(sizes)} "
                f"layers, so that one is empty; prune {number - 1} rounds at most"
            )
    return plan


def prune_to(plan: PruningPlan, scores: Position, kept: Mask, num_rounds: Array | int) -> Mask:
    """Return the mask of a network after so many rounds of a plan, by :func:`prune`; ``num_rounds`` may be traced."""
    left = jnp.asarray(plan.left)[num_rounds]
    for index, group in enumerate(plan.groups):
        kept = prune(scores, kept, group, left[index])
    return kept
