"""A linear network with Gaussian noise, whose posterior and evidence NumPy knows."""

from typing import NamedTuple

import jax
import numpy as np
from flax import linen as nn
from scipy.stats import norm

import asymjax

NOISE_SCALE = 0.5
NUM_CHAINS = 2


NUMBERS = np.random.default_rng(0)
INPUTS = NUMBERS.normal(size=(20, 2)).astype(np.float32)
TARGETS = (INPUTS @ [0.8, -0.5] + 0.3 + NOISE_SCALE * NUMBERS.normal(size=20)).astype(np.float32)
PRIOR_SCALE = np.array([1, 1 / np.sqrt(2), 1 / np.sqrt(2)])
"""Of (bias, kernel)."""


class Exact(NamedTuple):
    """The posterior of (bias, kernel) in units of the prior, and the evidence."""

    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float


def exact(temperature=1.0, likelihood_weight=1.0):
    """Return the Gaussian with the density exp((weight log likelihood + log prior) / T) of positions, and its mass."""
    design = np.column_stack([np.ones(20), INPUTS]) * PRIOR_SCALE[None]
    covariance = temperature * np.linalg.inv(likelihood_weight * design.T @ design / NOISE_SCALE**2 + np.eye(3))
    mean = covariance @ design.T @ TARGETS * likelihood_weight / NOISE_SCALE**2 / temperature
    volume = np.log(PRIOR_SCALE).sum()
    loglikelihood = norm.logpdf(TARGETS, design @ mean, NOISE_SCALE).sum()
    density = (likelihood_weight * loglikelihood + norm.logpdf(mean).sum() - volume) / temperature
    return Exact(mean, covariance, density + volume + 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1])


def linear_gaussian():
    """Return a posterior over 3 coordinates, and what is exact."""
    model = asymjax.from_flax(nn.Sequential([nn.Dense(1)]), np.zeros((2, 2), np.float32))
    likelihood = asymjax.Gaussian(noise="fixed", noise_scale=NOISE_SCALE)
    return asymjax.make_posterior(model, (INPUTS, TARGETS), likelihood=likelihood), exact()


def draw(posterior, sampler, num_draws=500):
    """Return what ``asymjax.sample`` returns, and draws of (bias, kernel) in units of the prior."""
    keys = jax.random.split(jax.random.key(1), NUM_CHAINS)
    start = jax.vmap(lambda key: posterior.init(key, posterior.frozen))(keys)
    options = {"num_chains": NUM_CHAINS, "num_draws": num_draws, "start": start, "show_progress": False}
    result = asymjax.sample(jax.random.key(0), posterior, sampler=sampler, **options)
    z = jax.tree.map(lambda leaf, scale: leaf / scale, result.position, posterior.prior_scale)
    return result, np.concatenate([np.reshape(leaf, (NUM_CHAINS, num_draws, -1)) for leaf in jax.tree.leaves(z)], -1)
