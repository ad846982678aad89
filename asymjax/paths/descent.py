"""Ordinary descent of an objective, walked in chunks as invariant paths are: what those are compared with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from asymjax import trees
from asymjax.paths.objectives import Objective
from asymjax.types import Array, Key, Position, PyTree


class DescentState(NamedTuple):
    """One network in descent.

    Attributes
    ----------
    position : where it is.
    opt_state : state of the optimizer.
    step : int [] steps done.
    failed_step : int [] the first step that was not finite, from which on the network rests; or -1.
    """

    position: Position
    opt_state: PyTree
    step: Array
    failed_step: Array


class DescentSteps(NamedTuple):
    """What each step tells, [step]: the objective before it, and how long it was."""

    objective: Array
    step_length: Array


class Descent(NamedTuple):
    """Descent of one network; map it over networks.

    Attributes
    ----------
    init : (position) -> DescentState.
    advance : (key, state, data, num_steps) -> (DescentState, DescentSteps); ``num_steps`` is static, and chunks of any
        length give the same bits.
    """

    init: Callable[[Position], DescentState]
    advance: Callable[[Key, DescentState, Any, int], tuple[DescentState, DescentSteps]]


def make_descent(objective: Objective, optimizer: optax.GradientTransformation) -> Descent:
    """Build the descent of an objective.

    Parameters
    ----------
    objective : what falls; each step has a key of its own.
    optimizer : acts on positions.
    """

    def init(position: Position) -> DescentState:
        return DescentState(position, optimizer.init(position), jnp.array(0), jnp.array(-1))

    def step(key: Key, state: DescentState, data: Any) -> tuple[DescentState, DescentSteps]:
        own = jax.random.fold_in(key, state.step)
        value, grad = jax.value_and_grad(lambda position: objective(own, position, data))(state.position)
        updates, opt_state = optimizer.update(grad, state.opt_state, state.position)
        moved = DescentState(optax.apply_updates(state.position, updates), opt_state, state.step, state.failed_step)
        is_good = (state.failed_step < 0) & jnp.isfinite(value) & trees.all_finite(moved.position)
        failed = jnp.where((state.failed_step < 0) & ~is_good, state.step, state.failed_step)
        kept = jax.tree.map(lambda new, old: jnp.where(is_good, new, old), moved, state)
        told = DescentSteps(value, jnp.where(is_good, trees.norm(updates), 0.0))
        return kept._replace(step=state.step + 1, failed_step=failed), told

    def advance(key: Key, state: DescentState, data: Any, num_steps: int) -> tuple[DescentState, DescentSteps]:
        return lax.scan(lambda state, _: step(key, state, data), state, None, length=num_steps)

    return Descent(init, advance)
