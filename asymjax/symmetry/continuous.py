"""Continuous symmetries of any network: which moves of its weights leave its function alone, and those moves at work.

Candidates are read from the network: each unit may be scaled, or mixed with others of its kind, wherever it is made or
read; what enters the units of a layer may be shifted; and the shift of a bias may be taken out where it is read. Which
combinations of them are symmetries is asked of the function itself, at random weights of the model's own set and at
random inputs: coefficients that change neither outputs nor what is fixed. So the same few lines find the rescalings of
ReLU units, the shifts and scales that a LayerNorm undoes, the general linear groups of attention and of linear layers,
the key bias that no softmax sees, and what a mask or a gate leaves of all that.

Found are families with one and the same coefficient at all weights. Left out are other changes before a LayerNorm that
its scales undo, entries that fixed zeros cut off, and units on parts of an axis, as of flattened heads.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.flatten_util import ravel_pytree

from asymjax import trees
from asymjax.axes import as_trees, perms_of
from asymjax.errors import InputError
from asymjax.models.symmetry_description import linear_units
from asymjax.symmetry.groups import random_like
from asymjax.types import Array, Frozen, Graph, Model, Params, Perm, Position

Coefficients = dict[str, dict[str, Any]]
"""Kind of move -> place -> how much: ``scale`` and ``mix`` of units along an axis of a leaf, ``shift`` of a leaf, and
``push`` of the shift of a bias out of the layer that reads it."""
Element = dict[str, Array]
"""``linear`` and ``shifts``, coordinates [dim] each; zeros are the identity."""

LINEAR = ("scale", "mix")
NUM_TRIALS = 8
"""Random weights at which a combination has to change nothing."""
TOLERANCE = 3e-4
"""Share of the largest singular value up to which nothing is changed; epsilons of LayerNorms make a tenth of that."""
ROWS_PER_MOVE = 2
"""Random inputs of all trials together, for each coefficient."""
INPUT_SCALE = 3.0
"""Spread of random inputs."""


class UnitAxis(NamedTuple):
    """An axis of a leaf along which units stand.

    Attributes
    ----------
    path, axis : the leaf, and which of its axes.
    units : name of the permutation.
    shape : of coefficients, of size one along other axes: those that units are within have coefficients of their own.
    """

    path: str
    axis: int
    units: str
    shape: tuple[int, ...]


class Push(NamedTuple):
    """A layer that reads units which have a bias.

    Attributes
    ----------
    place : where the kernel has the units.
    in_axes : axes of the kernel that are summed over.
    bias_beside : path of the bias of the layer that reads them.
    """

    place: UnitAxis
    in_axes: tuple[int, ...]
    bias_beside: str


class Moves(NamedTuple):
    """Candidates of a network, by the names of their places.

    Attributes
    ----------
    scale, mix : axes along which units are scaled, and mixed.
    shift : path -> shape of what may be added to the leaf, of size one along the units of a kernel.
    push : layers that a shift may be taken out of.
    """

    scale: Mapping[str, UnitAxis]
    mix: Mapping[str, UnitAxis]
    shift: Mapping[str, tuple[int, ...]]
    push: Mapping[str, Push]

    @property
    def zero(self) -> Coefficients:
        """Coefficients of none of them, float64 on the host."""
        return {
            "scale": {name: np.zeros(place.shape) for name, place in self.scale.items()},
            "mix": {name: np.zeros(_square_shape(place)) for name, place in self.mix.items()},
            "shift": {path: np.zeros(shape) for path, shape in self.shift.items()},
            "push": {name: np.zeros(push.place.shape) for name, push in self.push.items()},
        }

    @property
    def is_linear(self) -> np.ndarray:
        """Which coefficients are of scales and mixes, bool [coefficient] in the order of ``ravel_pytree``."""
        zero = self.zero
        marks = {kind: jax.tree.map(lambda leaf, own=kind in LINEAR: leaf + own, zero[kind]) for kind in zero}
        return np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(marks)]) > 0


def _square_shape(place: UnitAxis) -> tuple[int, ...]:
    """Return the shape of matrices of units, which stand last, beside the other axes."""
    others = tuple(size for axis, size in enumerate(place.shape) if axis != place.axis)
    return (*others, place.shape[place.axis], place.shape[place.axis])


class ContinuousGroup(NamedTuple):
    """The continuous symmetries of one model with its constants.

    Attributes
    ----------
    moves : the candidates.
    linear : float64 [dim, coefficient] combinations of scales and mixes that are symmetries by themselves.
    shifts : float64 [dim, coefficient] likewise of shifts and pushes.
    tangent : float64 [dim, coefficient] of all together; more where fixed values tie a scale to a shift.
    """

    moves: Moves
    linear: np.ndarray
    shifts: np.ndarray
    tangent: np.ndarray

    @property
    def dimension(self) -> int:
        """Number of independent directions at generic weights."""
        return len(self.tangent)

    @property
    def identity(self) -> Element:
        """The element that moves nothing."""
        return {"linear": jnp.zeros(len(self.linear)), "shifts": jnp.zeros(len(self.shifts))}


def find_group(model: Model, frozen: Frozen, inputs: Any = None, up_to_constant: bool = False) -> ContinuousGroup:
    """Find the continuous symmetries of a model: moves that leave its outputs, and what it fixes, as they are.

    Parameters
    ----------
    model, frozen : the network, and its constants.
    inputs : [rows, ...] at which outputs are compared, as tokens. Default: random ones like the model's example.
    up_to_constant : outputs are logits, and may all change by one number: the probabilities stay.

    Raises
    ------
    InputError
        If outputs are not finite at random weights, or there are more candidates than ``MOST_COEFFICIENTS``.

    Examples
    --------
    >>> import jax, numpy as np, asymjax
    >>> from flax import linen as nn
    >>> from asymjax.symmetry.continuous import find_group
    >>> x = np.zeros((2, 3), np.float32)
    >>> model = asymjax.from_flax(nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(1)]), x)
    >>> find_group(model, model.freeze(jax.random.key(0))).dimension
    4
    """
    numbers = np.random.default_rng(0)
    one_row = random_rows(model, 1, numbers) if inputs is None else inputs
    moves = _candidates(model, one_row)
    is_linear = moves.is_linear
    if is_linear.size > MOST_COEFFICIENTS:
        raise InputError(
            f"{is_linear.size:,} moves may be symmetries; {MOST_COEFFICIENTS:,} at most are looked through"
        )
    num_trials = _num_trials(model, moves, one_row)
    num_rows = -(-ROWS_PER_MOVE * is_linear.size // num_trials)
    with jax.enable_x64(True):
        trials = [_random_params(model, frozen, numbers) for _ in range(num_trials)]
        rows = [random_rows(model, num_rows, numbers) if inputs is None else inputs for _ in trials]
        changes = _make_changes(model, frozen, moves, up_to_constant)
        found = np.concatenate([_triangle(*changes(*trial)) for trial in zip(trials, rows, strict=True)])
        bases = [_null_basis(found, is_used) for is_used in (is_linear, ~is_linear, np.ones_like(is_linear))]
        return ContinuousGroup(moves, *(_independent(moves, trials[0], basis) for basis in bases))


def _triangle(*changes: Array) -> np.ndarray:
    """Return the triangular factor of rows of changes, which has their null space.

    Raises
    ------
    InputError
        If they are not finite.
    """
    rows = np.concatenate(changes)
    if not np.all(np.isfinite(rows)):
        raise InputError("outputs at random weights are not finite, so symmetries cannot be looked for there")
    return np.asarray(np.linalg.qr(rows, mode="r"))


def _num_trials(model: Model, moves: Moves, rows: Any) -> int:
    """Return how many random weights it takes: in each a bias is one vector, whatever the rows.

    Of the matrix that mixes it, which has the square of the units' number of coefficients, outputs see as many numbers
    as there are outputs.
    """
    shape = jax.eval_shape(lambda params: model.forward(params, {}, rows), model.params_shape).shape
    sizes = [place.shape[0] ** 2 for place in moves.mix.values() if len(place.shape) == 1]
    return max([NUM_TRIALS, *(-(-2 * size // shape[-1]) for size in sizes)])


MOST_COEFFICIENTS = 3_000
"""Moves up to which their combinations are looked for."""


def directions(group: ContinuousGroup, model: Model, position: Position, frozen: Frozen) -> Array:
    """Return how the symmetries of a model move its position, [parameters, dim]; independent at generic weights.

    Rows are in the order of ``jax.flatten_util.ravel_pytree`` of the position.
    """
    params = model.merge(position, frozen)
    unravel = ravel_pytree(group.moves.zero)[1]

    def along(coefficients: Array) -> Array:
        moved = _split_linear(model, tangent(group.moves, params, unravel(coefficients)), frozen)
        return ravel_pytree(moved)[0]

    return jax.vmap(along, out_axes=1)(jnp.asarray(group.tangent, ravel_pytree(position)[0].dtype))


def act(group: ContinuousGroup, params: Params, element: Element) -> Params:
    """Move effective weights by an element of a group: mixed and scaled first, then shifted.

    Units are multiplied by the exponential of their coefficients, so no factor is zero and every matrix has an inverse.
    """
    unravel, dtype = ravel_pytree(group.moves.zero)[1], jax.tree.leaves(params)[0].dtype
    linear, shifts = (
        jax.tree.map(lambda leaf: leaf.astype(dtype), unravel(element[name] @ jnp.asarray(basis, element[name].dtype)))
        for name, basis in (("linear", group.linear), ("shifts", group.shifts))
    )
    leaves = trees.flatten(params)
    for name, place in group.moves.scale.items():
        leaves[place.path] = leaves[place.path] * jnp.exp(linear["scale"][name])
    for name, place in group.moves.mix.items():
        leaves[place.path] = _mixed(leaves[place.path], place, jax.scipy.linalg.expm(linear["mix"][name]))
    return trees.unflatten(_shifted(leaves, leaves, group.moves, shifts))


def move(group: ContinuousGroup, model: Model, position: Position, frozen: Frozen, element: Element) -> Position:
    """Move a position by an element; the same function, and the same fixed values."""
    return model.split(act(group, model.merge(position, frozen), element), frozen)


def tangent(moves: Moves, params: Params, coefficients: Coefficients) -> Params:
    """Return how effective weights begin to move, linear in the coefficients and affine in the weights."""
    leaves = trees.flatten(params)
    changed = {path: jnp.zeros_like(leaf) for path, leaf in leaves.items()}
    for name, place in moves.scale.items():
        changed[place.path] += leaves[place.path] * coefficients["scale"][name]
    for name, place in moves.mix.items():
        changed[place.path] += _mixed(leaves[place.path], place, coefficients["mix"][name])
    return trees.unflatten(_shifted(changed, leaves, moves, coefficients))


def _mixed(leaf: Array, place: UnitAxis, matrices: Array) -> Array:
    """Multiply an axis of a leaf from the right by matrices [*other axes, or one each, units, units]."""
    rows = jnp.moveaxis(leaf, place.axis, -1)[..., None, :]
    return jnp.moveaxis((rows @ matrices)[..., 0, :], -1, place.axis)


def _shifted(
    leaves: Mapping[str, Array], read: Mapping[str, Array], moves: Moves, coefficients: Coefficients
) -> dict[str, Array]:
    """Add shifts to leaves, and take out where ``read`` reads them what a push says."""
    moved = dict(leaves)
    for path in moves.shift:
        moved[path] = moved[path] + coefficients["shift"][path]
    for name, push in moves.push.items():
        amount = coefficients["push"][name]
        passed = jnp.sum(read[push.place.path] * amount, push.in_axes)
        moved[push.bias_beside] = moved[push.bias_beside] - passed.reshape(moved[push.bias_beside].shape)
    return moved


# Candidates ------------------------------------------------------------------------------------------------------


def _candidates(model: Model, inputs: Any) -> Moves:
    shapes = {path: leaf.shape for path, leaf in trees.flatten(model.params_shape).items()}
    axes = {path: as_trees(model.permutation_spec[path], shape) for path, shape in shapes.items()}
    places = [
        UnitAxis(path, axis, tree.name, _coefficient_shape(axes[path], axis, tree))
        for path in shapes
        for axis, tree in enumerate(axes[path])
        if isinstance(tree, Perm)
    ]
    perms = perms_of([tree for of_leaf in axes.values() for tree in of_leaf])
    mixing = linear_units(model, perms, inputs)
    by_name = {f"{place.path}:{place.axis}": place for place in places}
    return Moves(
        scale={name: place for name, place in by_name.items() if place.units not in mixing},
        mix={name: place for name, place in by_name.items() if place.units in mixing},
        shift={
            path: tuple(
                1 if axis in layer.out_axes and layer.role == "kernel" else size
                for axis, size in enumerate(shapes[path])
            )
            for path, layer in model.layers.items()
            if layer.role in ("kernel", "bias")
        },
        push=_pushes(model, by_name),
    )


def _coefficient_shape(axes: tuple, axis: int, perm: Perm) -> tuple[int, ...]:
    """Return the sizes of the units, and of what they are within, one elsewhere."""
    own = {axis} | {i for i, tree in enumerate(axes) if getattr(tree, "name", None) in perm.within}
    return tuple(tree.size if i in own else 1 for i, tree in enumerate(axes))


def _pushes(model: Model, places: Mapping[str, UnitAxis]) -> dict[str, Push]:
    """Return dense kernels that read units which have a bias, and that stand beside a bias of their own."""
    with_bias = {place.units for place in places.values() if model.layers[place.path].role == "bias"}
    found = {}
    for name, place in places.items():
        layer, beside = model.layers[place.path], place.path.rpartition("/")[0] + "/bias"
        reads = layer.role == "kernel" and place.axis in layer.in_axes and not layer.window_axes
        if reads and place.units in with_bias and beside in model.layers:
            found[name] = Push(place, layer.in_axes, beside)
    return found


# What changes nothing --------------------------------------------------------------------------------------------


def _random_params(model: Model, frozen: Frozen, numbers: np.random.Generator) -> Params:
    """Return effective weights of the model's set like those of an initialisation, but none zero; float64."""
    start = model.init(jax.random.key(numbers.integers(2**31)), frozen)

    def blur(leaf: Array) -> np.ndarray:
        added = 0.0 if np.ptp(leaf) > 0 else numbers.standard_normal(leaf.shape)
        return np.asarray(leaf, np.float64) * (1 + 0.3 * numbers.standard_normal(leaf.shape)) + added

    return model.merge(jax.tree.map(blur, start), frozen)


