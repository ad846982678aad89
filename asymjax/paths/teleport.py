"""Teleports: jumps along the exact symmetries of a network, to another point of the same function.

A group moves a position w to g.w, and outputs stay for every input. What does change is what training and sampling
see: the gradient, the curvature, the distance from zero. A teleport chooses g so that an objective falls, and then
training goes on from there (Zhao, Gower, Walters and Yu 2024, arXiv 2305.13404). Groups are those of
:mod:`asymjax.symmetry.continuous`, or any other whose elements are trees of exponents, zeros for the identity.

On an orbit the gradient may grow without bound, as of f = abx, so every teleport has a cap on how far it goes, and the
objective that seeks large gradients one on these. The action that the paper itself takes, by a pseudo-inverse, keeps
outputs only nearly and only on the rows that it is told of; it has its own name here, and says how far it is off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.paths.objectives import Objective
from asymjax.settings import Count, Positive, Settings
from asymjax.symmetry.continuous import ContinuousGroup, move
from asymjax.types import Array, Frozen, Key, Model, Params, Position, PyTree

Act = Callable[[Position, Any], Position]
"""(position, element) -> position; elements are trees of exponents, zeros for the identity."""
GROWTH, SHRINKAGE = 1.5, 0.5
"""Of the size of a step after one that was taken, and after one that was refused."""


@dataclass(frozen=True)
class TeleportConfig(Settings):
    """How an element is sought."""

    num_steps: Count = 10
    """Steps along the group; one that does not let the objective fall is undone and halved."""
    step_size: Positive = 0.1
    """Largest exponent of the first step: scales change by up to 10 % at 0.1."""
    max_length: Positive = 0.3
    """Cap on the sum of the largest exponents of all steps: scales change by up to 35 % at 0.3, 2.7-fold at 1."""


class Teleported(NamedTuple):
    """Where a teleport leads, and what changed.

    Attributes
    ----------
    position : the same function elsewhere.
    before, after : [] the objective; after is never above before.
    loss_before, loss_after : [] the loss that the symmetry keeps, on the rows of the teleport.
    length : [] sum of the largest exponents of the steps taken.
    """

    position: Position
    before: Array
    after: Array
    loss_before: Array
    loss_after: Array
    length: Array


Teleport = Callable[[Key, Position, Any], Teleported]
"""(key, position, data) -> Teleported; ``data`` are what loss and objective take."""


def action(group: ContinuousGroup, model: Model, frozen: Frozen) -> Act:
    """Return how the symmetries of a model move its positions; elements are like ``group.identity``."""
    return lambda position, element: move(group, model, position, frozen, element)


class _Walk(NamedTuple):
    position: Position
    value: Array
    size: Array
    length: Array


def make_teleport(
    act: Act, identity: PyTree, loss: Objective, objective: Objective, config: TeleportConfig
) -> Teleport:
    """Return the teleport that walks down an objective along a group.

    Every step follows the gradient at the identity, and begins where the last one ended. One that would not let the
    objective fall, or to a number, is not taken, so a teleport never does harm to its objective.

    Parameters
    ----------
    act : how an element moves a position.
    identity : the element that moves nothing, a tree of zeros; without entries nothing ever moves.
    loss : what the group keeps, told before and after.
    objective : what falls, as :func:`steep`.
    config : steps and cap.
    """

    def walk(key: Key, position: Position, data: Any) -> tuple[Position, Array]:
        def value_of(position: Position) -> Array:
            return objective(key, position, data)

        def step(walk: _Walk, _: None) -> tuple[_Walk, None]:
            slope = jax.grad(lambda element: value_of(act(walk.position, element)))(identity)
            largest = _largest(slope)
            size = jnp.minimum(walk.size, config.max_length - walk.length)
            factor = -size / jnp.where(largest > 0, largest, 1.0)
            moved = act(walk.position, jax.tree.map(lambda leaf: factor * leaf, slope))
            value = value_of(moved)
            is_taken = (value < walk.value) & (largest > 0) & (size > 0) & trees.all_finite((value, moved))
            taken = _Walk(moved, value, GROWTH * walk.size, walk.length + size)
            refused = walk._replace(size=SHRINKAGE * walk.size)
            return jax.tree.map(partial(jnp.where, is_taken), taken, refused), None

        value = value_of(position)
        start = _Walk(position, value, jnp.full_like(value, config.step_size), jnp.zeros_like(value))
        end = lax.scan(step, start, None, length=config.num_steps)[0] if jax.tree.leaves(identity) else start
        return end.position, end.length

    return telling(walk, loss, objective)


def telling(
    jump: Callable[[Key, Position, Any], tuple[Position, Array]], loss: Objective, objective: Objective
) -> Teleport:
    """Return a jump, (key, position, data) -> position and length, that tells loss and objective before and after."""

    def teleport(key: Key, position: Position, data: Any) -> Teleported:
        moved, length = jump(key, position, data)
        values, losses = ([fn(key, at, data) for at in (position, moved)] for fn in (objective, loss))
        return Teleported(moved, *values, *losses, length)  # type: ignore[call-arg]

    return teleport


def wander(act: Act, identity: PyTree, length: float) -> Callable[[Key, Position, Any], tuple[Position, Array]]:
    """Return a jump by a random element, whose largest exponent is ``length``: the control of every teleport."""

    def jump(key: Key, position: Position, data: Any) -> tuple[Position, Array]:
        element = normal_like(key, identity)
        share = length / jnp.maximum(_largest(element), 1e-30)
        return act(position, jax.tree.map(lambda leaf: share * leaf, element)), share * _largest(element)

    return jump


def _largest(tree: PyTree) -> Array:
    """Return the largest magnitude in a tree [], 0 of one without entries."""
    return jnp.max(jnp.concatenate([jnp.zeros(1), *(jnp.abs(leaf).ravel() for leaf in jax.tree.leaves(tree))]))


# Objectives -------------------------------------------------------------------------------------------------------


def steep(loss: Objective, max_gradient: float | Array) -> Objective:
    """Return minus the log of the norm of a loss' gradient: training goes faster where it is large.

    The log has the same places of rest as the paper's squared norm, and steps that do not depend on its scale.

    Parameters
    ----------
    loss : as of :func:`asymjax.paths.objectives.new_task`; its data is that of the objective.
    max_gradient : norm above which the objective is infinite, so that no step leads there.
    """

    def objective(key: Key, position: Position, data: Any) -> Array:
        square = optax.tree.norm(jax.grad(lambda position: loss(key, position, data))(position), squared=True)
        return jnp.where(square > jnp.square(max_gradient), jnp.inf, -0.5 * jnp.log(square))

    return objective


def flat(loss: Objective, radii: Sequence[float], num_directions: int = 4) -> Objective:
    """Return the mean loss at random displacements of given lengths: sharpness.

    Directions are Gaussian, of all signs alike; those of the paper's code are uniform on (0, 1), in one orthant.

    Parameters
    ----------
    loss : as of :func:`steep`.
    radii : lengths of displacements, in the units of the position.
    num_directions : of each length, drawn by the key.
    """
    lengths = jnp.repeat(jnp.asarray(radii, "float32"), num_directions)

    def objective(key: Key, position: Position, data: Any) -> Array:
        def at(number: Array, length: Array) -> Array:
            direction = normal_like(jax.random.fold_in(rng.named_key(key, "direction"), number), position)
            share = length / trees.norm(direction)
            return loss(key, jax.tree.map(lambda leaf, along: leaf + share * along, position, direction), data)

        return jnp.mean(jax.vmap(at)(jnp.arange(len(lengths)), lengths))

    return objective


def straight(act: Act, identity: PyTree, num_curves: int = 4) -> Objective:
    """Return the mean curvature of random curves exp(tM).w through a position; its data is not read.

    Parameters
    ----------
    act, identity : as of :func:`make_teleport`.
    num_curves : Gaussian M, drawn by the key.
    """

    def objective(key: Key, position: Position, data: Any) -> Array:
        def of_curve(number: Array) -> Array:
            return orbit_curvature(act, position, normal_like(jax.random.fold_in(key, number), identity))

        return jnp.mean(jax.vmap(of_curve)(jnp.arange(num_curves)))

    return objective


def orbit_curvature(act: Act, position: Position, direction: PyTree) -> Array:
    """Return the curvature at t = 0 of the curve gamma(t) = exp(tM).w [].

    ``sqrt(|gamma'|^2 |gamma''|^2 - (gamma' . gamma'')^2) / |gamma'|^3`` (arXiv 2305.13404, section on curvature).

    Parameters
    ----------
    act : how an element moves a position; t M are the exponents.
    position : w.
    direction : M, an element.
    """

    def velocity(t: Array) -> Position:
        return jax.jvp(lambda t: act(position, jax.tree.map(lambda leaf: t * leaf, direction)), (t,), (one,))[1]

    one = jnp.ones((), jax.tree.leaves(position)[0].dtype)
    first, second = jax.jvp(velocity, (jnp.zeros_like(one),), (one,))
    along = optax.tree.vdot(first, second) / optax.tree.vdot(first, first)
    # What of gamma'' stands across gamma'; the difference of squares would be rounding where the curve is nearly flat.
    across = jax.tree.map(lambda ahead, here: ahead - along * here, second, first)
    return trees.norm(across) / optax.tree.vdot(first, first)


def short() -> Objective:
    """Return half the squared length of a position; its data is not read. Least on an orbit where it is balanced."""
    return lambda key, position, data: optax.tree.norm(position, squared=True) / 2


def opposite(objective: Objective) -> Objective:
    """Return minus an objective: what would fall rises."""
    return lambda key, position, data: -objective(key, position, data)


def normal_like(key: Key, tree: PyTree) -> PyTree:
    """Draw a tree of standard normal numbers like a tree of arrays."""
    leaves, structure = jax.tree.flatten(tree)
    drawn = [rng.normal(jax.random.fold_in(key, i), leaf.shape).astype(leaf.dtype) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, drawn)


# Balance ----------------------------------------------------------------------------------------------------------


def balance(
    act: Act, identity: PyTree, position: Position, precision: PyTree | None = None, num_steps: int = 50
) -> Position:
    """Return the shortest position on an orbit: the same function with the least |w|^2.

    Where units are rescaled, each has as much length on its way in as on its way out; |w|^2 is convex in the logs of
    the factors, so there is one such point. A preconditioner before training or sampling.

    Parameters
    ----------
    act, identity : as of :func:`make_teleport`.
    position : where from.
    precision : tree like the position, or a number a leaf: one over the variances of a normal prior around zero, for
        the point of the orbit that the prior likes best; None for one each.
    num_steps : of L-BFGS, over elements.
    """
    if not jax.tree.leaves(identity):
        return position

    roots = jax.tree.map(jnp.ones_like, position) if precision is None else jax.tree.map(jnp.sqrt, precision)

    def length(element: PyTree) -> Array:
        return 2 * jnp.log(trees.norm(jax.tree.map(jnp.multiply, act(position, element), roots)))

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(length)

    def step(carry: tuple[PyTree, Any], _: None) -> tuple[tuple[PyTree, Any], None]:
        element, state = carry
        value, slope = value_and_grad(element, state=state)
        change, state = optimizer.update(slope, state, element, value=value, grad=slope, value_fn=length)
        moved = optax.apply_updates(element, change)
        # Where the length is at its least, rounding may lead anywhere.
        kept = trees.all_finite(moved) & (length(moved) <= value)
        return (jax.tree.map(partial(jnp.where, kept), moved, element), state), None

    (element, _), _ = lax.scan(step, (identity, optimizer.init(identity)), None, length=num_steps)
    return act(position, element)


# While training ---------------------------------------------------------------------------------------------------


class TeleportingState(NamedTuple):
    """State of :func:`teleporting`.

    Attributes
    ----------
    inner : of the optimizer.
    step : int32 [] steps done.
    told : what each teleport said, leaves [teleport]; zeros of those to come.
    """

    inner: Any
    step: Array
    told: dict[str, Array]


TOLD = tuple(name for name in Teleported._fields if name != "position")


def teleporting(
    optimizer: optax.GradientTransformation,
    make: Callable[[Frozen], Teleport],
    after_steps: Sequence[int],
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer that teleports after some of its steps, and goes on with the state that it has.

    Its ``update`` takes ``frozen``, ``data`` and ``key`` beside the parameters, which
    :func:`asymjax.train.make_train` gives: the constants of the network, all training rows, and the network's own key,
    from which every teleport has one. Mapped by ``vmap`` every step pays for a teleport; networks one after the other,
    as on CPU, pay for those that there are.

    Parameters
    ----------
    optimizer : any.
    make : constants of a network -> its teleport.
    after_steps : numbers of steps, from 1, after which it teleports, ascending.

    Raises
    ------
    InputError
        If the steps do not ascend from 1.
    """
    steps = list(after_steps)
    if not steps or steps[0] < 1 or steps != sorted(set(steps)):
        raise InputError(f"after_steps is {steps}; give steps from 1 on, ascending")
    inner, places = optax.with_extra_args_support(optimizer), jnp.asarray(steps)

    def init(params: Params) -> TeleportingState:
        return TeleportingState(inner.init(params), jnp.array(0), {name: jnp.zeros(len(steps)) for name in TOLD})

    def update(
        updates: PyTree,
        state: TeleportingState,
        params: Position,
        *,
        frozen: Frozen,
        data: Any,
        key: Key,
        **others: Any,
    ) -> tuple[PyTree, TeleportingState]:
        updates, inner_state = inner.update(updates, state.inner, params, frozen=frozen, data=data, key=key, **others)
        stepped, number = optax.apply_updates(params, updates), state.step + 1

        def jump(told: dict[str, Array]) -> tuple[PyTree, dict[str, Array]]:
            found = make(frozen)(jax.random.fold_in(key, number), stepped, data)
            place = jnp.argmax(places == number)
            return (
                jax.tree.map(jnp.subtract, found.position, params),
                {name: told[name].at[place].set(getattr(found, name)) for name in TOLD},
            )

        changes, told = lax.cond(jnp.any(places == number), jump, lambda told: (updates, told), state.told)
        return changes, TeleportingState(inner_state, number, told)

    return optax.GradientTransformationExtraArgs(init, update)


