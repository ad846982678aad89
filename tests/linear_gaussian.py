"""A linear network with Gaussian noise, whose posterior and evidence NumPy knows."""

from typing import NamedTuple

import jax
import numpy as np
from flax import linen as nn

import asymjax

NOISE_SCALE = 0.5
NUM_CHAINS = 2


class Exact(NamedTuple):
    """The posterior of (bias, kernel) in units of the prior, and the evidence."""

    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float


def linear_gaussian():
    """Return a posterior over 3 coordinates, and what is exact."""
    numbers = np.random.default_rng(0)
    inputs = numbers.normal(size=(20, 2)).astype(np.float32)
    targets = (inputs @ [0.8, -0.5] + 0.3 + NOISE_SCALE * numbers.normal(size=20)).astype(np.float32)
    model = asymjax.from_flax(nn.Sequential([nn.Dense(1)]), np.zeros((2, 2), np.float32))
    likelihood = asymjax.Gaussian(noise="fixed", noise_scale=NOISE_SCALE)
    posterior = asymjax.make_posterior(model, (inputs, targets), likelihood=likelihood)
    design = np.column_stack([np.ones(20), inputs / np.sqrt(2)]).astype(np.float64)
    covariance = np.linalg.inv(design.T @ design / NOISE_SCALE**2 + np.eye(3))
    mean = covariance @ design.T @ targets / NOISE_SCALE**2
    of_targets = design @ design.T + NOISE_SCALE**2 * np.eye(20)
    quadratic = targets @ np.linalg.solve(of_targets, targets.astype(np.float64))
    log_evidence = -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * of_targets)[1])
    return posterior, Exact(mean, covariance, log_evidence)


def draw(posterior, sampler, num_draws=500):
    """Return what ``asymjax.sample`` returns, and draws of (bias, kernel) in units of the prior."""
    keys = jax.random.split(jax.random.key(1), NUM_CHAINS)
    start = jax.vmap(lambda key: posterior.init(key, posterior.frozen))(keys)
    options = {"num_chains": NUM_CHAINS, "num_draws": num_draws, "start": start, "show_progress": False}
    result = asymjax.sample(jax.random.key(0), posterior, sampler=sampler, **options)
    z = jax.tree.map(lambda leaf, scale: leaf / scale, result.position, posterior.prior_scale)
    return result, np.concatenate([np.reshape(leaf, (NUM_CHAINS, num_draws, -1)) for leaf in jax.tree.leaves(z)], -1)
