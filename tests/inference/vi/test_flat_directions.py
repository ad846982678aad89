"""Directions that a LayerNorm makes flat: there the posterior is the prior, and fits that can go back to it.

What all units of a layer have in common is subtracted by the norm behind it: a constant on their biases, and one on
their weights of each input.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from two_units import run_fit

import asymjax
from asymjax.inference.vi import FullRank, MeanField


@pytest.fixture(scope="module")
def target():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            units = nn.LayerNorm(use_bias=False, use_scale=False)(nn.Dense(3, name="hidden")(x))
            return nn.Dense(1, use_bias=False)(jnp.tanh(units))

    inputs = np.random.default_rng(0).normal(size=(20, 1)).astype(np.float32)
    likelihood = asymjax.Gaussian(noise="fixed", noise_scale=0.3)
    data = inputs, np.sin(2 * inputs)
    return asymjax.make_posterior(asymjax.from_flax(Network(), inputs), data, likelihood=likelihood).target()


@pytest.mark.parametrize(("family", "is_free"), [(FullRank, True), (MeanField, False)])
def test_full_rank_returns_to_the_prior_where_a_norm_makes_directions_flat(target, family, is_free):
    """Mean field does not: its variances are those of entries given all others, and others are told by data."""
    settings = {"num_warmup": 4000, "num_samples": 4, "learning_rate": 0.05, "init_scale": 0.5, "num_elbo_draws": 2}
    algorithm = family(gradient="path", **settings)
    position = target.posterior.init(jax.random.key(0), target.posterior.frozen)

    @jax.jit
    def draws(key):
        params = run_fit(algorithm, key, position, target).params
        return jax.vmap(lambda key: algorithm.family(target).draw(params, key))(jax.random.split(key, 10_000))

    directions = np.array([[1, 1, 1] / np.sqrt(3), [1, -1, 0] / np.sqrt(2)])
    for leaf in draws(jax.random.key(1))["hidden"].values():
        z = np.reshape(leaf, (-1, 3)) @ directions.T
        flat, other = 0.5 * (np.mean(z**2, axis=0) - 1 - np.log(np.var(z, axis=0)))
        print(flat, other)
        assert other > 0.3
        # KL to the prior; 10,000 draws tell it to 1e-4.
        assert (flat < 0.01) == is_free
