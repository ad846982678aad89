"""Mean field: every entry a Gaussian of its own (Blundell et al. 2015, arXiv 1505.05424; Kingma and Welling 2014)."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from asymjax.inference.algorithm import Target
from asymjax.inference.lazy import blackjax
from asymjax.inference.vi.family import Family, Moments
from asymjax.inference.vi.variational import Variational
from asymjax.types import Array, Key, PyTree

LOG_TWO_PI_E = 2.8378770664093453


class Diagonal(NamedTuple):
    """Means and logs of standard deviations, trees like z."""

    mean: PyTree
    log_scale: PyTree


def moments_of(params: Diagonal) -> Moments:
    """Return mean and variance of every entry."""
    return params.mean, jax.tree.map(lambda leaf: jnp.exp(2 * leaf), params.log_scale)


def independent(params: Diagonal) -> Moments:
    """Return mean and standard deviation of every entry."""
    return params.mean, jax.tree.map(jnp.exp, params.log_scale)


def draw(params: Diagonal, key: Key) -> PyTree:
    """Draw z = mean + scale * noise."""
    noise = blackjax.util.generate_gaussian_noise(key, params.mean)
    return jax.tree.map(lambda mean, scale, noise: mean + jnp.exp(scale) * noise, *params, noise)


def logdensity(params: Diagonal, z: PyTree) -> Array:
    """Return the log density."""
    terms = jax.tree.map(lambda z, m, s: jnp.sum(jax.scipy.stats.norm.logpdf(z, m, jnp.exp(s))), z, *params)
    return jnp.sum(jnp.stack(jax.tree.leaves(terms)))


def entropy(params: Diagonal) -> Array:
    """Return the entropy."""
    terms = [jnp.sum(leaf) + 0.5 * LOG_TWO_PI_E * leaf.size for leaf in jax.tree.leaves(params.log_scale)]
    return jnp.sum(jnp.stack(terms))


DIAGONAL = Family(draw, logdensity, entropy, moments_of, independent)


@dataclass(frozen=True)
class MeanField(Variational):
    """Independent Gaussians, one an entry.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.MeanField(symmetrise="bethe", batch_size=128).symmetrise
    'bethe'
    """

    def family(self, target: Target) -> Family:
        """Return the family over z for a target."""
        return DIAGONAL

    def first(self, key: Key, z: PyTree, target: Target) -> Diagonal:
        """Return its parameters around a start."""
        return Diagonal(z, jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.log(self.init_scale)), z))
