"""Where chains start: at optima of their density, at permuted copies of one optimum, or at draws from the prior."""

from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax import lax

from asymjax import rng, trees
from asymjax.chunks import chunk_size
from asymjax.inference.posterior import draw_prior
from asymjax.inference.problem import Problem
from asymjax.parallel import Placement
from asymjax.rundir import RunDir
from asymjax.symmetry import permute, random_permutations
from asymjax.train import make_train, run_sweep
from asymjax.types import Array, Frozen, Key, Position, Split

NUM_CHUNKS = 10


def find_map(
    run: RunDir, problem: Problem, keys: Key, placement: Placement, num_steps: int, learning_rate: float
) -> Position:
    """Train one network a key to the optimum of the posterior density, full batch [chain, ...].

    Adam on -log density / rows with a cosine schedule from ``learning_rate`` to zero.
    """
    num_rows = problem.data.targets.shape[0]

    def loss(apply: Any, position: Position, frozen: Frozen, batch: Split) -> Array:
        return -problem.posterior.logdensity(position, frozen, batch) / num_rows

    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    trainer = make_train(problem.model._replace(init=problem.init), loss, optimizer, num_steps, batch_size=None)
    epochs = chunk_size(num_steps, max(1, num_steps // NUM_CHUNKS))
    return run_sweep(run, trainer, keys, keys, problem.frozen, problem.data, placement, num_steps, epochs).position


def logdensity_and_gradient_norm(problem: Problem, positions: Position) -> tuple[np.ndarray, np.ndarray]:
    """Return the log density and the Euclidean norm of its gradient at each position [member]."""

    def one(position: Position) -> tuple[Array, Array]:
        value, grad = jax.value_and_grad(problem.posterior.logdensity)(position, problem.frozen, problem.data)
        return value, trees.norm(grad)

    value, norm = jax.jit(partial(lax.map, one))(positions)
    return np.asarray(value), np.asarray(norm)


def permuted_copies(problem: Problem, position: Position, keys: Key) -> Position:
    """Return copies of one network, its units permuted at random, one a key [chain, ...].

    A copy is what the model can be of the permuted network: the same function for a standard network, and another one
    where the method put constants in the place of weights, or gates that stay as they are.
    """
    model, frozen = problem.model, problem.frozen
    params = model.merge(position, frozen)

    def one(key: Key) -> Position:
        permutations = random_permutations(rng.named_key(key, "permutation"), params, model.permutation_spec)
        return position | model.split(permute(params, model.permutation_spec, permutations), frozen)

    return jax.jit(jax.vmap(one))(keys)


def prior_start(problem: Problem, keys: Key) -> Position:
    """Draw one position a key from the prior [chain, ...]."""
    draw = partial(draw_prior, mean=problem.prior_mean, scale=problem.prior_scale, like=problem.shape)
    return jax.jit(jax.vmap(lambda key: draw(rng.named_key(key, "prior"))))(keys)
