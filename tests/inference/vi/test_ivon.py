"""IVON: its steps are those of algorithm 1 of Shen et al. (2024), and it ends where mean field does."""

import jax
import numpy as np
import pytest
from flax import linen as nn
from scipy.stats import norm
from two_units import INPUTS as INPUTS_OF_TWO
from two_units import LOG_EVIDENCE, NOISE, PLAIN, START, SYMMETRISED, Two, fit, log_joint, nodes, posterior_of
from two_units import TARGETS as TARGETS_OF_TWO

from asymjax import rng
from asymjax.inference.vi import IVON, MeanField

INPUTS, TARGETS = np.split(np.random.RandomState(0).normal(size=(12, 3)), [2], axis=1)
SCALE = 0.7
DESIGN = np.hstack([INPUTS, np.ones((12, 1))]) / SCALE
PRECISION = DESIGN.T @ DESIGN + np.eye(3)
MEAN = np.linalg.solve(PRECISION, DESIGN.T @ TARGETS[:, 0] / SCALE)


@pytest.fixture(scope="module")
def linear():
    """Return the posterior of a linear model, whose entries are those of DESIGN."""
    return posterior_of(nn.Dense(1), INPUTS, TARGETS, SCALE)


def vector(tree):
    """Return the entries of a linear model in the order of DESIGN."""
    return np.concatenate([np.ravel(tree["kernel"]), np.ravel(tree["bias"])])


def test_steps_are_those_of_the_algorithm(linear):
    """Two steps in terms of rows, Hessian and weight decay, from the same draws."""
    algorithm, target, key = IVON(num_warmup=10, beta2=0.9, init_scale=0.3), linear.target(), jax.random.key(0)
    parts = algorithm.parts(target)
    update = jax.jit(lambda params, optimizer, key: algorithm.update(parts, params, optimizer, key, target))
    start = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), linear.shape)
    params = algorithm.first(key, start, target)
    optimizer = algorithm.init_optimizer(params)
    num_rows = len(TARGETS)
    delta = 1 / num_rows
    mean, hessian, momentum = np.full(3, 0.5), np.full(3, 1 / (num_rows * 0.3**2) - delta), np.zeros(3)
    for t in range(2):
        step = jax.random.fold_in(key, t)
        drawn = parts.family.draw(params, rng.named_key(jax.random.split(step, 1)[0], "draw"))
        params, optimizer, _ = update(params, optimizer, step)
        z, part = vector(drawn), 0.5 * (1 + np.cos(np.pi * t / 10))
        gradient = DESIGN.T @ (DESIGN @ z - TARGETS[:, 0] / SCALE) / num_rows
        seen = gradient * (z - mean) * num_rows * (hessian + delta)
        momentum = 0.9 * momentum + 0.1 * gradient
        share = 0.1 * part
        hessian = (1 - share) * hessian + share * seen + 0.5 * share**2 * (hessian - seen) ** 2 / (hessian + delta)
        mean = mean - 0.1 * part * (momentum / (1 - 0.9 ** (t + 1)) + delta * mean) / (hessian + delta)
        np.testing.assert_allclose(vector(params.mean), mean, rtol=1e-4)
        scale = 1 / np.sqrt(num_rows * (hessian + delta))
        np.testing.assert_allclose(np.exp(vector(params.log_scale)), scale, rtol=1e-4)


@pytest.mark.parametrize("algorithm", [IVON, MeanField])
def test_linear_models_have_the_known_gap(linear, algorithm):
    """Variances are one over the diagonal of the precision, and the bound is below the evidence by the known gap."""
    settings = algorithm(num_warmup=1500, num_samples=8, init_scale=0.3, gradient="path", num_elbo_draws=2000)
    start = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), linear.shape)
    fitted = fit(settings, linear, start, [SCALE], TARGETS[None])
    params = jax.tree.map(lambda leaf: leaf[0], fitted.params)
    mean, variance = vector(params.mean), np.exp(2 * vector(params.log_scale))
    centred = mean - MEAN
    spread = PRECISION.diagonal() @ variance + centred @ PRECISION @ centred
    divergence = 0.5 * (spread - 3 - np.sum(np.log(variance)) - np.linalg.slogdet(PRECISION)[1])
    gap = 0.5 * (np.sum(np.log(PRECISION.diagonal())) - np.linalg.slogdet(PRECISION)[1])
    assert gap > 0.05
    assert gap - 1e-5 < divergence < gap + 0.005
    np.testing.assert_allclose(variance * PRECISION.diagonal(), 1, atol=0.1)  # 0.0025 nats each.
    covariance = np.eye(12) * SCALE**2 + SCALE**2 * DESIGN @ DESIGN.T
    quadratic = TARGETS[:, 0] @ np.linalg.solve(covariance, TARGETS[:, 0])
    log_evidence = -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariance)[1])
    # A normal number exceeds 5 standard errors in less than one of a million cases.
    assert abs(fitted.elbo[0] - (log_evidence - divergence)) < 5 * fitted.elbo_error[0]


@pytest.mark.parametrize(("symmetrise", "best"), [("no", PLAIN), ("exact", SYMMETRISED)])
def test_two_units_reach_the_best_bound(symmetrise, best):
    """Of the plain bound and of the average over both orders, by quadrature at what was fitted."""
    settings = IVON(num_warmup=1000, num_samples=16, init_scale=0.2, symmetrise=symmetrise, num_elbo_draws=2000)
    posterior = posterior_of(Two(), INPUTS_OF_TWO, TARGETS_OF_TWO[0], 1.0)
    fitted = fit(settings, posterior, START, NOISE, TARGETS_OF_TWO)
    points, weights = nodes()
    for i in range(len(NOISE)):
        mean, log_scale = (np.ravel(tree["Dense_0"]["kernel"][i]) for tree in fitted.params)
        drawn = mean + np.exp(log_scale) * points

        def density(drawn, mean=mean, log_scale=log_scale):
            return norm.logpdf(drawn, mean, np.exp(log_scale)).sum(-1)

        log_q = density(drawn)
        if symmetrise == "exact":
            log_q = np.logaddexp(log_q, density(drawn[:, ::-1])) - np.log(2)
        bound = weights @ (log_joint(drawn, i) - log_q)
        # The average is flat where units overlap, and a fit this short stays further from its best.
        assert best[i] - (0.01 if symmetrise == "no" else 0.03) < bound < best[i] + 0.001
        assert bound < LOG_EVIDENCE[i]
        # A normal number exceeds 5 standard errors in less than one of a million cases.
        assert abs(fitted.elbo[i] - bound) < 5 * fitted.elbo_error[i]
