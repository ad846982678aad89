"""Variances of functions and of weights."""

import numpy as np
import pytest
from scipy.special import softmax

from asymjax.diagnostics.variances import function_variance, weight_variance


def test_variance_of_predictions_is_that_of_all_draws_however_they_come_in_chunks():
    outputs = np.random.default_rng(0).normal(size=(3, 10, 7, 4)).astype(np.float32)
    values = softmax(outputs.astype(np.float64), axis=-1).reshape(30, 7, 4)
    expected = values.var(0, ddof=1).sum(-1).mean()
    assert function_variance("classification", np.split(outputs, [2, 5], axis=1)) == pytest.approx(expected, rel=1e-10)
    means = outputs[..., :2].astype(np.float64).reshape(30, 7, 2)
    expected = means.var(0, ddof=1).sum(-1).mean()
    assert function_variance("regression", [outputs]) == pytest.approx(expected, rel=1e-10)
    assert function_variance("regression", [np.ones((2, 5, 3, 2))]) == 0


def test_weights_that_the_data_say_nothing_of_vary_as_under_the_prior():
    rng, temperature = np.random.default_rng(0), 4.0
    scales = {"kernel": 0.5, "bias": 2.0}
    shapes = {"kernel": (6, 5), "bias": (5,)}
    drawn = {name: rng.normal(size=(4, 500, *shape)) * 2 * scales[name] for name, shape in shapes.items()}
    found = weight_variance(drawn, scales, temperature)
    assert found["prior"] == 4 * (30 * 0.25 + 5 * 4)
    # Each of the variances of 2,000 draws is known to 3 %; the five wide ones hold most of the sum: 1.4 % in all.
    assert found["ratio"] == pytest.approx(1, abs=4 * 0.014) and found["total"] == found["ratio"] * found["prior"]
    narrow = {name: leaf / 2 for name, leaf in drawn.items()}
    assert weight_variance(narrow, scales, temperature)["ratio"] == pytest.approx(found["ratio"] / 4)
