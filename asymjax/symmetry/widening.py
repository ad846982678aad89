"""Wider networks of the same function: units are split, or units that feed nothing are added.

A unit may stand several times where what its copies feed adds up to what it fed (Chen et al. 2016, Net2Net, arXiv
1511.05641, section 2.3; shares are equal there and random here), and a unit that feeds nothing may read anything. Both
need nothing but the specification of permutations: units of one name are widened in every leaf that they move in.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.models.build import checked_frozen
from asymjax.symmetry.groups import NUM_TRIALS, TRIAL_TOLERANCE, position_spec, random_like, unit_axes
from asymjax.types import Array, Axis, Fixed, Frozen, Key, Layer, Model, Params, Perm, TreeSpec


class Widening(NamedTuple):
    """How networks of one model become networks of a wider one.

    Attributes
    ----------
    spec : how units may be permuted, a tree for every axis of the leaves that move.
    layers : what each leaf does.
    sizes : name -> how many units there are, and how many there come to be; of those that become more.
    """

    spec: TreeSpec
    layers: Mapping[str, Layer]
    sizes: Mapping[str, tuple[int, int]]


def widening_of(model: Model, wide: Model, frozen: Frozen) -> Widening:
    """Return how networks of a model become wider ones of the same function; tried by numbers.

    Parameters
    ----------
    model, frozen : of the networks.
    wide : the same network with more units; where something is fixed it has the same shapes.

    Raises
    ------
    InputError
        If the models are of other layers, units become fewer, or more where they may not be permuted, or outputs
        change, as where a norm is over the units.
    """
    leaves, wider = (trees.flatten(one.params_shape) for one in (model, wide))
    if {path: leaf.ndim for path, leaf in leaves.items()} != {path: leaf.ndim for path, leaf in wider.items()}:
        raise InputError(
            f"the model has {', '.join(leaves)}; the wide one has {', '.join(wider)}: give the same layers"
        )
    spec, sizes = position_spec(model, frozen), dict[str, tuple[int, int]]()
    for path, leaf in leaves.items():
        axes = spec.get(path) or tuple(map(Fixed, leaf.shape))
        for place, axis in enumerate(axes):
            name, pair = _units_of(path, axis, wider[path].shape[place])
            if name and sizes.setdefault(name, pair) != pair:
                raise InputError(f"{name} would be {sizes[name][1]} units in one leaf and {pair[1]} in {path}")
    widening = Widening(spec, model.layers, {name: pair for name, pair in sizes.items() if pair[0] < pair[1]})
    _require_same_function(model, wide, checked_frozen(wide, frozen), widening)
    return widening


def _units_of(path: str, axis: Axis, num_wide: int) -> tuple[str | None, tuple[int, int]]:
    """Return the name of the units along an axis, None where none may be permuted, and their numbers.

    Raises
    ------
    InputError
        If there are fewer in the wide model, or others though none may be permuted.
    """
    name = axis.name if isinstance(axis, Perm) and not axis.within else None
    if name is None and axis.size != num_wide:
        raise InputError(
            f"{path} would grow from {axis.size} to {num_wide} along an axis whose indices may not be permuted as one; "
            "give networks whose method fixes nothing there, and whose units are whole axes"
        )
    if num_wide < axis.size:
        raise InputError(f"{name} has {axis.size} units, and {num_wide} in the wide model; give at least as many")
    return name, (axis.size, num_wide)


def _require_same_function(model: Model, wide: Model, frozen: Frozen, widening: Widening) -> None:
    """Widen random networks, with weights of the scale of one over fan-in, and compare outputs at random inputs.

    Raises
    ------
    InputError
        If they differ.
    """
    numbers = np.random.default_rng(0)
    networks = {
        path: numbers.normal(size=(NUM_TRIALS, *leaf.shape), scale=model.layers[path].fan_in ** -0.5).astype(np.float32)
        for path, leaf in trees.flatten(model.params_shape).items()
    }
    inputs = jax.tree.map(partial(random_like, numbers), model.example)

    def one(drawn: tuple[Key, dict[str, Array]]) -> tuple[Array, list[Array]]:
        key, params = drawn[0], trees.unflatten(drawn[1])
        wider = [widen(key, params, widening) for widen in WIDENINGS.values()]
        return model.forward(params, frozen, inputs), [wide.forward(made, frozen, inputs) for made in wider]

    keys = rng.member_keys(jax.random.key(0), NUM_TRIALS)
    outputs, found = jax.jit(lambda keys, networks: lax.map(one, (keys, networks)))(keys, networks)
    allowed = TRIAL_TOLERANCE * np.max(np.abs(outputs))
    for name, other in zip(WIDENINGS, found, strict=True):
        moved = np.max(np.abs(np.asarray(other) - np.asarray(outputs)))
        if not moved <= allowed:
            raise InputError(
                f"the function changes where units are made more by {name}, by {moved:.2g} in outputs up to "
                f"{np.max(np.abs(outputs)):.2g}; give networks without a norm over their units"
            )


# Ways ------------------------------------------------------------------------------------------------------------


def copies(key: Key, count: int, num_wide: int) -> tuple[Array, Array]:
    """Draw which unit each of more units is a copy of, and which share of what that fed it feeds.

    Returns
    -------
    ``sources`` int32 [num_wide], every unit once and then at random; ``shares`` float32 [num_wide], positive, those of
    one source uniform among all that add up to one.
    """
    of_source, of_share = jax.random.split(key)
    drawn = jax.random.randint(of_source, (num_wide - count,), 0, count, "int32")
    sources = jnp.concatenate([jnp.arange(count, dtype="int32"), drawn])
    weights = jax.random.exponential(of_share, (num_wide,), "float32")
    return sources, weights / jax.ops.segment_sum(weights, sources, count)[sources]


def duplicated(params: Params, widening: Widening, sources: Mapping[str, Array], shares: Mapping[str, Array]) -> Params:
    """Return effective weights whose units are copies of units, with a share of what these feed, each [units]."""
    return _with_units(
        params, widening, lambda path, leaf, axis, name: jnp.take(leaf, sources[name], axis=axis), shares
    )


def split_units(key: Key, params: Params, widening: Widening) -> Params:
    """Return the effective weights of a wider network, whose new units are copies of units drawn at random.

    What a unit fed is divided at random among it and its copies, see :func:`copies`.
    """
    made = {name: copies(rng.named_key(key, name), *sizes) for name, sizes in widening.sizes.items()}
    sources, shares = ({name: pair[i] for name, pair in made.items()} for i in range(2))
    return duplicated(params, widening, sources, shares)


def idle_units(key: Key, params: Params, widening: Widening) -> Params:
    """Return the effective weights of a wider network, whose new units feed nothing.

    What leads into a new unit is drawn, entry by entry, from what leads from the same place into the units that are.
    """

    def more(path: str, leaf: Array, axis: int, name: str) -> Array:
        count, num_wide = widening.sizes[name]
        shape = [num_wide - count if place == axis else size for place, size in enumerate(leaf.shape)]
        sources = jax.random.randint(rng.named_key(key, f"{path}/{axis}"), shape, 0, count, "int32")
        return jnp.concatenate([leaf, jnp.take_along_axis(leaf, sources, axis)], axis)

    feeding = {name: (jnp.arange(num_wide) < count) for name, (count, num_wide) in widening.sizes.items()}
    return _with_units(params, widening, more, feeding)


def _with_units(
    params: Params,
    widening: Widening,
    more: Callable[[str, Array, int, str], Array],
    shares: Mapping[str, Array],
) -> Params:
    """Widen the leaves of a network.

    Parameters
    ----------
    params : effective weights.
    widening : how.
    more : (path, leaf, axis, name of the units along it) -> the leaf with more units.
    shares : name -> [units], what is multiplied into each leaf that reads the units.
    """
    leaves = trees.flatten(params)
    for name in widening.sizes:
        for path, axis in unit_axes(widening.spec, name):
            leaf = more(path, jnp.asarray(leaves[path]), axis, name)
            if axis in widening.layers[path].in_axes:
                share = shares[name].astype(leaf.dtype)
                leaf = leaf * share.reshape([-1 if place == axis else 1 for place in range(leaf.ndim)])
            leaves[path] = leaf
    return trees.unflatten(leaves)


WIDENINGS: dict[str, Callable[[Key, Params, Widening], Params]] = {"split": split_units, "idle": idle_units}
"""Ways to more units by name."""