Changes = Callable[[Params, Any], tuple[Array, Array]]
"""(params, rows) -> what every coefficient changes of outputs [outputs, coefficient], and of what is fixed."""


def _make_changes(model: Model, frozen: Frozen, moves: Moves, up_to_constant: bool) -> Changes:
    zero, unravel = ravel_pytree(moves.zero)

    def outputs(coefficients: Array, params: Params, rows: Any) -> Array:
        moved = jax.tree.map(jnp.add, params, tangent(moves, params, unravel(coefficients)))
        found = model.forward(moved, frozen, rows)
        return found - jnp.mean(found, axis=-1, keepdims=True) if up_to_constant else found

    def fixed(coefficients: Array, params: Params) -> Array:
        moved = tangent(moves, params, unravel(coefficients))
        if model.free_mask is None:  # Of syre's set are all weights.
            return jnp.zeros(0, coefficients.dtype)
        kept = zip(*map(jax.tree.leaves, (moved, free)), strict=True)
        return jnp.concatenate([leaf[~is_free] for leaf, is_free in kept])

    free = trees.to_host(model.free_mask(frozen)) if model.free_mask is not None else None

    def changes(params: Params, rows: Any) -> tuple[Array, Array]:
        spread = jnp.std(outputs(zero, params, rows))
        of_outputs = jax.jacfwd(outputs)(zero, params, rows).reshape(-1, zero.size)
        return of_outputs / spread, jax.jacfwd(fixed)(zero, params)

    return jax.jit(changes)


