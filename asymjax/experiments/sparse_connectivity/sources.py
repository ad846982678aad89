"""Where masks come from: each source gives the masks of one study, level by level."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import rng, trees
from asymjax.lab.tickets import Found
from asymjax.sparse.masks import Mask, full_mask, permuted_mask
from asymjax.sparse.pruning import SCORES, PruningPlan, prune_to
from asymjax.symmetry.alignment import match_pairs
from asymjax.train.trainer import TrainState
from asymjax.types import Array, Frozen, Key, Model, Params, Position, Split


class Study(NamedTuple):
    """Networks of one method that tickets are sought for, from one step on.

    Attributes
    ----------
    model, frozen : the model, and the constants of all networks.
    rows, task : what masks are scored on at once, and its task.
    keys : [seed] of training.
    starts : states at the step that tickets begin at, leaves [seed, ...].
    plan : what each round prunes.
    levels : rounds at which masks are wanted, from 1.
    search : (``"imp"``, ``"distilled"`` or ``"subset"``) -> what iterative pruning on these rows found.
    """

    model: Model
    frozen: Frozen
    rows: Split
    task: str
    keys: Key
    starts: TrainState
    plan: PruningPlan
    levels: tuple[int, ...]
    search: Callable[[str], Found]


Source = Callable[[Study], Mask]
"""(study) -> masks [level, seed, ...]."""


def _iterative(study: Study, rows: str) -> Mask:
    kept = study.search(rows).kept
    return jax.tree.map(lambda leaf: leaf[np.asarray(study.levels)], kept)


def _at_once(study: Study, score: str) -> Mask:
    """Prune the networks of step k in one go, to each level."""

    def of_seeds(num_rounds: Array, keys: Key, positions: Position, frozen: Frozen, rows: Split) -> Mask:
        def one(network: tuple[Key, Position]) -> Mask:
            scores = SCORES[score](*network, study.model, frozen, rows, study.task)
            return prune_to(study.plan, scores, full_mask(network[1]), num_rounds)

        return jax.lax.map(one, (keys, positions))

    keys = jax.vmap(lambda key: rng.named_key(key, score))(study.keys)
    rows = jax.tree.map(jnp.asarray, study.rows)
    compiled = jax.jit(of_seeds)
    masks = [
        trees.to_host(compiled(jnp.asarray(level), keys, study.starts.position, study.frozen, rows))
        for level in study.levels
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *masks)


def failed_searches(study: Study, source: str) -> dict[int, str]:
    """Return the seeds whose mask of a source is none, since the search for it diverged, and in which round."""
    rows, shift = SEARCHED.get(source, (None, 0))
    if rows is None:
        return {}
    failed = np.roll(study.search(rows).failed, -shift)
    return {seed: f"the search diverged in round {failed[seed]}" for seed in np.flatnonzero(failed >= 0).tolist()}


def _naive(study: Study) -> Mask:
    """Give every seed the mask of the next one."""
    return jax.tree.map(lambda leaf: np.roll(leaf, -1, axis=1), _iterative(study, "imp"))


def _permuted(study: Study) -> Mask:
    """Give every seed the mask of the next one, its units permuted as match those of the dense networks."""
    dense = study.search("imp").dense
    networks = trees.to_host(jax.jit(jax.vmap(study.model.merge, (0, None)))(dense, study.frozen))
    networks = jax.tree.map(np.nan_to_num, networks)  # Of those that diverged, whose masks are none.
    num_seeds = len(study.keys)

    def of(seed: int) -> Params:
        return jax.tree.map(lambda leaf: leaf[seed % num_seeds], networks)

    found = match_pairs(study.model.permutation_spec, [(of(seed), of(seed + 1)) for seed in range(num_seeds)])
    permutations = jax.tree.map(lambda *each: np.stack(each), *(one.permutations for one in found))

    def moved(kept: Mask, element: dict[str, Array]) -> Mask:
        return permuted_mask(study.model, kept, study.frozen, element)

    of_levels = jax.vmap(jax.vmap(moved), (0, None))
    return trees.to_host(jax.jit(of_levels)(_naive(study), permutations))


SOURCES: dict[str, Source] = {
    "imp": partial(_iterative, rows="imp"),
    "distilled": partial(_iterative, rows="distilled"),
    "subset": partial(_iterative, rows="subset"),
    "random": partial(_at_once, score="random"),
    "magnitude": partial(_at_once, score="magnitude"),
    "snip": partial(_at_once, score="snip"),
    "naive": _naive,
    "permuted": _permuted,
}

SEARCHED: dict[str, tuple[str, int]] = {
    **{rows: (rows, 0) for rows in ("imp", "distilled", "subset")},
    **dict.fromkeys(("naive", "permuted"), ("imp", 1)),
}
"""Source -> the rows that its masks are sought on, and how many seeds further on they come from."""
