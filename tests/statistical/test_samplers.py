"""Every sampler, through the driver, against targets with known moments; and what the driver relies on."""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_model import TEST, TRAIN, errors, linear_problem, solve
from sampler_table import CASES, EXACT, KERNELS, LONG, NUM_CHAINS, make_algorithm
from scipy.linalg import block_diag

from asymjax import rng, trees
from asymjax.diagnostics.convergence import per_coordinate
from asymjax.inference import ALGORITHMS
from asymjax.inference.algorithm import Target
from asymjax.inference.posterior import Posterior
from asymjax.inference.starts import prior_start
from asymjax.lab import devices
from asymjax.lab.chains import keep_weights, sample_chains, warm_up
from asymjax.lab.recorder import InMemory

MAX_STANDARD_ERRORS = 5
# Two-sided normal tail at five standard errors (5.7e-7) times 39 comparisons for each of the twelve samplers.
FALSE_ALARM_RATE = 2.7e-4
MIN_ESS = 400
BEND = 0.5
# Posteriors of linear models are this much narrower than their priors: what warmup starts from fits all blocks alike.
NARROWER = 0.2
GAUSSIAN_MEAN, GAUSSIAN_SCALE = np.array([1.0, 0.0, -2.0, 0.0, 0.0]), np.array([0.5, 1.0, 2.0])
CORRELATION = np.array([[1.0, 0.9], [0.9, 1.0]])


class Block(NamedTuple):
    """A leaf or a branch of the position with a density of its own.

    Attributes
    ----------
    logdensity : (leaf or branch, batch, weight) -> [].
    mean, covariance : of its coordinates, in the order of their paths.
    problem : where it is a model, what the model is; None elsewhere.
    """

    logdensity: Any
    mean: np.ndarray
    covariance: np.ndarray
    problem: Any = None


def gaussian(mean, covariance):
    precision = jnp.asarray(np.linalg.inv(covariance), jnp.float32)

    def logdensity(x, batch, weight):
        centred = x - jnp.asarray(mean, jnp.float32)
        return -0.5 * centred @ precision @ centred

    return Block(logdensity, np.asarray(mean), covariance)


def banana():
    """x ~ N(0, 1) and y | x ~ N(b x^2, 1)."""

    def logdensity(x, batch, weight):
        return -0.5 * (x[0] ** 2 + (x[1] - BEND * x[0] ** 2) ** 2)

    return Block(logdensity, np.array([0.0, BEND]), np.diag([1.0, 1 + 2 * BEND**2]))


def linear(arch, temperature):
    problem = linear_problem(arch, temperature)
    answer = solve(problem.frozen, temperature)

    def logdensity(position, batch, weight):
        return problem.logdensity(position, problem.frozen, batch, weight=weight)

    return Block(logdensity, answer.mean, answer.covariance, problem)


# Independent scales, and a pair that is correlated.
COVARIANCE = block_diag(np.diag(GAUSSIAN_SCALE**2), CORRELATION)
# One chain samples the product of all blocks: every sampler compiles once.
BLOCKS = {
    "gaussian": gaussian(GAUSSIAN_MEAN, COVARIANCE),
    "banana": banana(),
    "w_asym_cold": linear("w_asym", 0.25),
}


def product_problem():
    def of_blocks(of_model, plain):
        return {
            name: plain(block) if block.problem is None else of_model(block.problem) for name, block in BLOCKS.items()
        }

    def logdensity(position, frozen, batch, weight=1.0):
        return sum(block.logdensity(position[name], batch, weight) for name, block in BLOCKS.items())

    def init(key, frozen):
        return of_blocks(lambda problem: problem.init(key, problem.frozen), lambda block: jnp.zeros(len(block.mean)))

    return Posterior(
        logdensity=logdensity,
        frozen={},
        data=jax.tree.map(jnp.asarray, TRAIN),
        init=init,
        predict=lambda position, frozen, inputs: position["banana"],
        prior_mean=of_blocks(lambda problem: problem.prior_mean, lambda block: 0.0),
        prior_scale=of_blocks(
            lambda problem: jax.tree.map(lambda scale: NARROWER * scale, problem.prior_scale), lambda block: 1.0
        ),
    )


@cache
def draw(name):
    """Return the draws of a sampler by name [chain, draw, ...]."""
    problem, run = product_problem(), InMemory()
    placement, algorithm = devices.place(NUM_CHAINS, 1, "vectorized"), make_algorithm(name)
    keys = {role: rng.member_keys(rng.role_key(0, role), NUM_CHAINS) for role in ("init", "warmup", "sample")}
    start = prior_start(problem, keys["init"])
    position, tuned = warm_up(run, problem, keys["warmup"], start, placement, algorithm)
    num_draws = CASES[name].num_draws
    sample_chains(
        run, problem, keys["sample"], position, tuned, TEST.inputs, placement, algorithm, num_draws, keep_weights
    )
    return run.draws


def block_draws(draws, block):
    paths = sorted(path for path in draws if path.split("/")[:2] == ["position", block])
    return np.concatenate([draws[path].reshape(*draws[path].shape[:2], -1) for path in paths], axis=-1).astype(float)


