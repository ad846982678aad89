"""Other coordinates, metric and starts draw from the same posterior as none of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import model_of

import asymjax
from asymjax.diagnostics.convergence import per_coordinate
from asymjax.types import Split

NUM_ROWS, NUM_PROBES = 40, 6
MAX_STANDARD_ERRORS = 5
# Two-sided normal tail at five standard errors (5.7e-7) times means and variances at 6 inputs of two networks.
FALSE_ALARM_RATE = 1.4e-5
MIN_ESS = 100
PLAIN = {"coordinates": "plain", "mass_matrix": "prior"}


def draw(posterior, probes, **settings):
    """Return predicted means [chain, draw, input]."""
    result = asymjax.sample(
        jax.random.key(0),
        posterior,
        sampler=asymjax.HMC(num_warmup=300, **settings),
        num_draws=3000,
        start=asymjax.Start(start="prior"),
        keep=lambda position: {"mean": posterior.predict(position, posterior.frozen, probes)[:, 0]},
        show_progress=False,
    )
    return result.draws["mean"].astype(float)


@pytest.mark.parametrize(
    ("arch", "norm"), [pytest.param("standard", "layer", marks=pytest.mark.long), ("w_asym", "none")]
)
def test_predictions_are_those_of_the_plain_sampler(arch, norm):
    numbers = np.random.default_rng(0)
    inputs = (1.0 + numbers.normal(size=(NUM_ROWS + NUM_PROBES, 3))).astype(np.float32)
    targets = (np.sin(inputs[:NUM_ROWS].sum(1, keepdims=True)) + 0.3).astype(np.float32)
    model = model_of(arch, widths=(3,), norm=norm, activation="tanh", num_fixed=(1,)).build((3,), 1)
    likelihood = asymjax.Gaussian(noise="fixed", noise_scale=0.5)
    posterior = asymjax.make_posterior(model, Split(inputs[:NUM_ROWS], targets), likelihood=likelihood)
    probes = jnp.asarray(inputs[NUM_ROWS:])
    here, there = draw(posterior, probes), draw(posterior, probes, **PLAIN)
    pooled = (here.mean((0, 1)) + there.mean((0, 1))) / 2
    for moment in (lambda values: values, lambda values: np.square(values - pooled)):
        series = [moment(values) for values in (here, there)]
        ess = [per_coordinate(values)["ess_bulk"] for values in series]
        assert np.min(ess) > MIN_ESS
        error = np.sqrt(sum(values.var((0, 1)) / size for values, size in zip(series, ess, strict=True)))
        z = (series[0].mean((0, 1)) - series[1].mean((0, 1))) / error
        assert np.all(np.abs(z) < MAX_STANDARD_ERRORS)
