"""Every sampler, through the driver, against targets with known moments."""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calibration_checks import warm_up as warm_up_alone
from jax import lax
from linear_model import TEST, TRAIN, errors, linear_problem, solve
from sampler_table import CASES, EXACT, KERNELS, LONG, NUM_CHAINS, make_algorithm
from scipy.linalg import block_diag

from asymjax import rng
from asymjax.diagnostics.convergence import per_coordinate
from asymjax.inference import ALGORITHMS, APPROXIMATIONS, SAMPLERS
from asymjax.inference.algorithm import Target
from asymjax.inference.posterior import Posterior
from asymjax.inference.samplers.hmc import Tuned, make_hmc
from asymjax.inference.starts import prior_start
from asymjax.lab import devices
from asymjax.lab.chains import keep_weights, sample_chains, warm_up
from asymjax.lab.recorder import InMemory

MAX_STANDARD_ERRORS = 5
# Two-sided normal tail at five standard errors (5.7e-7) times 39 comparisons for each of the thirteen samplers.
FALSE_ALARM_RATE = 2.9e-4
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
    assert list(CASES) == [*SAMPLERS, *APPROXIMATIONS]


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


# Scales of ten coordinates, and how much of a fourth power there is: alike, apart, and with light tails.
ACCEPTED = jnp.stack([jnp.ones(10), jnp.logspace(-1, 0, 10), jnp.ones(10)]), jnp.array([0.0, 0.0, 0.5])
NUM_ACCEPTED = 32


@pytest.mark.long
@pytest.mark.parametrize("name", EXACT)
def test_the_step_size_that_is_kept_reaches_the_acceptance_rate_that_was_asked_for(name):
    algorithm = ALGORITHMS[name](num_warmup=500)

    def one(scale, quartic, key):
        def logdensity(x):
            return -0.5 * jnp.sum(jnp.square(x / scale)) - quartic * jnp.sum(x**4)

        target = Target(logdensity, lambda key, position, batch_size: logdensity(position), 1, 1.0)
        position, tuned = warm_up_alone(algorithm, key, scale * jax.random.normal(key, (10,)), target)
        sampler = algorithm.make(target, tuned)
        keys = jax.random.split(rng.named_key(key, "sample"), 300)
        return lax.scan(lambda state, key: sampler.step(key, state), sampler.init(key, position), keys)[1]

    over_chains = jax.vmap(one, in_axes=(None, None, 0))
    keys = jax.random.split(jax.random.key(0), NUM_ACCEPTED)
    told = jax.jit(jax.vmap(over_chains, in_axes=(0, 0, None)))(*ACCEPTED, keys)
    rates = np.asarray(told.acceptance_rate).mean((1, 2))
    assert np.all(np.abs(rates - algorithm.target_acceptance_rate) < 0.02)


NUM_LANES, NUM_STEPS = 100_000, 10


def test_multinomial_trajectories_of_large_steps_leave_the_target_as_it_is():
    tuned = Tuned(jnp.asarray(1.2), jnp.ones(1), jnp.asarray(4.0))
    sampler = make_hmc(lambda x: -0.5 * jnp.sum(jnp.square(x)), tuned, is_multinomial=True).sampler

    def last(key):
        state = sampler.init(key, jax.random.normal(key, (1,)))
        keys = jax.random.split(rng.named_key(key, "steps"), NUM_STEPS)
        return lax.scan(lambda state, key: (sampler.step(key, state)[0], None), state, keys)[0].position[0]

    squares = np.square(np.asarray(jax.jit(jax.vmap(last))(jax.random.split(jax.random.key(0), NUM_LANES))))
    # Lanes are independent draws: the mean of x^2 has a standard error of sqrt(2 / lanes).
    assert abs(squares.mean() - 1) < MAX_STANDARD_ERRORS * np.sqrt(2 / NUM_LANES)


@pytest.mark.parametrize("name", MOVED)
def test_chains_differ(name):
    last = block_draws(draw(name), "gaussian")[:, -1]
    assert len(np.unique(last, axis=0)) == len(last)
