"""The variance of outputs under the prior, and the scale of the output kernel that matches it."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import model_of

from asymjax import data
from asymjax.errors import InputError
from asymjax.inference.posterior import PosteriorConfig, draw_prior
from asymjax.inference.prior_predictive import MAX_ROWS, OutputVariance, matched_scale, output_variance
from asymjax.models import draw_frozen
from asymjax.priors import NormalPrior

PRIOR = PosteriorConfig(prior_scale=0.5, noise="fixed", output_prior_scale=1.0)


def test_variance_of_a_linear_network():
    dataset = data.load("digits")
    config = model_of("w_asym", widths=(), norm="none", activation="identity")
    model = config.build(dataset.input_shape, dataset.num_outputs, PRIOR.normal_prior)
    is_free = np.asarray(model.free_mask(draw_frozen(model, 0))["output"]["kernel"]).reshape(64, 10)
    assert is_free.mean() == 0.5
    x = np.asarray(dataset.train.inputs[:100]).reshape(100, 64)
    found = output_variance(config, PRIOR, dataset)
    assert found.rest == pytest.approx(0.5**2, rel=0.1)
    assert found.scaled == pytest.approx(np.mean(x**2 @ is_free) * 0.5**2 / 64, rel=0.1)


def test_the_variance_at_a_scale_is_that_of_draws_with_this_scale():
    dataset, config = data.load("digits"), model_of("w_asym", widths=(6,), norm="none")
    prior = replace(PRIOR, temperature=0.5)
    problem = replace(prior, output_prior_scale=3.0).build(config, dataset)
    scale = jax.tree.map(lambda scale: np.sqrt(0.5) * scale, problem.prior_scale)

    def outputs(key):
        return problem.predict(
            draw_prior(key, problem.prior_mean, scale, problem.shape), problem.frozen, problem.data.inputs[:MAX_ROWS]
        )

    drawn = jax.jit(partial(jax.lax.map, outputs))(jax.random.split(jax.random.key(1), 4000))
    found = output_variance(config, prior, dataset)
    assert found.rest > 0.5 * 0.5**2  # Fixed entries of the output kernel add to the bias.
    assert found.at(3.0) == pytest.approx(float(drawn.var(0).mean()), rel=0.1)


def test_the_matched_scale():
    assert matched_scale(OutputVariance(1.0, 2.0), 9.0) == 2.0
    assert matched_scale(OutputVariance(0.0, 3.0), 1.0) == 0.5774
    for variance in (OutputVariance(4.0, 1.0), OutputVariance(0.0, 0.0)):
        with pytest.raises(InputError, match=r"standard deviation of .* is wanted; choose"):
            matched_scale(variance, float(jnp.square(1.9)))


def test_a_prior_by_outputs_is_that_of_the_published_perceptrons():
    layers = model_of("standard", widths=(256,), norm="layer").build((3072,), 10).layers
    prior = NormalPrior("fan_out", 10.0, output_scale=1.0, norm_scale=0.01)
    variances = {path: prior.scale_of(layer) ** 2 for path, layer in layers.items()}
    # Lim et al. (2024): 1 / (lambda units) with lambda = 0.01, weights and biases alike.
    assert variances["dense_0/kernel"] == pytest.approx(100 / 256) == variances["dense_0/bias"]
    assert variances["output/kernel"] == pytest.approx(10) == variances["output/bias"]
    assert variances["norm_0/scale"] == pytest.approx(0.01)
