"""Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011, "MCMC using Hamiltonian dynamics"), from BlackJAX.

``hmc`` proposes the end of a trajectory, ``mhmc`` one of its points (Betancourt 2017, appendix A.3). ``dynamic_hmc``
draws the integration time uniformly from zero to twice its mean. ``mala``, the Metropolis-adjusted Langevin algorithm,
is a trajectory of one leapfrog step (Neal 2011, section 5.2), and so has the metric that the others have.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.mcmc.hmc import HMCState

from asymjax import rng
from asymjax.inference.algorithm import Algorithm, Target, make_draw, make_info
from asymjax.inference.chains_config import HMCConfig
from asymjax.inference.warmup import adapt_step_size
from asymjax.types import Array, Draw, Info, Key, Position, Sampler

AUTO_TRAJECTORY_LENGTH = np.pi / 2
AUTO_ACCEPTANCE_RATE = {"hmc": 0.8, "mhmc": 0.8, "dynamic_hmc": 0.8, "mala": 0.574}


class Tuned(NamedTuple):
    """What warmup tunes, one set a chain; values may be traced, so another value never recompiles.

    Attributes
    ----------
    step_size : [] leapfrog step, in units of the metric's scale.
    inverse_mass_matrix : [coordinates] diagonal, in the order of ``ravel_pytree``.
    trajectory_length : [] mean integration time, in the same units as ``step_size``; one step where it is less.
    """

    step_size: Array
    inverse_mass_matrix: Array
    trajectory_length: Array


def num_integration_steps(key: Key, mean_length: Array, step_size: Array, jitter: float, max_steps: int) -> Array:
    """Draw the steps of one trajectory: its length is uniform within ``jitter`` of the mean, at least one step."""
    length = mean_length * jax.random.uniform(key, minval=1 - jitter, maxval=1 + jitter)
    return jnp.clip(jnp.ceil(length / step_size), 1, max_steps).astype(jnp.int32)


def make_hmc(
    logdensity: Callable[[Position], Array],
    tuned: Tuned,
    outputs: Callable[[Position], Array] | None = None,
    *,
    jitter: float = 0.5,
    max_steps: int = 1000,
    keep_position: bool = True,
    is_multinomial: bool = False,
) -> Sampler:
    """Build the sampler of one chain.

    Parameters
    ----------
    logdensity : (position) -> [] log density of the target.
    tuned : step size, metric and trajectory length.
    outputs : (position) -> what to keep of a draw in function space, or None.
    jitter : trajectory lengths are uniform within this fraction of their mean, in [0, 1].
    max_steps : leapfrog steps of a trajectory at most.
    keep_position : whether draws keep the position.
    is_multinomial : whether the proposal is drawn from all points of the trajectory.
    """
    kernel = (blackjax.mhmc if is_multinomial else blackjax.hmc).build_kernel()

    def init(key: Key, position: Position) -> HMCState:
        return blackjax.hmc.init(position, logdensity)

    def step(key: Key, state: HMCState) -> tuple[HMCState, Info]:
        trajectory_key = rng.named_key(key, "trajectory")
        steps = num_integration_steps(trajectory_key, tuned.trajectory_length, tuned.step_size, jitter, max_steps)
        kernel_key = rng.named_key(key, "kernel")
        state, info = kernel(kernel_key, state, logdensity, tuned.step_size, tuned.inverse_mass_matrix, steps)
        return state, make_info(steps, info.acceptance_rate, info.is_divergent)

    def collect(state: HMCState, info: Info) -> Draw:
        return make_draw(state.position, state.logdensity, info, outputs, keep_position)

    return Sampler(init, step, collect)


def trajectory_length(config: HMCConfig) -> float:
    """Return the integration time, in units of the metric's scale; "auto" is pi/2 (Izmailov et al. 2021, section 4).

    With the prior's variance as inverse mass matrix this is (pi/2) times the prior scale under a unit mass matrix.
    """
    if config.sampler == "mala":
        return 0.0
    return AUTO_TRAJECTORY_LENGTH if config.trajectory_length == "auto" else float(config.trajectory_length)


def hmc_family(config: HMCConfig) -> Algorithm:
    """Return the algorithm of ``hmc``, ``mhmc``, ``dynamic_hmc`` or ``mala``."""
    settings = partial(
        make_hmc,
        jitter=1.0 if config.sampler == "dynamic_hmc" else config.jitter,
        max_steps=config.max_integration_steps,
        is_multinomial=config.sampler == "mhmc",
    )

    def make(
        target: Target, tuned: Tuned, outputs: Callable[[Position], Array] | None = None, keep_position: bool = True
    ) -> Sampler:
        return settings(target.logdensity, tuned, outputs, keep_position=keep_position)

    def retune(step_size: Array, metric: Array) -> Tuned:
        return Tuned(step_size, metric, jnp.asarray(trajectory_length(config), step_size.dtype))

    return Algorithm(make, *adapt_step_size(make, retune, config, AUTO_ACCEPTANCE_RATE[config.sampler]))
