"""The stochastic gradient Nosé-Hoover thermostat (Ding et al. 2014) from BlackJAX.

Its friction adapts until the momenta have variance 1, and so takes up gradient noise that is the same in all
coordinates; other noise it takes up on average only.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from asymjax import rng
from asymjax.inference.lazy import blackjax
from asymjax.inference.samplers.gradients import Gradient
from asymjax.inference.samplers.minibatch import Dynamics, Minibatch, Tuned
from asymjax.settings import Fraction, Positive
from asymjax.types import Array, Key, PyTree


class Thermostat(NamedTuple):
    """What a chain has beside z.

    Attributes
    ----------
    momentum : tree like z.
    friction : [] share of the momentum that a step loses, BlackJAX's ``xi`` times the time step.
    """

    momentum: PyTree
    friction: Array


def thermostatted(momentum: float) -> Dynamics:
    """Return Ding et al. (2014), equation 6 and algorithm 1, with time step h = sqrt(epsilon).

    ``z <- z + h m``, ``m <- (1 - f) m + h g + sqrt(2 (1 - beta)) xi``, ``f <- f + epsilon (mean(m^2) - 1)``, where g is
    at the z before. Over time mean(m^2) is 1 whatever the noise of g.

    Parameters
    ----------
    momentum : beta, in [0, 1); 1 - beta is the injected noise and where f begins, unless warmup hands one on.
    """

    def init(key: Key, z: PyTree, tuned: Tuned) -> Thermostat:
        m = blackjax.util.generate_gaussian_noise(key, z)
        start = 1 - momentum if tuned.friction is None else tuned.friction
        return Thermostat(m, jnp.asarray(start, jnp.result_type(*jax.tree.leaves(m))))

    def step(
        key: Key, z: PyTree, memory: Thermostat, gradient: Gradient, epsilon: Array, num_rows: int
    ) -> tuple[PyTree, Thermostat]:
        h = jnp.sqrt(epsilon)
        kernel = blackjax.sgmcmc.sgnht.build_kernel(alpha=(1 - momentum) / h)
        state = blackjax.sgmcmc.sgnht.SGNHTState(z, memory.momentum, memory.friction / h)
        state = kernel(rng.named_key(key, "noise"), state, gradient, rng.named_key(key, "rows"), h)
        return state.position, Thermostat(state.momentum, state.xi * h)

    return Dynamics(init, step, lambda memory: {"friction": memory.friction})


@dataclass(frozen=True)
class SGNHT(Minibatch):
    """The stochastic gradient Nosé-Hoover thermostat, which takes up gradient noise."""

    step_size: Positive = 0.01
    """Step size in units of one row, the square of the time step."""
    momentum: Fraction = 0.9
    """Share of the momentum that a step keeps at the start, in [0, 1)."""

    @property
    def dynamics(self) -> Dynamics:
        """What a step does."""
        return thermostatted(self.momentum)