def random_rows(model: Model, num_rows: int, numbers: np.random.Generator) -> Any:
    """Return inputs like the example, so many rows where there may be any number of them."""
    if isinstance(model.example, Graph):
        return jax.tree.map(lambda leaf: random_like(numbers, leaf), model.example)

    def rows(leaf: Any) -> np.ndarray:
        if np.issubdtype(leaf.dtype, np.floating):
            return INPUT_SCALE * numbers.standard_normal((num_rows, *leaf.shape[1:]))
        return np.resize(random_like(numbers, leaf), (num_rows, *leaf.shape[1:]))

    return jax.tree.map(rows, model.example)


def _null_basis(changes: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    """Return combinations of some columns that change nothing, [dim, column]; each has a column of its own."""
    used = changes[:, is_used]
    lengths = np.linalg.norm(used, axis=0)
    lengths = np.where(lengths > TOLERANCE * lengths.max(initial=0), lengths, 1.0)
    triangle = np.linalg.qr(used / lengths, mode="r")
    _, values, rows = np.linalg.svd(triangle)
    rank = int(np.sum(values > TOLERANCE * values.max(initial=0)))
    basis: np.ndarray = np.zeros((len(rows) - rank, len(is_used)))
    basis[:, is_used] = rows[rank:] / lengths
    if len(basis):
        pivots = scipy.linalg.qr(basis, mode="r", pivoting=True)[1][: len(basis)]
        basis = np.linalg.solve(basis[:, pivots], basis)
    # Without fixed values coefficients are whole numbers, up to what the epsilon of a LayerNorm does to them.
    return np.where(np.abs(basis - np.round(basis)) < ROUNDING, np.round(basis), basis)


ROUNDING = 1e-3
"""How near to a whole number coefficients are one."""


def _independent(moves: Moves, params: Params, basis: np.ndarray) -> np.ndarray:
    """Leave out combinations that move nothing, as a leaf scaled along one axis and back along the other."""
    if not len(basis):
        return basis
    unravel = ravel_pytree(moves.zero)[1]
    moved = np.asarray(jax.vmap(lambda one: ravel_pytree(tangent(moves, params, unravel(one)))[0])(jnp.asarray(basis)))
    triangle, order = scipy.linalg.qr(moved.T, mode="r", pivoting=True)
    sizes = np.abs(np.diag(triangle))
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(params))
    return basis[np.sort(order[: int(np.sum(sizes > TOLERANCE * largest))])]


def _split_linear(model: Model, moved: Params, frozen: Frozen) -> Position:
    """Return how a position moves with its effective weights; ``split`` is affine."""
    nothing = model.split(jax.tree.map(jnp.zeros_like, moved), frozen)
    return jax.tree.map(jnp.subtract, model.split(moved, frozen), nothing)
