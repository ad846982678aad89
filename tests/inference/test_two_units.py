"""Chains on networks of two units, whose posteriors have two copies of every network.

What does not depend on the order of the units is that of quadrature, however often chains go from copy to copy.
"""

import jax
import jax.numpy as jnp
import numpy as np
from two_units import INPUTS, NOISE, TARGETS

import asymjax

ROWS = slice(1, 6)
"""Of the table; in the first the scales of the two weights need steps three times as small."""
MEANS = np.array([(1.453, 0.645), (1.389, 0.641), (1.588, 0.944), (1.397, 0.789), (1.167, 0.204)])
SCALES = np.array([(0.455, 0.195), (0.497, 0.295), (0.404, 0.235), (0.379, 0.198), (0.594, 0.618)])
"""Of the larger and of the smaller weight, by a grid of 1601^2; digits to 5e-4."""
MAX_STANDARD_ERRORS = 5  # Normal tails are 5.7e-7 on both sides, of 20 comparisons 1e-5.


def test_ordered_moments_of_chains_are_those_of_quadrature():
    def logdensity(weights):
        """Of the product of all posteriors, one a row."""
        outputs = jnp.sum(jnp.tanh(weights[:, None] * INPUTS[None]), axis=-1)
        errors = (outputs - TARGETS[ROWS, :, 0]) / NOISE[ROWS, None]
        return -0.5 * (jnp.sum(jnp.square(errors)) + jnp.sum(jnp.square(weights)))

    start = np.random.default_rng(0).normal(0.0, 1.5, (8, 5, 2))
    options = {"num_chains": 8, "num_draws": 1000, "start": start, "show_progress": False}
    sampler = asymjax.HMC(num_warmup=300)
    weights = asymjax.sample(jax.random.key(0), logdensity, jnp.ones((5, 2)), sampler=sampler, **options).position
    first_is_larger = weights[..., 0] > weights[..., 1]
    assert np.all(np.any(first_is_larger, axis=1) & np.any(~first_is_larger, axis=1))
    ordered = -np.sort(-weights, axis=-1)
    for expected, rounding, values in (
        (MEANS, 5e-4, ordered),
        (np.square(SCALES), 5e-4 * 2 * SCALES, np.square(ordered - MEANS)),
    ):
        errors = values.std((0, 1)) / np.sqrt(asymjax.ess(values))
        assert np.all(np.abs(values.mean((0, 1)) - expected) < MAX_STANDARD_ERRORS * errors + rounding)
        assert np.all(errors < 0.02)
