"""What all samplers on minibatch gradients share: their state, their warmup, and draws.

A sampler is its ``Dynamics``, one step in whitened coordinates at a given step size, and a ``Schedule`` of step sizes.
Warmup is the sampler itself at a constant step size. The step size is in units of one row, ``epsilon = step_size /
num_rows``: what a step size does then does not depend on the number of rows.

No step is tested, so that draws are biased by the step size and by the noise of the gradients. The log density of a
kept draw is over all rows: a forward pass, which ``num_grad_evals`` does not count.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from asymjax import rng, trees
from asymjax.divisors import largest_divisor
from asymjax.inference.algorithm import Algorithm, Stage, Target, make_info
from asymjax.inference.samplers.gradients import (
    Gradient,
    add_scaled,
    full_gradient,
    gradient_cost,
    make_gradient,
    unwhiten,
    whiten,
)
from asymjax.settings import Count, Positive
from asymjax.types import Array, Info, Key, Position, PyTree, Sampler

NUM_CHUNKS = 10


class Dynamics(NamedTuple):
    """One kind of step, at temperature 1; ``z`` are whitened coordinates.

    Attributes
    ----------
    init : (key, z, tuned) -> memory, what there is beside z; ``tuned`` has what a warmup handed on.
    step : (key, z, memory, gradient, epsilon, num_rows) -> (z, memory); ``gradient`` is (z, key) -> estimate.
    hand_on : (memory) -> fields of ``Tuned`` by name, what warmup hands on to sampling.
    energy_change : (memory) -> [] energy error of the last step, in nats; NaN where there is none.
    """

    init: Callable[[Key, PyTree, "Tuned"], Any]
    step: Callable[[Key, PyTree, Any, Gradient, Array, int], tuple[PyTree, Any]]
    hand_on: Callable[[Any], dict[str, Any]] = lambda memory: {}
    energy_change: Callable[[Any], Any] = lambda memory: jnp.nan


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
    scale : [coordinates] units in which psmile walks, from the gradients of warmup; else None.
    centre : position where control variates are exact, the start of the chain; None without them.
    centre_gradient : gradient over all rows there, with respect to z; None without them.
    """

    step_size: Array
    friction: Array | None = None
    scale: Array | None = None
    centre: Position | None = None
    centre_gradient: PyTree | None = None


class State(NamedTuple):
    """One chain: at most two positions, four of psmile, two more with the control variates in ``Tuned``.

    While swag fits a Gaussian there are more.

    Attributes
    ----------
    position : trainable leaves.
    memory : what the dynamics have beside z: nothing, a momentum, a direction, squared gradients, or moments.
    num_steps : int32 [] steps taken.
    """

    position: Position
    memory: Any
    num_steps: Array


class WarmupState(NamedTuple):
    """One chain in warmup: its state, and what sampling will be given."""

    sampler: State
    tuned: Tuned


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
) -> Sampler:
    """Build the kernel of one chain.

    Parameters
    ----------
    dynamics, schedule : what a step does, and how long steps are.
    target : the density.
    tuned : step size, and the centre of control variates.
    batch_size : rows of a gradient.
    """
    gradient = make_gradient(target, batch_size, tuned.centre, tuned.centre_gradient)
    cost = gradient_cost(target, batch_size, tuned.centre is not None)

    def epsilon(factor: Array) -> Array:
        return (tuned.step_size * factor / target.num_rows).astype(tuned.step_size.dtype)

    def init(key: Key, position: Position) -> State:
        memory = dynamics.init(key, whiten(position, target.prior_scale), tuned)
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
        energy_change = dynamics.energy_change(memory)
        return state, make_info(cost * num_steps, is_divergent=~trees.all_finite(z), energy_change=energy_change)

    return Sampler(init, step)


@dataclass(frozen=True)
class Minibatch(Algorithm):
    """Dynamics on gradients of a few rows, without a Metropolis test: draws are biased by the step size.

    All walk in coordinates in units of the prior's standard deviation. Warmup is the sampler itself at its constant
    step size.
    """

    num_warmup: Count = 20_000
    """Steps a chain that are dropped, at the constant step_size."""
    thinning: Count = 100
    """Keep one draw in this many steps."""
    batch_size: Count = 64
    """Rows a step, drawn with replacement."""
    step_size: Positive = 0.1
    """Step size in units of one row: a step takes the gradient of the log density times step_size / rows, whatever the
    batch size. The same for samplers with momentum, whose time step is the square root of that."""
    control_variates: bool = False
    """Estimate only how the gradient differs from the one at the start of the chain, at twice the cost. Less noisy near
    the start, noisier far from it."""

    @property
    def dynamics(self) -> Dynamics:
        """What a step does."""
        raise NotImplementedError

    def make_schedule(self, num_steps: int) -> Schedule:
        """Return how long the steps of the draws are; ``num_steps`` are all of them."""
        return CONSTANT

    def make(self, target: Target, tuned: Tuned, num_steps: int = 0) -> Sampler:
        """Build the kernel."""
        return make_minibatch(self.dynamics, self.make_schedule(num_steps), target, tuned, self.batch_size)

    def begin(self, key: Key, position: Position, target: Target) -> WarmupState:
        """Return the state of warmup."""
        dtype = jnp.result_type(*jax.tree.leaves(position))
        tuned = Tuned(jnp.asarray(self.step_size, dtype))
        if self.control_variates:
            tuned = tuned._replace(centre=position, centre_gradient=full_gradient(target, position))
        sampler = make_minibatch(self.dynamics, CONSTANT, target, tuned, self.batch_size)
        return WarmupState(sampler.init(rng.named_key(key, "init"), position), tuned)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Chunks of equal length."""
        num_steps = largest_divisor(self.num_warmup, max(1, self.num_warmup // NUM_CHUNKS))
        return (Stage(partial(self.advance, num_steps=num_steps), num_steps),) * (self.num_warmup // num_steps)

    def advance(
        self, key: Key, state: WarmupState, first: Array, setting: Array, target: Target, num_steps: int
    ) -> tuple[WarmupState, dict[str, Array]]:
        """Take the steps of one chunk; the log density at its end is over all rows."""
        sampler = make_minibatch(self.dynamics, CONSTANT, target, state.tuned, self.batch_size)

        def one(walk: State, t: Array) -> tuple[State, Array]:
            walk, info = sampler.step(jax.random.fold_in(key, t), walk)
            return walk, info.num_grad_evals

        walk, num_grad_evals = lax.scan(one, state.sampler, first + jnp.arange(num_steps))
        # The gradient at the centre belongs to the first stage.
        num_once = jnp.where(first == 0, 1.0 if self.control_variates else 0.0, 0.0)
        metrics = {
            "step_size": state.tuned.step_size,
            "num_grad_evals": jnp.sum(num_grad_evals) + num_once,
            "logdensity": target.logdensity(walk.position),
        }
        return WarmupState(walk, state.tuned), metrics

    def finish(self, state: WarmupState) -> tuple[Position, Tuned]:
        """Return where warmup ended, and what sampling is given."""
        return state.sampler.position, state.tuned._replace(**self.dynamics.hand_on(state.sampler.memory))
