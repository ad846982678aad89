"""Where chains start: near draws from the prior, at permuted copies of one optimum, or at draws from the prior."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.inference.posterior import Posterior, draw_prior
from asymjax.inference.samplers.gradients import unwhiten, whiten
from asymjax.settings import Count, Natural, Positive, Settings
from asymjax.symmetry import permute, random_permutations
from asymjax.types import Array, Frozen, Key, Position, PyTree, Split


@dataclass(frozen=True)
class Start(Settings):
    """Where chains start.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.Start(chains_per_start=2).num_starts(num_chains=8)
    4
    """

    start: Literal["anchored", "map", "prior", "permuted"] = "anchored"
    """Start chains where the likelihood drew a draw from the prior, which is about where the posterior is; at optima of
    the same density (a MAP ensemble); at draws from the prior; or at copies of one optimum, the units of each permuted
    at random: for a standard network all the same function."""
    anchored_steps: Count = 400
    """Full-batch optimizer steps from a draw of the prior to an anchored start."""
    chains_per_start: Count = 1
    """Chains that share a start, one after the other: superchains, of which nested R-hat is reported."""
    map_steps: Natural = 3000
    """Full-batch optimizer steps to an optimum; without anchored starts at least 1, with them 0 for no optima, which
    are then only scored beside the posterior."""
    map_learning_rate: Positive = 0.003
    """Peak learning rate on the way to the optimum (cosine schedule)."""

    def num_starts(self, num_chains: int) -> int:
        """Return how many starts so many chains have.

        Raises
        ------
        InputError
            If the chains cannot be dealt out evenly, or they start at optima that are not trained.
        """
        if self.start in ("map", "permuted") and not self.map_steps:
            raise InputError(f"map_steps is 0, but chains start at optima (start is {self.start}); give 1 or more")
        if num_chains % self.chains_per_start:
            raise InputError(
                f"{num_chains} chains cannot share starts {self.chains_per_start} at a time; choose a divisor"
            )
        return num_chains // self.chains_per_start


def logdensity_and_gradient_norm(posterior: Posterior, positions: Position) -> tuple[np.ndarray, np.ndarray]:
    """Return the log density and the Euclidean norm of its gradient at each position [member]."""

    def each(positions: Position, *given: Any) -> tuple[Array, Array]:
        def one(position: Position) -> tuple[Array, Array]:
            value, grad = jax.value_and_grad(posterior.logdensity)(position, posterior.frozen, posterior.data, *given)
            return value, trees.norm(grad)

        return lax.map(one, positions)

    value, norm = jax.jit(each)(positions, *posterior.given)
    return np.asarray(value), np.asarray(norm)


def permuted_copies(posterior: Posterior, position: Position, keys: PyTree) -> Position:
    """Return copies of one network, its units permuted at random, one a key [chain, ...].

    A copy is what the model can be of the permuted network: the same function for a standard network, and another one
    where the method put constants in the place of weights, or gates that stay as they are.
    """
    model = posterior.model

    def one(member: Any) -> Position:
        key, own = posterior.of(member, posterior.frozen, posterior.data)
        params = model.merge(position, own.frozen)
        permutations = random_permutations(rng.named_key(key, "permutation"), params, model.permutation_spec)
        return position | model.split(permute(params, model.permutation_spec, permutations), own.frozen)

    return jax.jit(jax.vmap(one))(keys)


class Anchored(NamedTuple):
    """A position that is optimised, and the draw from the prior that holds it; in units of the prior's deviation."""

    moving: PyTree
    anchor: PyTree


def make_anchored(
    posterior: Posterior,
) -> tuple[Callable[[Key, Frozen], Anchored], Callable[[Anchored, Frozen, Split], Array]]:
    """Return ``init`` and ``loss`` of a network that the likelihood draws away from a draw of the prior.

    The loss is - log likelihood + |z - z0|^2 / 2 with z0 the draw, at temperature T of variance T: sample, then
    optimise. For a linear network with noise in its targets its minima are draws from the posterior (Papandreou and
    Yuille 2010; Matthews et al. 2017); targets have none here, and the minima are where chains begin.
    """
    root = jnp.sqrt(jnp.asarray(posterior.temperature, jnp.float32))
    scale = jax.tree.map(lambda scale: scale * root, posterior.prior_scale)

    def init(key: Key, frozen: Frozen) -> Anchored:
        drawn = draw_prior(rng.named_key(key, "prior"), posterior.prior_mean, scale, posterior.shape)
        z = whiten(drawn, posterior.prior_scale)
        return Anchored(z, z)

    def loss(z: Anchored, frozen: Frozen, batch: Split) -> Array:
        position = unwhiten(z.moving, posterior.prior_scale)
        pulled = jax.tree.map(lambda moving, anchor: jnp.sum(jnp.square(moving - lax.stop_gradient(anchor))), *z)
        total = jnp.sum(posterior.loglikelihood(position, frozen, batch))
        return 0.5 * sum(jax.tree.leaves(pulled)) - total

    return init, loss


def prior_start(posterior: Posterior, keys: PyTree) -> Position:
    """Draw one position a key from the prior [chain, ...]; ``keys`` may be a ``Member`` of arrays [chain]."""

    def one(member: Any) -> Position:
        key, own = posterior.of(member, posterior.frozen, posterior.data)
        return draw_prior(rng.named_key(key, "prior"), own.prior_mean, own.prior_scale, posterior.shape)

    return jax.jit(jax.vmap(one))(keys)
