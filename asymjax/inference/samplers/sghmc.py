"""Stochastic gradient Hamiltonian Monte Carlo (Chen et al. 2014) with a momentum that lasts.

Not from BlackJAX, whose ``sghmc`` draws a fresh momentum in every call, takes one minibatch for all steps of the call,
and with few or small steps all but ignores the density's temperature.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from asymjax import rng
from asymjax.inference.lazy import blackjax
from asymjax.inference.samplers.gradients import Gradient, add_scaled
from asymjax.inference.samplers.minibatch import Dynamics, Minibatch
from asymjax.settings import Fraction, Positive
from asymjax.types import Array, Key, PyTree


def underdamped(momentum: float) -> Dynamics:
    """Return ``m <- beta m + sqrt(epsilon) g + sqrt(2 (1 - beta)) xi``, ``z <- z + sqrt(epsilon) m``.

    Chen et al. (2014), equation 15, with their v = sqrt(epsilon) m, alpha = 1 - beta and no estimate of the gradient
    noise. ``beta = 0`` is SGLD with the same epsilon. The momentum of a chain begins standard normal.

    Parameters
    ----------
    momentum : beta, in [0, 1).
    """

    def step(
        key: Key, z: PyTree, m: PyTree, gradient: Gradient, epsilon: Array, num_rows: int
    ) -> tuple[PyTree, PyTree]:
        g = gradient(z, rng.named_key(key, "rows"))
        noise = blackjax.util.generate_gaussian_noise(rng.named_key(key, "noise"), z)
        kick, spread = jnp.sqrt(epsilon), (2 * (1 - momentum)) ** 0.5
        m = jax.tree.map(lambda m, g, xi: momentum * m + kick * g + spread * xi, m, g, noise)
        return add_scaled(z, m, kick), m

    return Dynamics(lambda key, z, tuned: blackjax.util.generate_gaussian_noise(key, z), step)


@dataclass(frozen=True)
class SGHMC(Minibatch):
    """Stochastic gradient Hamiltonian Monte Carlo, with momentum."""

    step_size: Positive = 0.01
    """Step size in units of one row, the square of the time step."""
    momentum: Fraction = 0.9
    """Share of the momentum that a step keeps, in [0, 1)."""

    @property
    def dynamics(self) -> Dynamics:
        """What a step does."""
        return underdamped(self.momentum)
