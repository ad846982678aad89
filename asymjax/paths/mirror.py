"""Mirror symmetries: the planes that reflections of a network leave in place, and whether training falls onto them.

A reflection turns the sign of a subspace span(O) of parameters, O with orthonormal columns, and keeps the rest:
``R = 1 - 2 O O^T``. A loss that it leaves as it is, for every row, has on the plane ``O^T w = 0`` no gradient along O,
and its Hessian maps span(O) to itself, so no optimizer whose state starts on the plane ever leaves it. With weight
decay ``(gamma / 2) |w|^2`` the plane attracts where the smallest eigenvalue of ``O^T H O`` is above ``-gamma`` (Ziyin
2024, arXiv 2309.16932). Units of a permutation become equal there, units of an odd activation vanish, linear layers
lose rank.

A reflection is kept as two functions and small trees of coordinates; no matrix of parameters by coordinates is formed.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from asymjax import trees
from asymjax.axes import permute_leaf
from asymjax.diagnostics.curvature import NUM_STEPS, LossOf, largest_eigenvalue
from asymjax.errors import InputError, choose
from asymjax.symmetry.groups import unit_axes, whole_units
from asymjax.symmetry.permutations import Permutations, identity, tree_spec
from asymjax.train.losses import Loss
from asymjax.types import Array, Frozen, Key, Params, PermutationSpec, Position, PyTree, Split, TreeSpec

Coordinates = dict[str, Any]
"""Path of a leaf -> its coordinates along O; leaves that a reflection keeps have none."""
MOST_DENSE = 400
"""Coordinates up to which the Hessian along O is formed."""
HALF = 0.5**0.5


class Reflection(NamedTuple):
    """A reflection of trees of parameters.

    Attributes
    ----------
    project : (tree) -> O^T w, coordinates.
    embed : (coordinates) -> O c, a tree; zeros where the reflection keeps what is there.
    """

    project: Callable[[PyTree], Coordinates]
    embed: Callable[[Coordinates], PyTree]


def reflect(reflection: Reflection, params: PyTree) -> PyTree:
    """Return w - 2 O O^T w."""
    return _less(params, reflection, 2)


def collapse(reflection: Reflection, params: PyTree) -> PyTree:
    """Return w - O O^T w, the nearest point on the plane that the reflection keeps."""
    return _less(params, reflection, 1)


def _less(params: PyTree, reflection: Reflection, times: int) -> PyTree:
    part = reflection.embed(reflection.project(params))
    return jax.tree.map(lambda leaf, along: leaf - times * along, params, part)


# Which reflections there are --------------------------------------------------------------------------------------


def exchange(params: PyTree, permutation_spec: PermutationSpec | TreeSpec, permutations: Permutations) -> Reflection:
    """Return the reflection that a permutation of units is which undoes itself.

    Parameters
    ----------
    params : effective parameters, arrays or shape structs.
    permutation_spec : see ``Model.permutation_spec``.
    permutations : name -> int [units], or within others, as of :func:`asymjax.symmetry.permute`; concrete.

    Returns
    -------
    Coordinates are flat, one for every two entries that change places: their difference over the root of two.

    Raises
    ------
    InputError
        If the network has no permutation of a name, or done twice they are not the identity.
    """
    spec, leaves = tree_spec(params, permutation_spec), trees.named_leaves(params)
    known = identity(params, spec)
    for name in permutations:
        choose(known, name, "permutation")
    moved = {name: np.asarray(order) for name, order in permutations.items()}
    places: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for path, leaf in leaves.items():
        entries = np.arange(np.prod(leaf.shape, dtype=int))
        partner = permute_leaf(entries.reshape(leaf.shape), spec[path], moved, np).ravel()
        if not np.array_equal(partner[partner], entries):
            raise InputError(f"permutations of {', '.join(moved)} are no reflection: done twice they move {path}")
        if np.any(first := partner > entries):
            places[path] = entries[first], partner[first]
    return _of_places(params, places)


def _of_places(params: PyTree, places: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Reflection:
    """Return the reflection that lets entries change places, path -> int [pair], int [pair]."""

    def project(tree: PyTree) -> Coordinates:
        leaves = trees.named_leaves(tree)
        flat = {path: jnp.ravel(leaves[path]) for path in places}
        return {path: HALF * (flat[path][first] - flat[path][second]) for path, (first, second) in places.items()}

    def embed(coordinates: Coordinates) -> PyTree:
        leaves = _zeros(params)
        for path, (first, second) in places.items():
            part, zero = HALF * coordinates[path], leaves[path]
            leaves[path] = zero.ravel().at[first].set(part).at[second].set(-part).reshape(zero.shape)
        return trees.with_leaves(params, leaves)

    return Reflection(project, embed)


def _zeros(params: PyTree) -> dict[str, Array]:
    return {path: jnp.zeros_like(leaf) for path, leaf in trees.named_leaves(params).items()}


def swap(
    params: PyTree, permutation_spec: PermutationSpec | TreeSpec, name: str, first: int, second: int
) -> Reflection:
    """Return the reflection that swaps two units of a permutation; on its plane they are equal.

    Parameters
    ----------
    params, permutation_spec : as of :func:`exchange`.
    name : of the permutation; units within others are swapped in each of these.
    first, second : which units.

    Raises
    ------
    InputError
        If there is no such permutation or unit, or both are one.
    """
    order = np.array(choose(identity(params, permutation_spec), name, "permutation"))
    if first == second or not {first, second} <= set(range(order.shape[-1])):
        raise InputError(f"units {first} and {second} of {name}; give two of 0 to {order.shape[-1] - 1}")
    order[..., [first, second]] = order[..., [second, first]]
    return exchange(params, permutation_spec, {name: order})


def turn(params: PyTree, permutation_spec: PermutationSpec | TreeSpec, name: str, direction: np.ndarray) -> Reflection:
    """Return the reflection of all that belongs to units along one direction of their space.

    A symmetry of linear units along any direction; on its plane they span a dimension less.

    Parameters
    ----------
    params, permutation_spec : as of :func:`exchange`.
    name : of a permutation of whole axes that moves no leaf along two.
    direction : [units], not zero; any length.

    Returns
    -------
    Coordinates have the shapes of the leaves without the axis of the units.

    Raises
    ------
    InputError
        If there is no such permutation, or the direction is zero or of another size.
    """
    spec = tree_spec(params, permutation_spec)
    size = choose(whole_units(spec), name, "permutation of whole axes")
    direction = np.asarray(direction, float)
    if direction.shape != (size,) or not np.linalg.norm(direction) > 0:
        raise InputError(f"direction is {direction}; give {size} numbers that are not all zero")
    unit, axes = direction / np.linalg.norm(direction), dict(unit_axes(spec, name))

    def project(tree: PyTree) -> Coordinates:
        leaves = trees.named_leaves(tree)
        return {
            path: jnp.tensordot(leaves[path], jnp.asarray(unit, leaves[path].dtype), ((axis,), (0,)))
            for path, axis in axes.items()
        }

    def embed(coordinates: Coordinates) -> PyTree:
        leaves = _zeros(params)
        for path, axis in axes.items():
            part = jnp.expand_dims(coordinates[path], axis)
            along = jnp.asarray(unit, part.dtype).reshape([-1 if i == axis else 1 for i in range(part.ndim)])
            leaves[path] = part * along
        return trees.with_leaves(params, leaves)

    return Reflection(project, embed)


def flip(params: PyTree, permutation_spec: PermutationSpec | TreeSpec, name: str, unit: int) -> Reflection:
    """Return the reflection that negates all that belongs to a unit; on its plane the unit is zero.

    A symmetry of units of an odd activation, as tanh; see :func:`asymjax.symmetry.groups.odd_units`.

    Raises
    ------
    InputError
        If there is no such permutation of whole axes, or no such unit.
    """
    size = choose(whole_units(tree_spec(params, permutation_spec)), name, "permutation of whole axes")
    if unit not in range(size):
        raise InputError(f"unit {unit} of {name}; give one of 0 to {size - 1}")
    return turn(params, permutation_spec, name, np.eye(size)[unit])


def pair(params: PyTree, first: str, second: str, sign: int = 1) -> Reflection:
    """Return the reflection that exchanges two leaves whose elementwise product alone matters.

    Such a loss has two: ``sign`` 1 exchanges them, with the plane u = w; ``sign`` -1 negates them too, with the plane
    u = -w. On both planes at once u = w = 0.

    Parameters
    ----------
    params : any tree, arrays or shape structs.
    first, second : paths of two leaves of one shape.
    sign : 1 or -1.

    Raises
    ------
    InputError
        If there are no such leaves of one shape, or the sign is another number.
    """
    leaves = trees.named_leaves(params)
    one, other = (choose(leaves, path, "leaf") for path in (first, second))
    if one.shape != other.shape or first == second or sign not in (1, -1):
        raise InputError(
            f"leaves {first} of shape {one.shape} and {second} of shape {other.shape}, sign {sign}; give two leaves of "
            "one shape, and a sign of 1 or -1"
        )

    def project(tree: PyTree) -> Coordinates:
        own = trees.named_leaves(tree)
        return {first: HALF * (own[first] - sign * own[second])}

    def embed(coordinates: Coordinates) -> PyTree:
        part = HALF * coordinates[first]
        return trees.with_leaves(params, _zeros(params) | {first: part, second: -sign * part})

    return Reflection(project, embed)


# Whether the plane attracts ----------------------------------------------------------------------------------------


class Smallest(NamedTuple):
    """The smallest eigenvalue of a Hessian along O.

    Attributes
    ----------
    value : [] the smallest, with its sign.
    residual : [] some eigenvalue is within this of the value; 0 where the matrix was formed.
    """

    value: Array
    residual: Array


def projected_loss(loss: LossOf, params: PyTree, reflection: Reflection) -> tuple[LossOf, Coordinates]:
    """Return a loss as a function of what is added along O, and the zero coordinates where it is that of ``params``."""
    zero = jax.tree.map(jnp.zeros_like, reflection.project(params))

    def along(coordinates: Coordinates) -> Array:
        return loss(jax.tree.map(jnp.add, params, reflection.embed(coordinates)))

    return along, zero


def projected_hessian(loss: LossOf, params: PyTree, reflection: Reflection) -> Array:
    """Return the Hessian of a loss along O, O^T H O [coordinates, coordinates], in the order of ``ravel_pytree``."""
    along, zero = projected_loss(loss, params, reflection)
    flat, unravel = ravel_pytree(zero)
    return jax.hessian(lambda flat: along(unravel(flat)))(flat)


def smallest_eigenvalue(
    loss: LossOf, params: PyTree, reflection: Reflection, key: Key, num_steps: int = NUM_STEPS
) -> Smallest:
    """Find the smallest eigenvalue of O^T H O: minus the weight decay above which the plane attracts.

    Parameters
    ----------
    loss : (params) -> [], without its decay.
    params : a point on the plane, as of :func:`collapse`.
    reflection : whose plane it is.
    key : of the start of Lanczos' steps, where there are more than ``MOST_DENSE`` coordinates.
    num_steps : of these.
    """
    along, zero = projected_loss(loss, params, reflection)
    if trees.num_entries(zero) <= MOST_DENSE:
        values = jnp.linalg.eigvalsh(projected_hessian(loss, params, reflection))
        return Smallest(values[0], jnp.zeros_like(values[0]))
    found = largest_eigenvalue(lambda coordinates: -along(coordinates), zero, key, num_steps=num_steps)
    return Smallest(-found.value, found.residual)


def attracts(smallest: Array, decay: Array | float) -> Array:
    """Return whether the plane attracts under weight decay (decay / 2) |w|^2: smallest + decay > 0, bool []."""
    return smallest + decay > 0


def threshold(smallest: Array) -> Array:
    """Return the weight decay above which the plane attracts [], zero or more; at a point that depends on it, too."""
    return jnp.maximum(-smallest, 0)


def decayed(loss: Loss, decay: Array | float) -> Loss:
    """Return a training loss with (decay / 2) |position|^2 added: the weight decay that the theory is about.

    Decoupled weight decay, as of AdamW, is another: it does not have the gradient's scale.

    Parameters
    ----------
    loss : of :mod:`asymjax.train.losses`.
    decay : [] gamma; may be traced.
    """

    def added(apply: Callable[..., Array], position: Position, frozen: Frozen, batch: Split) -> Array:
        return loss(apply, position, frozen, batch) + decay / 2 * optax.tree.vdot(position, position)

    return added


# How far units are from one another ---------------------------------------------------------------------------------


def unit_vectors(params: Params, permutation_spec: PermutationSpec | TreeSpec, name: str) -> Array:
    """Return what belongs to each unit of a permutation of whole axes, incoming, own and outgoing [units, entries].

    Raises
    ------
    InputError
        If there is no such permutation of whole axes.
    """
    spec, leaves = tree_spec(params, permutation_spec), trees.named_leaves(params)
    size = choose(whole_units(spec), name, "permutation of whole axes")
    parts = [jnp.moveaxis(leaves[path], axis, 0).reshape(size, -1) for path, axis in unit_axes(spec, name)]
    return jnp.concatenate(parts, axis=1)


def unit_distances(vectors: Array) -> Array:
    """Return how far units are from one another, [units, units].

    Relative to the root of twice the mean of their squared norms, the distance that vectors of their lengths have when
    they are orthogonal: about 1 between units drawn at random, 0 between equal ones, two that vanished among them. All
    zeros where all units are zero.

    Parameters
    ----------
    vectors : [units, entries], as of :func:`unit_vectors`, or what units say of rows.
    """
    squares = jnp.sum(jnp.square(vectors), axis=1)
    # Differences, not inner products: the distance of equal units is zero, not rounding.
    apart = jax.vmap(lambda one: jnp.sum(jnp.square(vectors - one[None]), axis=1))(vectors)
    scale = 2 * jnp.mean(squares)
    return jnp.sqrt(apart / jnp.where(scale > 0, scale, 1))


def smallest_distance(distances: Array) -> Array:
    """Return the smallest distance between two units [], of distances [units, units]."""
    return jnp.min(jnp.where(jnp.eye(len(distances), dtype=bool), jnp.inf, distances))


# Constraints of one's own ------------------------------------------------------------------------------------------


class Constrained(NamedTuple):
    """Parameters whose part along O is a product, so that weight decay can make it zero.

    Attributes
    ----------
    rest : tree like the parameters; what it has along O does nothing.
    first, second : coordinates; their product stands for O^T w.
    """

    rest: PyTree
    first: Coordinates
    second: Coordinates


def enter(params: PyTree, reflection: Reflection) -> Constrained:
    """Return parameters in the form that :func:`constrain` takes, balanced: both factors have the same magnitude."""
    along = reflection.project(params)
    second = jax.tree.map(lambda one: jnp.sqrt(jnp.abs(one)), along)
    return Constrained(
        collapse(reflection, params), jax.tree.map(lambda one, root: jnp.sign(one) * root, along, second), second
    )


def release(constrained: Constrained, reflection: Reflection) -> PyTree:
    """Return the parameters that constrained ones stand for, (1 - O O^T) z + O (u * w)."""
    product = reflection.embed(jax.tree.map(jnp.multiply, constrained.first, constrained.second))
    return jax.tree.map(jnp.add, collapse(reflection, constrained.rest), product)


def constrain(loss: LossOf, reflection: Reflection) -> Callable[[Constrained], Array]:
    """Return a loss with a mirror symmetry added, by which weight decay makes O^T w = 0 a hard constraint.

    Differentiable constraints by symmetry (Ziyin 2024, arXiv 2309.16932): weight decay gamma on both factors is at its
    least gamma |O^T w|_1, so that a coordinate whose loss pulls with less than gamma is zero, and not only small.

    Parameters
    ----------
    loss : (params) -> [].
    reflection : what shall be zero.
    """
    return lambda constrained: loss(release(constrained, reflection))
