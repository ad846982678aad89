"""Where chains start: at optima of their density, at permuted copies of one optimum, or at draws from the prior."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from asymjax import hosts, parallel, rng, trees
from asymjax.chunks import chunk_size
from asymjax.config import ChainsConfig
from asymjax.errors import InputError
from asymjax.inference.posterior import draw_prior
from asymjax.inference.problem import Problem
from asymjax.models import vary_frozen
from asymjax.parallel import Placement
from asymjax.rundir import RunDir
from asymjax.symmetry import permute, random_permutations
from asymjax.train import make_train, run_sweep
from asymjax.train.trainer import Member, Trainer, make_varied
from asymjax.types import Array, Frozen, Hyper, Position, PyTree, Split

NUM_CHUNKS = 10


def find_map(
    run: RunDir, problem: Problem, keys: PyTree, placement: Placement, num_steps: int, learning_rate: float
) -> Position:
    """Train one network a key to the optimum of its density, full batch; NumPy leaves [chain, ...].

    Adam on -log density / rows with a cosine schedule from ``learning_rate`` to zero. ``keys`` may be a ``Member`` of
    arrays [chain], whose settings are those of the networks' densities.
    """
    num_rows = problem.data.targets.shape[0]
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    model = problem.model._replace(init=problem.init)

    def make(hyper: Hyper) -> Trainer:
        given = problem.having(hyper).given

        def loss(apply: Any, position: Position, frozen: Frozen, batch: Split) -> Array:
            return -problem.posterior.logdensity(position, frozen, batch, *given) / num_rows

        return make_train(model, loss, optimizer, num_steps, batch_size=None)

    trainer = make_varied(make, partial(vary_frozen, model)) if isinstance(keys, Member) else make({})
    epochs = chunk_size(num_steps, max(1, num_steps // NUM_CHUNKS))
    state = run_sweep(run, trainer, keys, keys, problem.frozen, problem.data, placement, num_steps, epochs)
    return hosts.gather(state.position)


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


def find_start(
    run: RunDir, problem: Problem, keys: PyTree, placement: Placement, config: ChainsConfig
) -> tuple[Position | None, Position]:
    """Return the optima that were trained [member, ...], None where none were, and where chains start [chain, ...].

    ``keys`` are one a start, as many as :func:`num_starts` says, or a ``Member`` of as many.
    """
    optima = None
    if config.start == "prior":
        starts = prior_start(problem, keys)
    else:
        num_optima = num_starts(config) if config.start == "map" else 1
        # As many for every process: some find an optimum that others find as well.
        size = jax.process_count() * -(-num_optima // jax.process_count())
        where = placement if size == placement.size else parallel.place(size, inside=placement.width)
        where = where._replace(total=num_optima)
        first = jax.tree.map(lambda leaf: leaf[:num_optima], keys)
        optima = find_map(run, problem, first, where, config.map_steps, config.map_learning_rate)
        starts = optima
        if config.start == "permuted":
            starts = permuted_copies(problem, jax.tree.map(lambda leaf: leaf[0], optima), keys)
    return optima, jax.tree.map(lambda leaf: jnp.repeat(leaf, config.chains_per_start, axis=0), starts)
