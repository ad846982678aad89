"""Hamiltonian Monte Carlo with an end-point proposal (Duane et al. 1987; Neal 2011), from BlackJAX."""

from collections.abc import Callable
from typing import NamedTuple

import blackjax
import jax
import jax.numpy as jnp

from asymjax import rng
from asymjax.types import Array, Draw, Key, Position, Sampler


class Tuned(NamedTuple):
    """What warmup tunes, one set a chain; values may be traced, so another value never recompiles.

    Attributes
    ----------
    step_size : [] leapfrog step, in units of the metric's scale.
    inverse_mass_matrix : [coordinates] diagonal, in the order of ``ravel_pytree``.
    trajectory_length : [] integration time, in the same units as ``step_size``.
    """

    step_size: Array
    inverse_mass_matrix: Array
    trajectory_length: Array


class HMCInfo(NamedTuple):
    """What one step tells.

    Attributes
    ----------
    acceptance_rate : [] Metropolis acceptance probability of the proposal.
    is_divergent : [] bool; the energy error exceeded 1000.
    num_integration_steps : int32 [] leapfrog steps, one gradient each.
    """

    acceptance_rate: Array
    is_divergent: Array
    num_integration_steps: Array


def num_integration_steps(key: Key, tuned: Tuned, jitter: float, max_steps: int) -> Array:
    """Draw the leapfrog steps of one trajectory: time uniform within ``jitter`` of its length, at least one step."""
    length = tuned.trajectory_length * jax.random.uniform(key, minval=1 - jitter, maxval=1 + jitter)
    return jnp.clip(jnp.ceil(length / tuned.step_size), 1, max_steps).astype(jnp.int32)


def make_hmc(
    logdensity: Callable[[Position], Array],
    tuned: Tuned,
    outputs: Callable[[Position], Array] | None = None,
    *,
    jitter: float = 0.5,
    max_steps: int = 1000,
    keep_position: bool = True,
) -> Sampler:
    """Build the sampler of one chain.

    Parameters
    ----------
    logdensity : (position) -> [] log density of the target.
    tuned : step size, metric and trajectory length.
    outputs : (position) -> what to keep of a draw in function space, or None.
    jitter : trajectory lengths are uniform within this fraction of their mean, in [0, 1).
    max_steps : leapfrog steps of a trajectory at most.
    keep_position : whether draws keep the position.
    """
    kernel = blackjax.hmc.build_kernel()

    def init(position: Position) -> blackjax.mcmc.hmc.HMCState:
        return blackjax.hmc.init(position, logdensity)

    def step(key: Key, state: blackjax.mcmc.hmc.HMCState) -> tuple[blackjax.mcmc.hmc.HMCState, HMCInfo]:
        steps = num_integration_steps(rng.named_key(key, "trajectory"), tuned, jitter, max_steps)
        kernel_key = rng.named_key(key, "kernel")
        state, info = kernel(kernel_key, state, logdensity, tuned.step_size, tuned.inverse_mass_matrix, steps)
        return state, HMCInfo(info.acceptance_rate, info.is_divergent, steps)

    def collect(state: blackjax.mcmc.hmc.HMCState, info: HMCInfo) -> Draw:
        return Draw(
            position=state.position if keep_position else None,
            outputs=None if outputs is None else outputs(state.position),
            logdensity=state.logdensity,
            acceptance_rate=info.acceptance_rate,
            is_divergent=info.is_divergent,
            num_grad_evals=info.num_integration_steps,
        )

    return Sampler(init, step, collect)
