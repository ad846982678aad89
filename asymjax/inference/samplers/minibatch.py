"""What all samplers on minibatch gradients share: their state, their warmup, and draws.

A sampler is its ``Dynamics``, one step in whitened coordinates at a given step size, and a ``Schedule`` of step sizes.
Warmup is the sampler itself at a constant step size. The step size is in units of one row, ``epsilon = step_size /
num_rows``: what a step size does then does not depend on the number of rows.

No step is tested, so that draws are biased by the step size and by the noise of the gradients. The log density of a
kept draw is over all rows: a forward pass, which ``num_grad_evals`` does not count.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from asymjax import rng, trees
from asymjax.divisors import largest_divisor
from asymjax.errors import InputError
from asymjax.inference.algorithm import Algorithm, Stage, Target, make_draw, make_info
from asymjax.inference.chains_config import MinibatchConfig
from asymjax.inference.samplers.gradients import (
    Gradient,
    add_scaled,
    full_gradient,
    gradient_cost,
    make_gradient,
    unwhiten,
    whiten,
)
from asymjax.types import Array, Draw, Info, Key, Position, PyTree, Sampler

NUM_CHUNKS = 10
# From short runs of sgld, sghmc and psgld on digits with 64 rows a step: larger steps are more biased, and with smaller
# ones chains do not forget their start in 20,000 steps.
AUTO_STEP_SIZE = {"sgld": 0.1, "csgld": 0.3, "sghmc": 0.01, "sgnht": 0.01, "psgld": 0.001, "swag": 0.1}


class Dynamics(NamedTuple):
    """One kind of step, at temperature 1; ``z`` are whitened coordinates.

    Attributes
    ----------
    init : (key, z, friction) -> memory, what there is beside z; ``friction`` is None or what a warmup handed on.
    step : (key, z, memory, gradient, epsilon, num_rows) -> (z, memory); ``gradient`` is (z, key) -> estimate.
    friction : (memory) -> number [] that warmup hands on to sampling, or None.
    """

    init: Callable[[Key, PyTree, Array | None], Any]
    step: Callable[[Key, PyTree, Any, Gradient, Array, int], tuple[PyTree, Any]]
    friction: Callable[[Any], Array | None] = lambda memory: None


class Schedule(NamedTuple):
    """Step sizes of the draws, as multiples of ``step_size``.

    Attributes
    ----------
    factor : (count of the steps before, int32 []) -> [].
    num_explored : (count) -> int32 [], steps without noise before this one; None for none.
    explored_factor : (their index, int32 []) -> [].
    """

    factor: Callable[[Array], Array]
    num_explored: Callable[[Array], Array] | None = None
    explored_factor: Callable[[Array], Array] = jnp.ones_like


class Tuned(NamedTuple):
    """What warmup hands on, one set a chain.

    Attributes
    ----------
    step_size : [] in units of one row.
    friction : [] share of the momentum that a step loses, as the thermostat of sgnht left it; else None.
    centre : position where control variates are exact, the start of the chain; None without them.
    centre_gradient : gradient over all rows there, with respect to z; None without them.
    """

    step_size: Array
    friction: Array | None = None
    centre: Position | None = None
    centre_gradient: PyTree | None = None


class State(NamedTuple):
    """One chain: at most two positions, four with the control variates in ``Tuned``; more while swag fits a Gaussian.

    Attributes
    ----------
    position : trainable leaves.
    memory : what the dynamics have beside z: nothing, a momentum, squared gradients, or moments.
    num_steps : int32 [] steps taken.
    """

    position: Position
    memory: Any
    num_steps: Array


class WarmupState(NamedTuple):
    """One chain in warmup: its state, and what sampling will be given."""

    sampler: State
    tuned: Tuned


def step_size_of(config: MinibatchConfig) -> float:
    """Return the step size in units of one row."""
    return AUTO_STEP_SIZE[config.sampler] if config.step_size == "auto" else float(config.step_size)


CONSTANT = Schedule(lambda count: jnp.ones((), jnp.float32))


def explore(key: Key, z: PyTree, num_steps: Array, gradient: Gradient, epsilon: Callable[[Array], Array]) -> PyTree:
    """Climb the estimated gradients for a traced number of steps, without noise."""

    def climb(index: Array, z: PyTree) -> PyTree:
        return add_scaled(z, gradient(z, jax.random.fold_in(key, index)), epsilon(index))

    return lax.fori_loop(0, num_steps, climb, z)


def make_minibatch(
    dynamics: Dynamics,
    schedule: Schedule,
    target: Target,
    tuned: Tuned,
    batch_size: int,
    outputs: Callable[[Position], Array] | None = None,
    keep_position: bool = True,
) -> Sampler:
    """Build the sampler of one chain.

    Parameters
    ----------
    dynamics, schedule : what a step does, and how long steps are.
    target : the density.
    tuned : step size, and the centre of control variates.
    batch_size : rows of a gradient.
    outputs : (position) -> what to keep of a draw in function space, or None.
    keep_position : whether draws keep the position.
    """
    gradient = make_gradient(target, batch_size, tuned.centre, tuned.centre_gradient)
    cost = gradient_cost(target, batch_size, tuned.centre is not None)

    def epsilon(factor: Array) -> Array:
        return (tuned.step_size * factor / target.num_rows).astype(tuned.step_size.dtype)

    def init(key: Key, position: Position) -> State:
        memory = dynamics.init(key, whiten(position, target.prior_scale), tuned.friction)
        return State(position, memory, jnp.zeros((), jnp.int32))

    def step(key: Key, state: State) -> tuple[State, Info]:
        z, num_steps = whiten(state.position, target.prior_scale), jnp.ones((), jnp.int32)
        if schedule.num_explored is not None:
            num_explored = schedule.num_explored(state.num_steps)
            explore_key = rng.named_key(key, "explore")
            z = explore(explore_key, z, num_explored, gradient, lambda i: epsilon(schedule.explored_factor(i)))
            num_steps += num_explored
        size = epsilon(schedule.factor(state.num_steps))
        z, memory = dynamics.step(key, z, state.memory, gradient, size, target.num_rows)
        state = State(unwhiten(z, target.prior_scale), memory, state.num_steps + 1)
        return state, make_info(cost * num_steps, is_divergent=~trees.all_finite(z))

    def collect(state: State, info: Info) -> Draw:
        return make_draw(state.position, target.logdensity(state.position), info, outputs, keep_position)

    return Sampler(init, step, collect)


def burn_in(
    dynamics: Dynamics, config: MinibatchConfig
) -> tuple[Callable[..., WarmupState], tuple[Stage, ...], Callable[[WarmupState], tuple[Position, Tuned]]]:
    """Build the warmup of one chain: the sampler at its constant step size.

    The log density at the end of every stage is over all rows.
    """
    num_steps = largest_divisor(config.num_warmup, max(1, config.num_warmup // NUM_CHUNKS))

    def begin(key: Key, position: Position, target: Target) -> WarmupState:
        dtype = jnp.result_type(*jax.tree.leaves(position))
        tuned = Tuned(jnp.asarray(step_size_of(config), dtype))
        if config.control_variates:
            tuned = tuned._replace(centre=position, centre_gradient=full_gradient(target, position))
        sampler = make_minibatch(dynamics, CONSTANT, target, tuned, config.batch_size)
        return WarmupState(sampler.init(rng.named_key(key, "init"), position), tuned)

    def advance(
        key: Key, state: WarmupState, first: Array, setting: Array, target: Target
    ) -> tuple[WarmupState, dict[str, Array]]:
        sampler = make_minibatch(dynamics, CONSTANT, target, state.tuned, config.batch_size)

        def one(walk: State, t: Array) -> tuple[State, Array]:
            walk, info = sampler.step(jax.random.fold_in(key, t), walk)
            return walk, info.num_grad_evals

        walk, num_grad_evals = lax.scan(one, state.sampler, first + jnp.arange(num_steps))
        # The gradient at the centre belongs to the first stage.
        num_once = jnp.where(first == 0, 1.0 if config.control_variates else 0.0, 0.0)
        metrics = {
            "step_size": state.tuned.step_size,
            "num_grad_evals": jnp.sum(num_grad_evals) + num_once,
            "logdensity": target.logdensity(walk.position),
        }
        return WarmupState(walk, state.tuned), metrics

    def finish(state: WarmupState) -> tuple[Position, Tuned]:
        return state.sampler.position, state.tuned._replace(friction=dynamics.friction(state.sampler.memory))

    return begin, (Stage(advance, num_steps),) * (config.num_warmup // num_steps), finish


def check_minibatch(config: MinibatchConfig) -> None:
    """Look at the settings that all samplers on minibatches share.

    Raises
    ------
    InputError
        If the batch or the step size is not positive.
    """
    if config.batch_size < 1 or step_size_of(config) <= 0:
        raise InputError(f"batch_size {config.batch_size} and step_size {config.step_size} must be positive")


def minibatch_algorithm(config: MinibatchConfig, dynamics: Dynamics, schedule: Schedule = CONSTANT) -> Algorithm:
    """Return the algorithm of some dynamics.

    Raises
    ------
    InputError
        If the batch or the step size is not positive, or the momentum not in [0, 1).
    """
    check_minibatch(config)
    if not 0 <= config.momentum < 1:
        raise InputError(f"momentum is {config.momentum}; it must be at least 0 and less than 1")

    def make(
        target: Target, tuned: Tuned, outputs: Callable[[Position], Array] | None = None, keep_position: bool = True
    ) -> Sampler:
        return make_minibatch(dynamics, schedule, target, tuned, config.batch_size, outputs, keep_position)

    return Algorithm(make, *burn_in(dynamics, config))
