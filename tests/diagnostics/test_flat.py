"""The price of flat directions."""

import numpy as np
import pytest

from asymjax.diagnostics.flat import bias_shifts


def test_the_mean_bias_of_draws_from_the_prior_and_of_a_tied_layer():
    rng = np.random.default_rng(0)
    free = 0.3 * rng.normal(size=(4, 500, 16))
    tied = free - free.mean(axis=-1, keepdims=True) + 0.5 * free.mean(axis=-1, keepdims=True)
    slow = np.repeat(free[:, ::10], 10, axis=1)
    found = bias_shifts({"free": free, "tied": tied, "slow": slow}, dict.fromkeys(("free", "tied", "slow"), 0.3))
    assert found["free"]["variance_ratio"] == pytest.approx(1, rel=0.1)
    assert found["tied"]["variance_ratio"] == pytest.approx(0.25 * found["free"]["variance_ratio"])
    assert found["free"]["ess"] > 1500 and found["slow"]["ess"] < 400
