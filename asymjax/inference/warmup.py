"""Warmup of HMC: step size by dual averaging, and a diagonal metric, one chain at a time.

Every chain adapts alone, so that what it becomes does not depend on how many there are. The pieces (dual averaging,
Welford's variance) are BlackJAX's; they are put together here because its window adaptation fixes the number of
leapfrog steps, while here the trajectory length is fixed and the number of steps follows the step size.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from blackjax.adaptation.mass_matrix import WelfordAlgorithmState, welford_algorithm
from blackjax.adaptation.step_size import DualAveragingAdaptationState, dual_averaging_adaptation
from blackjax.mcmc.hmc import HMCState
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax.inference.samplers.hmc import Tuned, make_hmc
from asymjax.types import Array, Key, Position

INITIAL_STEP_SIZE = 0.01
# Weight of the previous metric in a new one, in draws; keeps the metric sane after a short window.
PRIOR_DRAWS = 10


class WarmupState(NamedTuple):
    """One chain in warmup.

    Attributes
    ----------
    sampler : state of the sampler.
    averaging : state of dual averaging.
    moments : running mean and variance of the position.
    inverse_mass_matrix : [coordinates] metric in use.
    trajectory_length : [] integration time.
    """

    sampler: HMCState
    averaging: DualAveragingAdaptationState
    moments: WelfordAlgorithmState
    inverse_mass_matrix: Array
    trajectory_length: Array


class WarmupTrace(NamedTuple):
    """What a warmup step tells: [] acceptance rate, [] step size it used, int32 [] gradients spent."""

    acceptance_rate: Array
    step_size: Array
    num_grad_evals: Array


class Warmup(NamedTuple):
    """Warmup of one chain.

    Attributes
    ----------
    init : (position, logdensity, inverse_mass_matrix, trajectory_length) -> WarmupState.
    advance : (key, state, start, logdensity, num_steps) -> (WarmupState, WarmupTrace [num_steps]).
    adopt_metric : (state) -> WarmupState whose metric is the variance seen since the last call, with dual averaging
        begun anew.
    tuned : (state) -> Tuned, the averaged step size.
    """

    init: Callable[..., WarmupState]
    advance: Callable[..., tuple[WarmupState, WarmupTrace]]
    adopt_metric: Callable[[WarmupState], WarmupState]
    tuned: Callable[[WarmupState], Tuned]


def make_warmup(target_acceptance_rate: float, jitter: float, max_steps: int) -> Warmup:
    """Build the warmup of one chain.

    Parameters
    ----------
    target_acceptance_rate : what the step size is tuned to, in (0, 1).
    jitter, max_steps : as in :func:`~asymjax.inference.samplers.hmc.make_hmc`.
    """
    averaging_init, averaging_update, averaging_final = dual_averaging_adaptation(target_acceptance_rate)
    moments_init, moments_update, moments_final = welford_algorithm(is_diagonal_matrix=True)

    def init(
        position: Position,
        logdensity: Callable[[Position], Array],
        inverse_mass_matrix: Array,
        trajectory_length: Array,
    ) -> WarmupState:
        tuned = Tuned(jnp.asarray(INITIAL_STEP_SIZE), inverse_mass_matrix, trajectory_length)
        state = WarmupState(
            sampler=make_hmc(logdensity, tuned).init(position),
            averaging=averaging_init(INITIAL_STEP_SIZE),
            moments=moments_init(inverse_mass_matrix.size),
            inverse_mass_matrix=inverse_mass_matrix,
            trajectory_length=jnp.asarray(trajectory_length),
        )
        # BlackJAX begins with Python numbers, whose weak types would change in the first step.
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), state)

    def advance(
        key: Key, state: WarmupState, start: Array, logdensity: Callable[[Position], Array], num_steps: int
    ) -> tuple[WarmupState, WarmupTrace]:
        def one(state: WarmupState, t: Array) -> tuple[WarmupState, WarmupTrace]:
            step_size = jnp.exp(state.averaging.log_step_size)
            tuned = Tuned(step_size, state.inverse_mass_matrix, state.trajectory_length)
            sampler = make_hmc(logdensity, tuned, jitter=jitter, max_steps=max_steps)
            next_state, info = sampler.step(jax.random.fold_in(key, t), state.sampler)
            state = state._replace(
                sampler=next_state,
                averaging=averaging_update(state.averaging, info.acceptance_rate),
                moments=moments_update(state.moments, ravel_pytree(next_state.position)[0]),
            )
            return state, WarmupTrace(info.acceptance_rate, step_size, info.num_integration_steps)

        return lax.scan(one, state, start + jnp.arange(num_steps))

    def adopt_metric(state: WarmupState) -> WarmupState:
        variance, count, _ = moments_final(state.moments)
        weight = count / (count + PRIOR_DRAWS)
        return state._replace(
            averaging=averaging_init(jnp.exp(state.averaging.log_step_size_avg)),
            moments=moments_init(state.inverse_mass_matrix.size),
            inverse_mass_matrix=weight * variance + (1 - weight) * state.inverse_mass_matrix,
        )

    def tuned(state: WarmupState) -> Tuned:
        return Tuned(averaging_final(state.averaging), state.inverse_mass_matrix, state.trajectory_length)

    return Warmup(init, advance, adopt_metric, tuned)
