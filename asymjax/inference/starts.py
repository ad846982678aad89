"""Where chains start: at permuted copies of one optimum, or at draws from the prior."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.inference.posterior import Posterior, draw_prior
from asymjax.settings import Count, Positive, Settings
from asymjax.symmetry import permute, random_permutations
from asymjax.types import Array, Position, PyTree


@dataclass(frozen=True)
class Start(Settings):
    """Where chains start.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.Start(chains_per_start=2).num_starts(num_chains=8)
    4
    """

    start: Literal["map", "prior", "permuted"] = "map"
    """Start chains at the optimum of the same density (a MAP ensemble), at draws from the prior, or at copies of one
    optimum, the units of each permuted at random: for a standard network all the same function."""
    chains_per_start: Count = 1
    """Chains that share a start, one after the other: superchains, of which nested R-hat is reported."""
    map_steps: Count = 10_000
    """Full-batch optimizer steps to the optimum."""
    map_learning_rate: Positive = 0.003
    """Peak learning rate on the way to the optimum (cosine schedule)."""

    def num_starts(self, num_chains: int) -> int:
        """Return how many starts so many chains have.

        Raises
        ------
        InputError
            If the chains cannot be dealt out evenly, or a setting cannot be.
        """
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


def prior_start(posterior: Posterior, keys: PyTree) -> Position:
    """Draw one position a key from the prior [chain, ...]; ``keys`` may be a ``Member`` of arrays [chain]."""

    def one(member: Any) -> Position:
        key, own = posterior.of(member, posterior.frozen, posterior.data)
        return draw_prior(rng.named_key(key, "prior"), own.prior_mean, own.prior_scale, posterior.shape)

    return jax.jit(jax.vmap(one))(keys)
