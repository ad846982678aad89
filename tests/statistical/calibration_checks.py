"""Is the posterior of a sampler calibrated? Simulation-based calibration and Geweke's joint test.

Both begin with parameters drawn from the prior and data drawn given them, by a simulator that shares no density with
the sampler. Calibration (Talts et al. 2018, "Validating Bayesian inference algorithms with simulation-based
calibration") samples each posterior through warmup: the rank of the true value among independent draws is uniform.
Geweke (2004, "Getting it right") alternates one step of the sampler with fresh data; both marginals stay what they
were. Every one of the many chains begins at the joint distribution, so chains are independent and z-scores need no
autocorrelation. The model is a w_asym network of two hidden units with a learned noise scale, in the coordinates of
each sampler.
"""

from functools import cache
from itertools import groupby
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from model_of import model_of
from sampler_table import make_algorithm
from scipy.stats import chi2, norm

from asymjax import rng
from asymjax.diagnostics.convergence import per_coordinate
from asymjax.inference.algorithm import make_info
from asymjax.inference.posterior import PosteriorConfig, draw_prior
from asymjax.lab import devices
from asymjax.models import draw_frozen
from asymjax.types import Sampler, Split

NUM_ROWS, NUM_INPUTS = 12, 3
NUM_BINS, MIN_RANKS = 8, 15
# Over all samplers, tests and quantities of one command; every p-value is compared with its share.
FALSE_ALARM_RATE = 1e-3
STEP_TOO_LARGE, TOO_FLAT, TOO_WIDE = 1.0, 0.6, 3.0


class Size(NamedTuple):
    """How much is simulated: data sets, steps on each; chains of Geweke's test, and how often they draw fresh data."""

    num_simulations: int = 400
    num_warmup: int = 300
    num_draws: int = 3000
    num_lanes: int = 2000
    num_transitions: int = 60


# Model and simulator ---------------------------------------------------------------------------------------------


@cache
def make_case():
    """Return the problem, whose targets are to be simulated."""
    inputs = np.random.default_rng(0).normal(size=(NUM_ROWS, NUM_INPUTS)).astype(np.float32)
    model = model_of("w_asym", widths=(2,), norm="none", activation="tanh", num_fixed=(1,)).build((NUM_INPUTS,), 1)
    config = PosteriorConfig(prior="isotropic", prior_scale=0.8, output_prior_scale=1.0, noise="learned")
    rows = Split(inputs, np.zeros((NUM_ROWS, 1), np.float32))
    return config.of(model, "regression", draw_frozen(model, 0), rows)


def simulate_prior(key, widening=1.0):
    problem = make_case()
    scale = jax.tree.map(lambda leaf: widening * leaf, problem.prior_scale)
    return draw_prior(key, problem.prior_mean, scale, problem.shape)


def simulate_data(key, position):
    problem = make_case()
    mean = problem.model.apply(position, problem.frozen, problem.data.inputs)
    noise = jnp.exp(position["noise"]["log_scale"]) * jax.random.normal(key, mean.shape)
    return Split(problem.data.inputs, mean + noise)


def measure(position, data):
    """Return what is ranked and averaged: coordinates, a predicted mean, and the log likelihood."""
    problem = make_case()
    mean = problem.model.apply(position, problem.frozen, data.inputs[:1])[0]
    logs = problem.loglikelihood(position, problem.frozen, data)
    return jnp.concatenate([ravel_pytree(position)[0], mean, jnp.sum(logs)[None]])


# Samplers --------------------------------------------------------------------------------------------------------


def warm_up(algorithm, key, start, target):
    """Run the stages of warmup; those that share a function are scanned."""
    state, first = algorithm.begin(rng.named_key(key, "begin"), start, target), 0
    for (advance, num_steps), group in groupby(algorithm.stages, lambda stage: (stage.advance, stage.num_steps)):
        settings = jnp.asarray([stage.setting for stage in group])
        firsts = first + num_steps * jnp.arange(len(settings))

        def one(state, stage, advance=advance):
            return advance(rng.named_key(key, "warmup"), state, *stage, target)[0], None

        state, _ = lax.scan(one, state, (firsts, settings))
        first += num_steps * len(settings)
    return algorithm.finish(state)


def make_steps(sampler, thinning):
    """Return (key, state) -> state after as many steps as thinning says."""

    def steps(key, state):
        def step(state, t):
            return sampler.step(jax.random.fold_in(key, t), state)[0], None

        return lax.scan(step, state, jnp.arange(thinning))[0]

    return steps


def with_kernel(algorithm, make):
    """Return an algorithm with another kernel, and the warmup of its own."""
    return SimpleNamespace(
        make=make, begin=algorithm.begin, stages=algorithm.stages, finish=algorithm.finish, target=algorithm.target
    )


def without_acceptance(algorithm):
    """Break an algorithm: Langevin steps that are large, and never rejected."""

    def make(target, tuned):
        sampler = algorithm.make(target, tuned)

        def step(key, state):
            flat, unravel = ravel_pytree(state.position)
            grad = ravel_pytree(jax.grad(target.logdensity)(state.position))[0]
            variance = STEP_TOO_LARGE**2 * tuned.inverse_mass_matrix
            moved = flat + 0.5 * variance * grad + jnp.sqrt(variance) * jax.random.normal(key, flat.shape)
            moved = jnp.where(jnp.all(jnp.isfinite(moved)) & (jnp.max(jnp.abs(moved)) < 10), moved, flat)
            return sampler.init(key, unravel(moved)), make_info(1)

        return Sampler(sampler.init, step)

    return with_kernel(algorithm, make)


