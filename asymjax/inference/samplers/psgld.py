"""Preconditioned stochastic gradient Langevin dynamics (Li et al. 2016): SGLD with RMSprop's step sizes.

Without the term Gamma, the divergence of the preconditioner, as nearly all who use it: the preconditioner follows the
position, so that draws are biased even as the step size goes to zero. A ``norm_decay`` near 1 lowers that bias.
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


class Norms(NamedTuple):
    """What a chain has beside z.

    Attributes
    ----------
    squares : tree like z, running mean of squared gradients, in units of one row, from zero.
    weight : [] what the weights of that mean add up to, in [0, 1].
    """

    squares: PyTree
    weight: Array


def no_norms(z: PyTree) -> Norms:
    """Return the running mean before any gradient."""
    return Norms(jax.tree.map(jnp.zeros_like, z), jnp.zeros((), jnp.result_type(*jax.tree.leaves(z))))


def update_norms(norms: Norms, gradient: PyTree, decay: float) -> Norms:
    """Add the square of a gradient, in units of one row, of which a step keeps the share ``decay``."""
    squares = jax.tree.map(lambda v, g: decay * v + (1 - decay) * jnp.square(g), norms.squares, gradient)
    return Norms(squares, decay * norms.weight + (1 - decay))


def preconditioned(decay: float, floor: float) -> Dynamics:
    """Return ``z <- z + epsilon G g + sqrt(2 epsilon G) xi`` with ``G = 1 / (floor + sqrt(v))``, entry by entry.

    v is the running mean of the squared gradients, this one included; gradients in units of one row (Li et al. 2016,
    equations 6 to 8 without Gamma, their step size 2 epsilon). The mean begins anew with the draws, and is divided by
    the sum of its weights (Kingma and Ba 2015) where Li et al. begin at zero, with huge steps.

    Parameters
    ----------
    decay : share of v that a step keeps, in [0, 1).
    floor : above 0; bounds G by its inverse.
    """

    def init(key: Key, z: PyTree, tuned: Tuned) -> Norms:
        return no_norms(z)

    def step(
        key: Key, z: PyTree, memory: Norms, gradient: Gradient, epsilon: Array, num_rows: int
    ) -> tuple[PyTree, Norms]:
        g = gradient(z, rng.named_key(key, "rows"))
        noise = blackjax.util.generate_gaussian_noise(rng.named_key(key, "noise"), z)
        norms = update_norms(memory, jax.tree.map(lambda g: g / num_rows, g), decay)

        def move(z: Array, v: Array, g: Array, xi: Array) -> Array:
            size = epsilon / (floor + jnp.sqrt(v / norms.weight))
            return z + size * g + jnp.sqrt(2 * size) * xi

        return jax.tree.map(move, z, norms.squares, g, noise), norms

    return Dynamics(init, step)


@dataclass(frozen=True)
class PSGLD(Minibatch):
    """Stochastic gradient Langevin dynamics whose steps are divided by running gradient norms."""

    step_size: Positive = 0.001
    """Step size in units of one row, before it is divided."""
    norm_decay: Fraction = 0.99
    """Share of the running squared gradients that a step keeps, in [0, 1)."""
    norm_floor: Positive = 1e-5
    """Added to the gradient norms that divide steps, in units of one row; above 0."""

    @property
    def dynamics(self) -> Dynamics:
        """What a step does."""
        return preconditioned(self.norm_decay, self.norm_floor)