def test_the_table_has_every_sampler():
    assert list(CASES) == list(ALGORITHMS)


MOVED = [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in KERNELS]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name", MOVED)
def test_draws_have_the_moments_of_the_target(name, block):
    positions, bias = block_draws(draw(name), block), CASES[name].bias
    mean, covariance = BLOCKS[block].mean, BLOCKS[block].covariance
    assert per_coordinate(positions)["ess_bulk"].min() > MIN_ESS
    scale = np.sqrt(np.diag(covariance))
    error, standard_error = errors(positions, mean)
    assert np.all(np.abs(error) < MAX_STANDARD_ERRORS * standard_error + bias * scale)

    rows, columns = np.triu_indices(len(mean))
    centred = positions - mean
    error, standard_error = errors(centred[..., rows] * centred[..., columns], covariance[rows, columns])
    assert np.all(np.abs(error) < MAX_STANDARD_ERRORS * standard_error + 2 * bias * scale[rows] * scale[columns])


@pytest.mark.parametrize("name", EXACT)
def test_warmup_reaches_the_acceptance_rate_that_was_asked_for(name):
    rate = draw(name)["acceptance_rate"].mean()
    assert abs(rate - make_algorithm(name).target_acceptance_rate) < 0.2


# What the driver relies on ---------------------------------------------------------------------------------------

SHAPES = {"a": (50,), "b": {"c": (5, 10)}}
NUM_COORDINATES, NUM_SAMPLE_ROWS, MAX_POSITIONS, MAX_SCALARS = 100, 40, 4, 16


def small_position(dtype=jnp.float32):
    return jax.tree.map(lambda shape: jnp.ones(shape, dtype), SHAPES, is_leaf=lambda x: isinstance(x, tuple))


def small_target(count=None):
    """Return a standard normal over ``SHAPES``; ``count`` hears of every gradient, and what share of rows it cost."""

    def counted(share):
        @jax.custom_vjp
        def same(position):
            return position

        def backward(_, grad):
            if count is not None:
                jax.debug.callback(count, share)
            return (grad,)

        same.defvjp(lambda position: (position, None), backward)
        return same

    def logdensity(position, share=1.0):
        position = counted(share)(position)
        return -0.5 * sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(position))

    def estimate(key, position, batch_size):
        return logdensity(position, batch_size / NUM_SAMPLE_ROWS)

    return Target(logdensity, estimate, NUM_SAMPLE_ROWS, jax.tree.map(lambda _: 1.0, small_position()))


def small_sampler(name, target, position):
    """Return a sampler that has not been tuned."""
    algorithm = make_algorithm(name)
    _, tuned = algorithm.finish(algorithm.begin(jax.random.key(0), position, target))
    return algorithm.make(target, tuned, 1000)


@pytest.mark.parametrize("name", KERNELS)
def test_a_key_fixes_the_draws_and_every_gradient_is_counted(name):
    heard = []
    sampler = small_sampler(name, small_target(lambda share: heard.append(float(share))), small_position())
    init = sampler.init(jax.random.key(0), small_position())

    @jax.jit
    def walk(key, init):
        def step(state, t):
            state, info = sampler.step(jax.random.fold_in(key, t), state)
            return state, (state.position, info)

        return jax.lax.scan(step, init, jnp.arange(5))[1]

    jax.effects_barrier()
    heard.clear()
    first = jax.block_until_ready(walk(jax.random.key(1), init))
    jax.effects_barrier()
    assert sum(heard) == pytest.approx(float(jnp.sum(first[1].num_grad_evals)), rel=1e-6)
    again, other = walk(jax.random.key(1), init), walk(jax.random.key(2), init)
    for left, right in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(first[0]["a"], other[0]["a"])


@pytest.mark.parametrize("name", MOVED)
def test_chains_differ(name):
    last = block_draws(draw(name), "gaussian")[:, -1]
    assert len(np.unique(last, axis=0)) == len(last)


@pytest.mark.parametrize("name", CASES)
def test_a_chain_is_a_few_positions(name):
    def one(key, position):
        return small_sampler(name, small_target(), position).init(key, position)

    state = jax.eval_shape(one, jax.random.key(0), small_position())
    assert trees.num_entries(state) <= MAX_POSITIONS * NUM_COORDINATES + MAX_SCALARS
    assert jax.tree.map(lambda leaf: leaf.shape, state.position) == SHAPES


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_positions_keep_their_dtype(name, dtype):
    def one(key, position):
        algorithm, target = make_algorithm(name), small_target()
        state = algorithm.begin(key, position, target)
        stage = algorithm.stages[0]
        state, _ = stage.advance(key, state, jnp.asarray(0), jnp.asarray(stage.setting), target)
        position, tuned = algorithm.finish(state)
        sampler = algorithm.make(target, tuned, 1000)

        def step(state, key):
            state, _ = sampler.step(key, state)
            return state, state.position

        return position, jax.lax.scan(step, sampler.init(key, position), jax.random.split(key, 2))[1]

    with jax.enable_x64(dtype == "float64"):
        assert {
            leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(one, jax.random.key(0), small_position(dtype)))
        } == {jnp.dtype(dtype)}
