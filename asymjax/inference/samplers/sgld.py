"""Stochastic gradient Langevin dynamics (Welling and Teh 2011) from BlackJAX, with step sizes that stay, fall or cycle.

BlackJAX's ``csgld`` is another thing, contour SGLD; ``CSGLD`` here is cyclical SGLD (Zhang et al. 2020).
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp

from asymjax import rng
from asymjax.errors import InputError
from asymjax.inference.lazy import blackjax
from asymjax.inference.samplers.gradients import Gradient
from asymjax.inference.samplers.minibatch import CONSTANT, Dynamics, Minibatch, Schedule
from asymjax.settings import Count, Fraction, Positive, Share
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

    return Dynamics(lambda key, z, tuned: (), step)


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


@dataclass(frozen=True)
class SGLD(Minibatch):
    """Stochastic gradient Langevin dynamics.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.SGLD(batch_size=32).step_size
    0.1
    """

    schedule: Literal["constant", "polynomial"] = "constant"
    """Step sizes of the draws: constant, or step_size x (1 + t / decay_steps)^-decay_exponent after t steps. Draws
    all count the same."""
    decay_steps: Positive = 1000.0
    """Steps after which the polynomial schedule begins to fall."""
    decay_exponent: Share = 1 / 3
    """Exponent of the polynomial schedule, above 0 and at most 1; 1/3 converges fastest (Teh et al. 2016)."""

    @property
    def dynamics(self) -> Dynamics:
        """What a step does."""
        return langevin()

    def make_schedule(self, num_steps: int) -> Schedule:
        """Return how long the steps of the draws are."""
        return CONSTANT if self.schedule == "constant" else polynomial(self.decay_steps, self.decay_exponent)


@dataclass(frozen=True)
class CSGLD(Minibatch):
    """Stochastic gradient Langevin dynamics in cycles of large and small steps."""

    step_size: Positive = 0.3
    """Largest step size, in units of one row."""
    num_cycles: Count = 4
    """Cycles; must divide the draws. In each, step sizes fall from step_size to zero on half a cosine."""
    exploration: Fraction = 0.5
    """Share of each cycle that takes its largest steps, without noise and without draws, in [0, 1). It comes on top of
    the steps that thinning counts."""

    @property
    def dynamics(self) -> Dynamics:
        """What a step does."""
        return langevin()

    def make_schedule(self, num_steps: int) -> Schedule:
        """Return how long the steps of the draws are."""
        return cyclical(num_steps // self.num_cycles, self.exploration)

    def check(self, num_draws: int, num_chains: int) -> None:
        """Check the settings; InputError if one cannot be."""
        super().check(num_draws, num_chains)
        if num_draws % self.num_cycles:
            raise InputError(f"{self.num_cycles} cycles do not divide {num_draws} draws; choose a divisor")
