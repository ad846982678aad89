"""Stochastic gradient Langevin dynamics (Welling and Teh 2011) from BlackJAX, with step sizes that stay, fall or cycle.

BlackJAX's ``csgld`` is another thing, contour SGLD; ``csgld`` here is cyclical SGLD (Zhang et al. 2020).
"""

import blackjax
import jax.numpy as jnp

from asymjax import rng
from asymjax.errors import InputError
from asymjax.inference.algorithm import Algorithm
from asymjax.inference.chains_config import MinibatchConfig
from asymjax.inference.samplers.gradients import Gradient
from asymjax.inference.samplers.minibatch import CONSTANT, Dynamics, Schedule, minibatch_algorithm
from asymjax.types import Array, Key, PyTree


def langevin() -> Dynamics:
    """Return ``z <- z + epsilon g + sqrt(2 epsilon) xi`` (Welling and Teh 2011, equation 4, their step size 2 epsilon).

    On N(0, s^2) with exact gradients the variance is s^2 / (1 - epsilon / (2 s^2)).
    """
    kernel = blackjax.sgld.build_kernel()

    def step(
        key: Key, z: PyTree, memory: tuple, gradient: Gradient, epsilon: Array, num_rows: int
    ) -> tuple[PyTree, tuple]:
        return kernel(rng.named_key(key, "noise"), z, gradient, rng.named_key(key, "rows"), epsilon), memory

    return Dynamics(lambda key, z, friction: (), step)


def polynomial(steps: float, exponent: float) -> Schedule:
    """Return the factor (1 + t / steps)^-exponent of step t (Welling and Teh 2011, section 4)."""
    return Schedule(lambda count: (1 + count.astype(jnp.float32) / steps) ** -exponent)


def cyclical(num_draw_steps: int, exploration: float) -> Schedule:
    """Return cosine cycles (Zhang et al. 2020, equation 1): factor (1 + cos(pi k / length)) / 2 in step k of a cycle.

    The first ``exploration`` of a cycle has no noise (their algorithm 1). These steps are taken all at once before the
    first of the others and are not counted among them, so that every draw ends in the sampling part, and cycles begin
    with a draw.

    Parameters
    ----------
    num_draw_steps : steps with noise in a cycle.
    exploration : share of a cycle without noise, in [0, 1).
    """
    num_explored = round(num_draw_steps * exploration / (1 - exploration))
    length = num_explored + num_draw_steps

    def factor(index: Array) -> Array:
        return (1 + jnp.cos(jnp.pi * index.astype(jnp.float32) / length)) / 2

    return Schedule(
        factor=lambda count: factor(num_explored + count % num_draw_steps),
        num_explored=lambda count: jnp.where(count % num_draw_steps == 0, num_explored, 0),
        explored_factor=factor,
    )


def sgld(config: MinibatchConfig) -> Algorithm:
    """Return the algorithm of ``sgld``.

    Raises
    ------
    InputError
        If the polynomial schedule has no positive number of steps, or an exponent outside (0, 1].
    """
    if config.schedule == "constant":
        return minibatch_algorithm(config, langevin(), CONSTANT)
    if config.decay_steps <= 0 or not 0 < config.decay_exponent <= 1:
        raise InputError("decay_steps must be positive, decay_exponent above 0 and at most 1")
    return minibatch_algorithm(config, langevin(), polynomial(config.decay_steps, config.decay_exponent))


def csgld(config: MinibatchConfig) -> Algorithm:
    """Return the algorithm of ``csgld``.

    Raises
    ------
    InputError
        If the cycles do not divide the draws, or the share of exploration is not in [0, 1).
    """
    if config.num_cycles < 1 or config.num_draws % config.num_cycles:
        raise InputError(f"{config.num_cycles} cycles do not divide {config.num_draws} draws; choose a divisor")
    if not 0 <= config.exploration < 1:
        raise InputError(f"exploration is {config.exploration}; it must be at least 0 and less than 1")
    num_draw_steps = config.num_draws // config.num_cycles * config.thinning
    return minibatch_algorithm(config, langevin(), cyclical(num_draw_steps, config.exploration))