# The paper's own action -------------------------------------------------------------------------------------------


class Approximate(NamedTuple):
    """Weights that are nearly the same function.

    Attributes
    ----------
    params : effective weights.
    error : [] change of the outputs on the rows that were told, relative to the outputs; see
        :func:`relative_change` for that on others.
    """

    params: Params
    error: Array


def pseudo_inverse_action(
    model: Model, frozen: Frozen, params: Params, layer: str, reader: str, change: Array, inputs: Any
) -> Approximate:
    """Mix the units of a layer by 1 + T, and let the layer that reads them make up for it as well as it can.

    ``(U, V) -> (U s(V X) s(g V X)^+, g V)`` with g = 1 + T (arXiv 2305.13404; the action of its code). No symmetry:
    where there are more rows than units, outputs change on the rows themselves, and elsewhere always.

    Parameters
    ----------
    model, frozen, params : the network, of dense layers without a norm, its constants and its effective weights.
    layer, reader : paths of the layer whose units are mixed, ``"dense_0"``, and of the one that reads them.
    change : T [units, units].
    inputs : X [rows, ...].

    Raises
    ------
    InputError
        If the network has no such dense layers.
    """
    leaves, kernel, bias = dict(trees.flatten(params)), f"{layer}/kernel", f"{layer}/bias"
    if not {kernel, f"{reader}/kernel"} <= leaves.keys():
        known = sorted(path.rpartition("/")[0] for path in leaves if path.endswith("/kernel"))
        raise InputError(f"there are no layers {layer} and {reader}; choose from {', '.join(known)}")

    def words(params: Params) -> Array:
        return model.layer_inputs(params, frozen, inputs)[f"{reader}/kernel"]

    mixing = jnp.eye(len(change), dtype=change.dtype) + change
    before = words(params)
    leaves |= {path: leaves[path] @ mixing.T for path in (kernel, bias) if path in leaves}
    after = words(trees.unflatten(leaves))
    leaves[f"{reader}/kernel"] = jnp.linalg.pinv(after) @ (before @ leaves[f"{reader}/kernel"])
    moved = trees.unflatten(leaves)
    return Approximate(moved, relative_change(*(model.forward(at, frozen, inputs) for at in (params, moved))))


def pseudo_inverse(model: Model, frozen: Frozen, layers: Sequence[str], inputs: Any) -> tuple[Act, dict[str, Array]]:
    """Return :func:`pseudo_inverse_action` of every hidden layer as what :func:`make_teleport` takes, and no motion.

    Parameters
    ----------
    model, frozen : as of :func:`pseudo_inverse_action`.
    layers : paths of the dense layers in order, the last one reads alone.
    inputs : X [rows, ...].
    """
    sizes = {layer: model.params_shape[layer]["kernel"].shape[-1] for layer in layers[:-1]}

    def act(position: Position, element: dict[str, Array]) -> Position:
        params = model.merge(position, frozen)
        for layer, reader in pairwise(layers):
            params = pseudo_inverse_action(model, frozen, params, layer, reader, element[layer], inputs).params
        return model.split(params, frozen)

    return act, {layer: jnp.zeros((size, size)) for layer, size in sizes.items()}


def relative_change(outputs: Array, others: Array) -> Array:
    """Return the Euclidean distance of outputs from others, relative to the length of the first []."""
    return jnp.linalg.norm(others - outputs) / jnp.linalg.norm(outputs)
