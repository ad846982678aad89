"""Stein variational gradient descent: particles that climb the density and repel (Liu and Wang 2016, arXiv 1608.04471).

Steps, kernel and bandwidth are BlackJAX's: exp(-|z - z'|^2 / h) with h the squared median distance over the log of the
number of particles. In many dimensions particles lie too near together (Ba et al. 2022).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from asymjax import rng
from asymjax.errors import InputError
from asymjax.inference.algorithm import Target
from asymjax.inference.lazy import blackjax
from asymjax.inference.samplers.gradients import unwhiten
from asymjax.inference.vi.family import Family
from asymjax.inference.vi.variational import Descent, Parts
from asymjax.settings import Count, Positive
from asymjax.types import Array, Key, PyTree


def choose_particle(particles: PyTree, key: Key) -> PyTree:
    """Return one of the particles at random."""
    index = jax.random.randint(key, (), 0, len(jax.tree.leaves(particles)[0]))
    return jax.tree.map(lambda leaf: leaf[index], particles)


PARTICLES = Family(choose_particle, None)


@dataclass(frozen=True)
class SVGD(Descent):
    """Particles around each start; draws are particles at random, with replacement.

    Draws are of so many points and no more. They have no density, so that there is no ELBO: it, its error, the
    divergence from the prior and the count of collapsed units are NaN.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.SVGD(num_particles=50).num_particles
    50
    """

    num_warmup: Count = 1_000
    """Steps of all particles."""
    learning_rate: Positive = 0.05
    """Peak learning rate in units of the prior's standard deviation; Adam, with a cosine down to zero."""
    num_particles: Count = 20
    """Particles of a chain, 2 at least; a step takes a gradient over all rows of each."""
    init_scale: Positive = 0.1
    """Standard deviation of particles around the start, in units of the prior's."""

    def check(self, num_draws: int, num_chains: int) -> None:
        """Check the settings; InputError if one cannot be."""
        super().check(num_draws, num_chains)
        if self.num_particles < 2:
            raise InputError(f"num_particles is {self.num_particles}; particles repel others, give 2 or more")

    def family(self, target: Target) -> Family:
        """Return the points."""
        return PARTICLES

    def first(self, key: Key, z: PyTree, target: Target) -> PyTree:
        """Return particles around a start, leaves [particle, ...]."""

        def near(key: Key) -> PyTree:
            noise = blackjax.util.generate_gaussian_noise(key, z, sigma=self.init_scale)
            return jax.tree.map(jnp.add, z, noise)

        return jax.vmap(near)(rng.member_keys(key, self.num_particles))

    def init_optimizer(self, params: PyTree) -> Any:
        """Return bandwidth and state of Adam."""
        svgd = blackjax.vi.svgd
        _, *rest = svgd.update_median_heuristic(svgd.init(params, {"length_scale": 1.0}, self.optimizer))
        return tuple(rest)

    def update(self, parts: Parts, params: Any, optimizer: Any, key: Key, target: Target) -> tuple[Any, Any, Array]:
        """Take one step of all particles; what is returned of them is their mean log density before it."""
        svgd = blackjax.vi.svgd

        def logdensity(z: PyTree) -> Array:
            return target.logdensity(unwhiten(z, target.prior_scale))

        state = svgd.SVGDState(params, *optimizer)
        state = svgd.build_kernel(self.optimizer)(state, jax.grad(logdensity), svgd.rbf_kernel)
        particles, *rest = svgd.update_median_heuristic(state)
        return particles, tuple(rest), jnp.mean(jax.vmap(logdensity)(params))

    def step_cost(self, target: Target) -> float:
        """Return what one step costs, in gradients over all rows."""
        return float(self.num_particles)
