"""HMC against the closed-form posterior of a linear model, in all its parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from linear_model import NOISE_SCALE, NUM_FIXED, NUM_INPUTS, PRIOR_SCALE, TEST, errors, linear_problem, solve
from scipy.special import logsumexp
from scipy.stats import norm

from asymjax import rng
from asymjax.diagnostics.convergence import per_coordinate
from asymjax.inference.metrics import prior_metric
from asymjax.inference.samplers.hmc import HMC, Tuned, make_hmc
from asymjax.inference.starts import prior_start
from asymjax.lab import devices
from asymjax.lab.chains import keep_weights, sample_chains, warm_up
from asymjax.lab.recorder import InMemory

NUM_CHAINS, NUM_DRAWS = 4, 2000
MAX_STANDARD_ERRORS = 5
# Two-sided normal tail at five standard errors (5.7e-7) times at most 28 comparisons in each of two cases.
FALSE_ALARM_RATE = 3.2e-5
MIN_ESS = 1000
CASES = [
    ("standard", 1.0, "prior"),
    ("w_asym", 0.25, "adapted"),
]


def draw(problem, mass_matrix):
    """Return positions [chain, draw, coordinate], predicted means [chain, draw, row] and tuned values."""
    algorithm = HMC(num_warmup=200, mass_matrix=mass_matrix, max_integration_steps=50)
    placement, run = devices.place(NUM_CHAINS, 1, "vectorized"), InMemory()
    keys = {role: rng.member_keys(rng.role_key(0, role), NUM_CHAINS) for role in ("init", "warmup", "sample")}
    start = prior_start(problem, keys["init"])
    position, tuned = warm_up(run, problem, keys["warmup"], start, placement, algorithm)
    sample_chains(
        run, problem, keys["sample"], position, tuned, TEST.inputs, placement, algorithm, NUM_DRAWS, keep_weights
    )
    draws = run.draws
    flat = [draws[f"position/output/{name}"].reshape(NUM_CHAINS, NUM_DRAWS, -1) for name in ("bias", "kernel")]
    return np.concatenate(flat, axis=-1).astype(np.float64), draws["outputs"][..., 0].astype(np.float64), tuned


def standard_errors(series, expected):
    """Return how many standard errors the means of [chain, draw, ...] lie from what they should be."""
    error, scale = errors(series, expected)
    return error / scale


@pytest.mark.parametrize(("arch", "temperature", "mass_matrix"), CASES)
def test_draws_have_the_closed_form_moments_and_predictive_density(arch, temperature, mass_matrix):
    problem = linear_problem(arch, temperature)
    answer = solve(problem.frozen, temperature)
    positions, means, tuned = draw(problem, mass_matrix)
    assert positions.shape[-1] == 1 + NUM_INPUTS - (NUM_FIXED if arch == "w_asym" else 0)
    assert per_coordinate(positions)["ess_bulk"].min() > MIN_ESS
    assert np.all(np.abs(standard_errors(positions, answer.mean)) < MAX_STANDARD_ERRORS)

    centred = positions - answer.mean
    rows, columns = np.triu_indices(len(answer.mean))
    products = centred[..., rows] * centred[..., columns]
    assert np.all(np.abs(standard_errors(products, answer.covariance[rows, columns])) < MAX_STANDARD_ERRORS)

    logs = norm.logpdf(TEST.targets[:, 0].astype(np.float64), means, NOISE_SCALE)
    lppd = logsumexp(logs, axis=(0, 1)) - np.log(logs.shape[0] * logs.shape[1])
    # To first order the error of the sum of log means is the error of the mean of this sum of ratios.
    ratios = np.exp(logs - lppd).sum(-1, keepdims=True)
    error = ratios.std() / np.sqrt(per_coordinate(ratios)["ess_bulk"][0])
    assert abs(lppd.sum() - answer.lppd) < MAX_STANDARD_ERRORS * error

    if mass_matrix == "prior":
        np.testing.assert_allclose(tuned.inverse_mass_matrix, PRIOR_SCALE**2, rtol=1e-6)
        np.testing.assert_allclose(tuned.trajectory_length, np.pi / 2, rtol=1e-6)
    else:
        assert np.all(np.asarray(tuned.inverse_mass_matrix) < PRIOR_SCALE**2)


def test_automatic_length_in_the_metric_of_the_prior_is_half_pi_prior_scales():
    problem = linear_problem("w_asym", 1.0)
    metric = prior_metric(problem.shape, problem.prior_scale)

    def logdensity(position):
        return problem.logdensity(position, problem.frozen, problem.data)

    def walk(tuned):
        sampler = make_hmc(logdensity, tuned).sampler

        def step(state, key):
            state, info = sampler.step(key, state)
            return state, (ravel_pytree(state.position)[0], info)

        state = sampler.init(jax.random.key(0), problem.init(jax.random.key(0), problem.frozen))
        return jax.lax.scan(step, state, jax.random.split(jax.random.key(1), 10))[1]

    length = jnp.asarray(HMC().trajectory_length)
    scaled = Tuned(jnp.asarray(0.02), metric, length)
    plain = Tuned(jnp.asarray(0.02 * PRIOR_SCALE), jnp.ones_like(metric), np.pi / 2 * PRIOR_SCALE)
    (left, left_info), (right, right_info) = jax.jit(walk)(scaled), jax.jit(walk)(plain)
    np.testing.assert_array_equal(left_info.num_grad_evals, right_info.num_grad_evals)
    np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4)
    assert len(np.unique(np.asarray(left), axis=0)) > 5
