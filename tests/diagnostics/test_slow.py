"""Slow directions of processes whose autocorrelations are known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from asymjax.diagnostics import slowest_directions
from asymjax.errors import InputError

LAG, NUM_DRAWS = 5, 500
PERSISTENCE = np.array([0.95, 0.8, 0.3, 0.0])


def autoregressions():
    """Return stationary AR(1) processes of variance 1 [chain, draw, process], and a mixing matrix."""
    numbers = np.random.default_rng(0)
    noise = numbers.normal(size=(2, NUM_DRAWS, 4)) * np.sqrt(1 - PERSISTENCE**2)
    noise[:, 0] /= np.sqrt(1 - PERSISTENCE**2)
    hidden = np.stack([lfilter([1], [1, -a], noise[..., i]) for i, a in enumerate(PERSISTENCE)], axis=-1)
    return hidden, np.linalg.qr(numbers.normal(size=(4, 4)))[0]


def test_mixed_autoregressions_are_told_apart_and_have_their_autocorrelations():
    hidden, mixing = autoregressions()
    found = slowest_directions(hidden @ mixing, LAG, num_directions=2)
    expected, size = PERSISTENCE[:2] ** LAG, 2 * NUM_DRAWS
    # Bartlett's variance of an autocorrelation of AR(1).
    a = PERSISTENCE[:2]
    variance = ((1 + a**2) * (1 - a ** (2 * LAG)) / (1 - a**2) - 2 * LAG * a ** (2 * LAG)) / size
    assert np.all(abs(found.autocorrelation - expected) < 4 * np.sqrt(variance))
    matches = np.einsum("dct,ctp->dp", found.projection, hidden / hidden.std((0, 1))) / size
    assert np.all(abs(np.diag(matches[:, :2])) > 0.9)
    np.testing.assert_allclose(found.projection.std((1, 2)), 1)


def test_correlations_name_the_coordinates_that_are_slow():
    hidden, _ = autoregressions()
    found = slowest_directions(np.concatenate([hidden, np.ones((2, NUM_DRAWS, 1))], axis=-1), LAG)
    assert found.correlation.shape == (4, 5) and np.all(np.isnan(found.correlation[:, 4]))
    assert list(np.nanargmax(abs(found.correlation[:2]), axis=1)) == [0, 1]
    own = np.corrcoef(found.projection[0].ravel(), hidden[..., 0].ravel())[0, 1]
    assert found.correlation[0, 0] == pytest.approx(own)


def test_a_lag_longer_than_chains_and_draws_that_are_equal_are_refused():
    with pytest.raises(InputError, match=r"lags are \(10,\); 10 draws"):
        slowest_directions(np.zeros((2, 10, 3)), 10)
    with pytest.raises(InputError, match="no direction moves"):
        slowest_directions(np.zeros((2, 10, 3)), 5)
