"""The variance of outputs under the prior, and the scale of the output kernel that matches it."""

import jax.numpy as jnp
import numpy as np
import pytest

from asymjax import data
from asymjax.config import ModelConfig, PosteriorConfig
from asymjax.errors import InputError
from asymjax.inference.prior_predictive import OutputVariance, matched_scale, output_variance
from asymjax.models import build_model, draw_frozen

PRIOR = PosteriorConfig(prior_scale=0.5, noise="fixed", output_prior_scale=1.0)


@pytest.mark.parametrize("arch", ["standard", "w_asym"])
def test_variance_of_a_linear_network(arch):
    dataset = data.load("digits")
    config = ModelConfig(arch, widths=(), norm="none", activation="identity")
    model = build_model(config, dataset.input_shape, dataset.num_outputs, PRIOR)
    is_free = np.ones((64, 10))
    if arch != "standard":
        is_free = np.asarray(model.free_mask(draw_frozen(model, 0))["output"]["kernel"]).reshape(64, 10)
        assert is_free.mean() == 0.5
    x = np.asarray(dataset.train.inputs[:100]).reshape(100, 64)
    found = output_variance(config, PRIOR, dataset)
    assert found.rest == pytest.approx(0.5**2, rel=0.1)
    assert found.scaled == pytest.approx(np.mean(x**2 @ is_free) * 0.5**2 / 64, rel=0.1)


def test_outputs_of_a_deep_network_are_linear_in_the_output_kernel():
    dataset = data.load("diabetes")
    prior = PosteriorConfig(noise="heteroscedastic", output_prior_scale=1.0)
    found = output_variance(ModelConfig("syre", widths=(6,)), prior, dataset)
    assert found.rest == pytest.approx(1, rel=0.15)  # The bias of one output, 1,000 draws.
    assert found.at(3.0) == found.rest + 9 * found.scaled


def test_the_matched_scale():
    assert matched_scale(OutputVariance(1.0, 2.0), 9.0) == 2.0
    assert matched_scale(OutputVariance(0.0, 3.0), 1.0) == 0.5774
    for variance in (OutputVariance(4.0, 1.0), OutputVariance(0.0, 0.0)):
        with pytest.raises(InputError, match=r"standard deviation of .* is wanted; choose"):
            matched_scale(variance, float(jnp.square(1.9)))