def too_flat(algorithm):
    """Break an algorithm: it samples a power of the density."""

    def make(target, tuned):
        return algorithm.make(target._replace(logdensity=lambda x: TOO_FLAT * target.logdensity(x)), tuned)

    return with_kernel(algorithm, make)


# The tests -------------------------------------------------------------------------------------------------------


def over_members(fn, key, count):
    """Return what a function makes of as many keys, in equal shares on all devices."""
    placement = devices.place(count, inside="vectorized")
    return jax.jit(devices.map_leading(fn, placement, [True]))(rng.member_keys(key, count))


def calibrate(algorithm, thinning, size, widening=1.0, seed=0):
    """Sample the posterior of every simulated data set.

    Returns
    -------
    The true values [simulation, quantity], draws of them [simulation, draw, quantity], and what was tuned.
    """
    problem = make_case()

    def one(key):
        truth = simulate_prior(rng.named_key(key, "truth"), widening)
        data = simulate_data(rng.named_key(key, "data"), truth)
        target = algorithm.target(problem._replace(data=data))
        start = target.enter(simulate_prior(rng.named_key(key, "start")))
        position, tuned = warm_up(algorithm, key, start, target)
        sampler = algorithm.make(target, tuned)
        steps = make_steps(sampler, thinning)

        def keep_one(state, t):
            state = steps(jax.random.fold_in(rng.named_key(key, "sample"), t), state)
            return state, measure(target.leave(state.position), data)

        state = sampler.init(rng.named_key(key, "init"), position)
        return measure(truth, data), lax.scan(keep_one, state, jnp.arange(size.num_draws))[1], tuned

    return over_members(one, rng.role_key(seed, "calibration"), size.num_simulations)


def rank_p_values(truth, draws):
    """Return p-values [quantity] of uniform ranks, and how many draws were ranked in each simulation.

    As many draws as are independent: thinned by their number over the ESS, of the worst quantity at the worst of 20
    simulations. A chi-square test over bins of ranks, whose probabilities are counted.
    """
    truth, draws = np.asarray(truth, float), np.asarray(draws, float)
    ess = np.stack([per_coordinate(chain[None])["ess_bulk"].min() for chain in draws])
    interval = int(np.ceil(draws.shape[1] / max(1.0, np.quantile(ess, 0.05))))
    kept = draws[:, interval - 1 :: interval]
    num_ranks = kept.shape[1] + 1
    ranks = (kept < truth[:, None]).sum(1)
    share = np.bincount(np.arange(num_ranks) * NUM_BINS // num_ranks, minlength=NUM_BINS) / num_ranks
    counts = np.stack([np.bincount(column, minlength=NUM_BINS) for column in (ranks * NUM_BINS // num_ranks).T])
    expected = len(truth) * share
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.nansum((counts - expected) ** 2 / expected, axis=1)
    return chi2.sf(statistic, max(1, np.count_nonzero(share) - 1)), kept.shape[1]


def geweke_z(algorithm, tuned, thinning, size, widening=1.0, seed=0):
    """Return z-scores [quantity]: first and second moments along successive simulators against the marginal one's."""
    problem = make_case()

    def moments(position, data):
        values = measure(position, data)
        values = jnp.concatenate([values, jnp.mean(data.targets)[None] * values[:1]])
        return jnp.concatenate([values, jnp.square(values)])

    def joint(key):
        position = simulate_prior(rng.named_key(key, "prior"), widening)
        return position, simulate_data(rng.named_key(key, "data"), position)

    def successive(key):
        def one(position, t):
            here = jax.random.fold_in(key, t)
            data = simulate_data(rng.named_key(here, "data"), position)
            target = algorithm.target(problem._replace(data=data))
            sampler = algorithm.make(target, tuned)
            state = sampler.init(rng.named_key(here, "init"), target.enter(position))
            position = target.leave(make_steps(sampler, thinning)(here, state).position)
            return position, moments(position, data)

        return jnp.mean(lax.scan(one, joint(key)[0], jnp.arange(size.num_transitions))[1], axis=0)

    chains = over_members(successive, rng.role_key(seed, "successive"), size.num_lanes)
    marginal = over_members(lambda key: moments(*joint(key)), rng.role_key(seed, "marginal"), 20 * size.num_lanes)
    chains, marginal = np.asarray(chains, float), np.asarray(marginal, float)
    variance = chains.var(0) / len(chains) + marginal.var(0) / len(marginal)
    return (chains.mean(0) - marginal.mean(0)) / np.sqrt(variance)


def typical(tuned):
    """Return the median over simulations of what was tuned."""
    return jax.tree.map(lambda leaf: jnp.median(leaf, axis=0).astype(leaf.dtype), tuned)


def check(name, size, break_it=None, widening=1.0):
    """Return the p-values of both tests of a sampler, and how many draws were ranked."""
    # One step of mala is far from a draw, in warmup too; multinomial proposals stay nearer than ends of trajectories.
    thinning = {"mala": 60, "mhmc": 3}.get(name, 1)
    # The metric that samplers have by default. Variances adapted in one mode of such a posterior are far from those of
    # the whole: chains then stick, and too few draws are independent.
    algorithm = make_algorithm(name, num_warmup=thinning * size.num_warmup, mass_matrix="leaf")
    if break_it is not None:
        algorithm = break_it(algorithm)
    truth, draws, tuned = jax.block_until_ready(calibrate(algorithm, thinning, size, widening))
    p_values, num_ranked = rank_p_values(truth, draws)
    z = geweke_z(algorithm, typical(tuned), thinning, size, widening)
    return p_values, 2 * norm.sf(np.abs(z)), num_ranked


BROKEN = {
    "no Metropolis test": {"break_it": without_acceptance},
    "density too flat": {"break_it": too_flat},
    "prior too wide": {"widening": TOO_WIDE},
}
