"""Full rank: one Gaussian with every covariance, for small networks (Kucukelbir et al. 2017, arXiv 1603.00788)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from asymjax import trees
from asymjax.errors import InputError
from asymjax.inference.algorithm import Target
from asymjax.inference.vi.family import Family, Moments
from asymjax.inference.vi.meanfield import LOG_TWO_PI_E
from asymjax.inference.vi.variational import Variational
from asymjax.types import Array, Key, PyTree

MAX_COORDINATES = 2_000
"""The factor of the covariance has half the square of them, 16 MB in float32, and a step as many products."""


class Dense(NamedTuple):
    """Mean, and a lower triangular factor of the covariance, over z as one vector.

    Attributes
    ----------
    mean : [coordinates].
    log_diagonal : [coordinates] logs of the diagonal of the factor.
    below : [coordinates, coordinates]; what is below its diagonal is that of the factor times sqrt(coordinates), so
        that a step of Adam moves a row of the factor as far as one mean. The rest is not read.
    """

    mean: Array
    log_diagonal: Array
    below: Array

    @property
    def factor(self) -> Array:
        """The factor L of the covariance L L^T."""
        return jnp.tril(self.below, -1) / math.sqrt(len(self.below)) + jnp.diag(jnp.exp(self.log_diagonal))


def unraveller(shape: PyTree) -> Callable[[Array], PyTree]:
    """Return what makes a tree of these shapes of a vector."""
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape))
    return unravel


def require_few(num_coordinates: int, what: str, instead: str) -> None:
    """Check the number of coordinates that have all their covariances.

    Raises
    ------
    InputError
        If there are too many; says for what, and what to take instead.
    """
    if num_coordinates > MAX_COORDINATES:
        raise InputError(
            f"{num_coordinates:,} coordinates are too many for {what}, {MAX_COORDINATES:,} are the most; take {instead}"
        )


def dense_family(unravel: Callable[[Array], PyTree]) -> Family:
    """Return all Gaussians over z, with parameters :class:`Dense`; ``unravel`` makes z of a vector."""

    def draw(params: Dense, key: Key) -> PyTree:
        return unravel(params.mean + params.factor @ jax.random.normal(key, params.mean.shape))

    def logdensity(params: Dense, z: PyTree) -> Array:
        centred = ravel_pytree(z)[0] - params.mean
        noise = jax.scipy.linalg.solve_triangular(params.factor, centred, lower=True)
        return jnp.sum(jax.scipy.stats.norm.logpdf(noise)) - jnp.sum(params.log_diagonal)

    def entropy(params: Dense) -> Array:
        return jnp.sum(params.log_diagonal) + 0.5 * LOG_TWO_PI_E * params.mean.size

    def moments(params: Dense) -> Moments:
        return unravel(params.mean), unravel(jnp.sum(jnp.square(params.factor), axis=1))

    return Family(draw, logdensity, entropy, moments)


@dataclass(frozen=True)
class FullRank(Variational):
    """One Gaussian over all entries, with all their covariances; 2,000 coordinates at most.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.FullRank(gradient="path").gradient
    'path'
    """

    def family(self, target: Target) -> Family:
        """Return the family over z for a target.

        Raises
        ------
        InputError
            If there are too many coordinates.
        """
        shape = target.posterior.shape
        require_few(trees.num_entries(shape), "fullrank", "lowrank or meanfield")
        return dense_family(unraveller(shape))

    def first(self, key: Key, z: PyTree, target: Target) -> Dense:
        """Return its parameters around a start."""
        mean, _ = ravel_pytree(z)
        return Dense(mean, jnp.full_like(mean, jnp.log(self.init_scale)), jnp.zeros((mean.size, mean.size)))
