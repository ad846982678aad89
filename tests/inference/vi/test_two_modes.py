"""Mean field between two modes: where it takes both, where one, and where either is an optimum.

The target is N(0, 1) / 2 + N(a, 1) / 2 in every coordinate, with a = 4, 5 and 6, so that log Z is zero and the bound is
minus the divergence. Its optima are those of the trapezoidal rule with 20,001 nodes and a search without derivatives;
quadrature by 60 nodes of Gauss and Hermite is 1e-3 off where the modes are 6 apart.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import asymjax

APART = np.array([4.0, 5.0, 6.0])
# Of either start: means, and divergences. From a mode only the middle is found where modes are 4 apart.
MEANS = np.array([APART / 2, [2.0, 0.1139, 0.0157]])
VARIANCES = np.array([[4.1902, 5.7149, 7.5283], [4.1902, 1.2915, 1.0473]])
DIVERGENCES = np.array([[0.22651, 0.48106, 0.84062], [0.22651, 0.66646, 0.68877]])


@pytest.fixture(scope="module")
def fitted():
    """Fits from the middle and from the modes at zero, with their means and standard deviations [fit, coordinate]."""

    def logdensity(x):
        of_modes = jax.scipy.stats.norm.logpdf(jnp.stack([x, x - APART]))
        return jnp.sum(jax.scipy.special.logsumexp(of_modes, axis=0) - jnp.log(2))

    family = asymjax.MeanField(num_warmup=1500, num_samples=64, learning_rate=0.02, init_scale=1, num_elbo_draws=4000)
    start = np.float32([0.9 * APART / 2, 0.05 * APART])
    options = {"num_fits": 2, "num_draws": 8, "start": start, "show_progress": False}
    tuned = asymjax.fit(jax.random.key(0), logdensity, jnp.zeros(3), family=family, **options).tuned
    return tuned, tuned.params.mean, np.exp(tuned.params.log_scale)


def divergence(mean, scale):
    """Return KL(q || target) of every coordinate, by the trapezoidal rule."""
    points = np.linspace(-9, 9, 4001)
    weights = norm.pdf(points) * (points[1] - points[0])
    x = mean[..., None] + scale[..., None] * points
    target = np.logaddexp(norm.logpdf(x), norm.logpdf(x, APART[:, None])) - np.log(2)
    return (norm.logpdf(x, mean[..., None], scale[..., None]) - target) @ weights


def test_fits_end_at_the_optima_near_which_they_start(fitted):
    _, mean, scale = fitted
    found = divergence(mean, scale)
    # Steps are drawn, and a fit ends a little above its optimum; the table has five digits.
    assert np.all(found > DIVERGENCES - 1e-5)
    assert np.all(found < DIVERGENCES + 5e-3)
    np.testing.assert_allclose(mean, MEANS, atol=0.15)
    np.testing.assert_allclose(np.square(scale), VARIANCES, rtol=0.1)


def test_bounds_are_minus_the_divergences(fitted):
    tuned, mean, scale = fitted
    errors = (tuned.elbo + divergence(mean, scale).sum(1)) / tuned.elbo_error
    # A normal number exceeds 5 standard errors in less than one of a million cases.
    assert np.all(np.abs(errors) < 5)
    assert np.all(tuned.elbo_error < 0.05)
