"""Where chains start: at permuted copies of one optimum, or at draws from the prior."""

from typing import Any

import jax
import numpy as np
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.inference.chains_config import ChainsConfig
from asymjax.inference.posterior import draw_prior
from asymjax.inference.problem import Problem
from asymjax.symmetry import permute, random_permutations
from asymjax.types import Array, Position, PyTree


def logdensity_and_gradient_norm(problem: Problem, positions: Position) -> tuple[np.ndarray, np.ndarray]:
    """Return the log density and the Euclidean norm of its gradient at each position [member]."""

    def each(positions: Position, *given: Any) -> tuple[Array, Array]:
        def one(position: Position) -> tuple[Array, Array]:
            value, grad = jax.value_and_grad(problem.posterior.logdensity)(
                position, problem.frozen, problem.data, *given
            )
            return value, trees.norm(grad)

        return lax.map(one, positions)

    value, norm = jax.jit(each)(positions, *problem.given)
    return np.asarray(value), np.asarray(norm)


def permuted_copies(problem: Problem, position: Position, keys: PyTree) -> Position:
    """Return copies of one network, its units permuted at random, one a key [chain, ...].

    A copy is what the model can be of the permuted network: the same function for a standard network, and another one
    where the method put constants in the place of weights, or gates that stay as they are.
    """
    model = problem.model

    def one(member: Any) -> Position:
        key, own = problem.of(member, problem.frozen)
        params = model.merge(position, own.frozen)
        permutations = random_permutations(rng.named_key(key, "permutation"), params, model.permutation_spec)
        return position | model.split(permute(params, model.permutation_spec, permutations), own.frozen)

    return jax.jit(jax.vmap(one))(keys)


def prior_start(problem: Problem, keys: PyTree) -> Position:
    """Draw one position a key from the prior [chain, ...]; ``keys`` may be a ``Member`` of arrays [chain]."""

    def one(member: Any) -> Position:
        key, own = problem.of(member, problem.frozen)
        return draw_prior(rng.named_key(key, "prior"), own.prior_mean, own.prior_scale, problem.shape)

    return jax.jit(jax.vmap(one))(keys)


def num_starts(config: ChainsConfig) -> int:
    """Return how many starts the chains have.

    Raises
    ------
    InputError
        If the chains cannot be dealt out evenly.
    """
    if config.chains_per_start < 1 or config.num_chains % config.chains_per_start:
        raise InputError(
            f"{config.num_chains} chains cannot share starts {config.chains_per_start} at a time; choose a divisor"
        )
    return config.num_chains // config.chains_per_start
