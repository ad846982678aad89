"""Masks as data: trees of booleans beside ``position``, True where an entry is kept.

A masked network is the same model with its mask among the constants, so that it is trained, interpolated, measured and
stored as any other, and one compiled program serves all masks. Pruned entries begin at zero and have no gradient; every
optimizer here leaves such an entry at zero, to the bit. Of syre the coordinate is zero, the weight its fixed offset.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.errors import InputError
from asymjax.models.methods import Pruned
from asymjax.models.methods.w_asym import pack
from asymjax.symmetry.permutations import Permutations, permute
from asymjax.types import Array, Frozen, Key, Model, Params, Position

CONSTANTS, KEPT = "constants", "kept"
Mask = dict[str, Any]
"""Tree of booleans like a position, True where the entry is kept."""


def apply_mask(position: Position, kept: Mask) -> Position:
    """Return a position with exact zeros where a mask keeps nothing."""
    return jax.tree.map(lambda leaf, keep: jnp.where(keep, leaf, jnp.zeros_like(leaf)), position, kept)


def full_mask(position: Position) -> Mask:
    """Return the mask that keeps every entry; of positions or of shape structs."""
    return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), position)


def effective_mask(model: Model, kept: Mask, frozen: Frozen) -> Params:
    """Return which effective parameters are moved by kept entries, a tree of booleans like them."""
    ones = jax.tree.map(lambda keep: jnp.asarray(keep, jnp.float32), kept)
    none = jax.tree.map(jnp.zeros_like, ones)
    ends = (model.merge(position, frozen) for position in (ones, none))
    return jax.tree.map(lambda with_kept, without: with_kept - without > 0.5, *ends)  # Affine, so 1 or 0.


def permuted_mask(model: Model, kept: Mask, frozen: Frozen, permutations: Permutations) -> Mask:
    """Return a mask whose units are permuted as a network's are (Adnan et al. 2025, arXiv 2505.05143).

    Where entries are fixed by the architecture, what is moved onto them is lost, and what they are moved onto is
    pruned: the permuted mask of a W-asymmetric network may keep fewer entries.

    Parameters
    ----------
    model, kept, frozen : of one network.
    permutations : name -> int [units], as of :func:`asymjax.symmetry.weight_matching`.
    """
    moved = permute(effective_mask(model, kept, frozen), model.permutation_spec, permutations)
    nothing = model.merge(jax.tree.map(lambda keep: jnp.zeros(keep.shape), kept), frozen)
    found = model.split(jax.tree.map(lambda base, keep: base + keep, nothing, moved), frozen)
    return jax.tree.map(lambda entry: entry > 0.5, found)


def with_mask(frozen: Frozen, kept: Mask) -> Frozen:
    """Return the constants of a masked network: those of its model, and its mask."""
    return {CONSTANTS: frozen, KEPT: kept}


def masked(model: Model) -> Model:
    """Return a model whose networks have masks: leaves as of the plain model, ``frozen`` as of :func:`with_mask`.

    Every entry counts as a leaf's size, kept or not, so that masks of one shape share compiled programs. To sample a
    sparse network take :func:`surviving`, which has no such entries.
    """

    def network(position: Position, frozen: Frozen) -> tuple[Position, Frozen]:
        return apply_mask(position, frozen[KEPT]), frozen[CONSTANTS]

    def freeze(mask_key: Key, fixed_scale: Any = 1.0) -> Frozen:
        constants = model.freeze(mask_key, fixed_scale)
        return with_mask(constants, full_mask(jax.eval_shape(model.init, jax.random.key(0), constants)))

    def free_mask(frozen: Frozen) -> Params:
        return effective_mask(model, frozen[KEPT], frozen[CONSTANTS])

    return _wrapped(
        model,
        init=lambda key, frozen: apply_mask(model.init(key, frozen[CONSTANTS]), frozen[KEPT]),
        freeze=freeze,
        merge=lambda position, frozen: model.merge(*network(position, frozen)),
        split=lambda params, frozen: apply_mask(model.split(params, frozen[CONSTANTS]), frozen[KEPT]),
        apply=lambda position, frozen, x: model.apply(*network(position, frozen), x),
        free_mask=free_mask if model.free_mask is not None else None,
    )


def surviving(model: Model, kept: Mask) -> Model:
    """Return the model of one sparse network whose coordinates are the entries that its mask keeps, and nothing else.

    What samplers and variational fits take: a pruned entry would be a coordinate of the prior alone.

    Parameters
    ----------
    model : the plain model.
    kept : its mask, concrete arrays; leaves that lose nothing stay as they are, others become flat.

    Raises
    ------
    InputError
        If a leaf keeps nothing, or the mask has other leaves than the model.
    """
    kept = _checked(model, kept)
    pruned = {path: keep for path, keep in trees.flatten(kept).items() if not keep.all()}
    packed = {
        path: pack(jnp.asarray(~keep), jnp.zeros(keep.shape), int((~keep).sum())) for path, keep in pruned.items()
    }
    method = Pruned()

    def spread(position: Position, frozen: Frozen) -> Position:
        leaves = trees.flatten(position)
        whole = {path: method.merge_kernel(leaves[path], constants) for path, constants in frozen[KEPT].items()}
        return trees.unflatten(leaves | whole)

    def take(position: Position, frozen: Frozen) -> Position:
        leaves = trees.flatten(position)
        flat = {path: method.split_kernel(leaves[path], constants) for path, constants in frozen[KEPT].items()}
        return trees.unflatten(leaves | flat)

    return _wrapped(
        model,
        init=lambda key, frozen: take(model.init(key, frozen[CONSTANTS]), frozen),
        freeze=lambda mask_key, fixed_scale=1.0: {CONSTANTS: model.freeze(mask_key, fixed_scale), KEPT: packed},
        merge=lambda position, frozen: model.merge(spread(position, frozen), frozen[CONSTANTS]),
        split=lambda params, frozen: take(model.split(params, frozen[CONSTANTS]), frozen),
        apply=lambda position, frozen, x: model.apply(spread(position, frozen), frozen[CONSTANTS], x),
        free_mask=None,
    )


def _wrapped(model: Model, **own: Any) -> Model:
    """Return a model with functions of its own, whose others find their constants beside a mask."""

    def reading(read: Any) -> Any:
        return lambda params, frozen, x: read(params, frozen[CONSTANTS], x)

    others = {name: reading(getattr(model, name)) for name in ("forward", "site_inputs", "layer_inputs")}
    return model._replace(**others, **own)


def _checked(model: Model, kept: Mask) -> Mask:
    constants = jax.eval_shape(model.freeze, jax.random.key(0))
    wanted = trees.flatten(jax.eval_shape(model.init, jax.random.key(0), constants))
    given = {path: np.asarray(keep) for path, keep in trees.flatten(kept).items()}
    shapes = {path: leaf.shape for path, leaf in wanted.items()}
    if {path: keep.shape for path, keep in given.items()} != shapes:
        raise InputError(
            f"kept has leaves { ({p: k.shape for p, k in given.items()}) }; give those of the model, {shapes}"
        )
    if empty := [path for path, keep in given.items() if not keep.any()]:
        raise InputError(f"the mask keeps nothing of {', '.join(empty)}; keep one entry of every leaf at least")
    return trees.unflatten(given)


# What masks keep --------------------------------------------------------------------------------------------------


def prunable(model: Model) -> frozenset[str]:
    """Return the paths of the leaves that are pruned: kernels, as read of the network; no bias, scale or embedding."""
    return frozenset(path for path, layer in model.layers.items() if layer.role == "kernel")


def densities(kept: Mask, paths: frozenset[str]) -> dict[str, Array]:
    """Return the share of each pruned leaf that is kept, by path [].

    What the architecture fixed is no entry of a position, so it counts neither as kept nor as pruned.
    """
    leaves = trees.flatten(kept)
    return {path: jnp.mean(leaves[path]) for path in leaves if path in paths}


def sparsity(kept: Mask, paths: frozenset[str]) -> Array:
    """Return the share of all entries of the pruned leaves that are pruned []."""
    leaves = [keep for path, keep in trees.flatten(kept).items() if path in paths]
    return 1 - _count(leaves) / trees.num_entries(leaves)


def overlap(first: Mask, second: Mask, paths: frozenset[str]) -> Array:
    """Return what two masks keep in common as a share of what either keeps (Jaccard index) []."""
    one, two = trees.flatten(first), trees.flatten(second)
    both = _count([one[path] & two[path] for path in one if path in paths])
    return both / _count([one[path] | two[path] for path in one if path in paths])


def _count(leaves: Sequence[Array]) -> Array:
    return jnp.sum(jnp.stack([jnp.sum(keep) for keep in leaves]))
