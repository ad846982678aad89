"""Pathfinder: the best of the Gaussians along a path of L-BFGS (Zhang et al. 2022, arXiv 2108.03782).

Path and factors of its inverse Hessians are BlackJAX's. The Gaussians are made of them here: ``bfgs_sample`` of
BlackJAX 1.7.1 adds a step of Newton along the gradient, where its path holds the gradient of the negative log density,
so that its means lie away from the optimum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax import rng
from asymjax.inference.algorithm import Stage, Target
from asymjax.inference.lazy import blackjax
from asymjax.inference.samplers.gradients import unwhiten
from asymjax.inference.vi.family import Family, Moments, bound
from asymjax.inference.vi.fullrank import unraveller
from asymjax.inference.vi.meanfield import LOG_TWO_PI_E
from asymjax.inference.vi.variational import Fit, FitState
from asymjax.settings import Count
from asymjax.types import Array, Key, PyTree

FTOL = 1e-8
"""Relative change of the log density below which L-BFGS stops."""


class QuasiNewton(NamedTuple):
    """A Gaussian with covariance S (1 + Q (C C^T - 1) Q^T) S over z as one vector: a diagonal, and few directions.

    Attributes
    ----------
    mean : [coordinates].
    scale : [coordinates], the diagonal of S.
    basis : [coordinates, directions] orthonormal columns Q.
    factor : [directions, directions] lower triangular C.
    """

    mean: Array
    scale: Array
    basis: Array
    factor: Array

    def stretch(self, noise: Array) -> Array:
        """Return (1 + Q (C - 1) Q^T) noise."""
        along = self.basis.T @ noise
        return noise + self.basis @ (self.factor @ along - along)

    def unstretch(self, stretched: Array) -> Array:
        """Undo :meth:`stretch`."""
        along = self.basis.T @ stretched
        return stretched + self.basis @ (jax.scipy.linalg.solve_triangular(self.factor, along, lower=True) - along)

    @property
    def log_volume(self) -> Array:
        """Half the log determinant of the covariance []."""
        return jnp.sum(jnp.log(self.scale)) + jnp.sum(jnp.log(jnp.diag(self.factor)))


def gaussian_at(state: Any) -> QuasiNewton:
    """Return the Gaussian of a place of the path: around a step of Newton from there (algorithm 4 of Zhang et al.)."""
    position, gradient = (ravel_pytree(tree)[0] for tree in (state.position, state.grad_position))
    scale = jnp.sqrt(state.alpha)
    basis, right = jnp.linalg.qr(state.beta / scale[:, None])
    factor = jnp.linalg.cholesky(jnp.eye(len(right), dtype=right.dtype) + right @ state.gamma @ right.T)
    newton = state.alpha * gradient + state.beta @ (state.gamma @ (state.beta.T @ gradient))
    return QuasiNewton(position - newton, scale, basis, factor)


def quasi_newton_family(unravel: Callable[[Array], PyTree]) -> Family:
    """Return these Gaussians over z; ``unravel`` makes z of a vector."""

    def draw(params: QuasiNewton, key: Key) -> PyTree:
        return unravel(params.mean + params.scale * params.stretch(jax.random.normal(key, params.mean.shape)))

    def logdensity(params: QuasiNewton, z: PyTree) -> Array:
        noise = params.unstretch((ravel_pytree(z)[0] - params.mean) / params.scale)
        return jnp.sum(jax.scipy.stats.norm.logpdf(noise)) - params.log_volume

    def entropy(params: QuasiNewton) -> Array:
        return params.log_volume + 0.5 * LOG_TWO_PI_E * params.mean.size

    def moments(params: QuasiNewton) -> Moments:
        added = jnp.sum(jnp.square(params.basis @ params.factor) - jnp.square(params.basis), axis=1)
        return unravel(params.mean), unravel(jnp.square(params.scale) * (1 + added))

    return Family(draw, logdensity, entropy, moments)


@dataclass(frozen=True)
class Pathfinder(Fit):
    """The Gaussian of highest ELBO along the path of L-BFGS from each start; its draws are independent.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.Pathfinder(history=5).history
    5
    """

    num_warmup: Count = 100
    """Iterations of L-BFGS at most; it stops where the log density changes by less than 1e-8 of itself."""
    history: Count = 10
    """Steps that an inverse Hessian is made of, half the number of its directions."""
    num_path_draws: Count = 100
    """Draws by which the ELBO is estimated at each place of the path, the choice among them."""

    def family(self, target: Target) -> Family:
        """Return the family over z for a target."""
        return quasi_newton_family(unraveller(target.posterior.shape))

    def first(self, key: Key, z: PyTree, target: Target) -> QuasiNewton:
        """Return the unit Gaussian around a start."""
        mean, _ = ravel_pytree(z)
        num_directions = min(mean.size, 2 * self.history)
        return QuasiNewton(mean, jnp.ones_like(mean), jnp.eye(mean.size, num_directions), jnp.eye(num_directions))

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The path, and the estimate of the bound."""
        return (Stage(self.follow, self.num_warmup), Stage(self.judge, 1))

    def follow(
        self, key: Key, state: FitState, first: Array, setting: Array, target: Target
    ) -> tuple[FitState, dict[str, Array]]:
        """Walk the path, and keep the best of its Gaussians."""
        family, joint, _ = self.whole(target)
        start, _ = family.moments(state.fitted.params)  # type: ignore[misc]
        rows = joint.take(key)

        def logdensity(z: PyTree) -> Array:
            return target.logdensity(unwhiten(z, target.prior_scale))

        settings = {"maxiter": self.num_warmup, "maxcor": self.history, "ftol": FTOL}
        with jax.numpy_rank_promotion("allow"):  # BlackJAX adds arrays of unlike ranks.
            _, info = blackjax.vi.pathfinder.approximate(rng.named_key(key, "path"), logdensity, start, 1, **settings)
        keys = rng.member_keys(rng.named_key(key, "choice"), self.num_path_draws)

        def elbo(place: Any) -> Array:
            params = gaussian_at(place)
            return jnp.mean(lax.map(lambda key: bound(family, params, joint, key, rows, is_path=self.is_path)[0], keys))

        elbos = lax.map(elbo, info.path)
        best = jnp.argmax(jnp.where(jnp.isfinite(elbos), elbos, -jnp.inf))
        params = gaussian_at(jax.tree.map(lambda leaf: leaf[best], info.path))
        metrics = {
            "elbo": elbos[best],
            "logdensity": elbos[best],
            "num_grad_evals": jnp.asarray(2 * self.num_warmup, jnp.float32),  # Line searches may take more.
        }
        return state._replace(fitted=state.fitted._replace(params=params)), metrics
