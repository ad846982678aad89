"""Scores of predictions against known numbers."""

import numpy as np
import pytest

from asymjax.metanets import score


def test_order():
    assert score(np.arange(5.0), np.arange(5.0)).tau == pytest.approx(1)
    assert score(np.arange(5.0), -np.arange(5.0)).tau == pytest.approx(-1)
    assert score(np.array([1, 2, 2, 3]), np.array([1, 2, 3, 4])).tau == pytest.approx(0.9129, abs=1e-4)  # Not 5 / 6.
    assert score(np.arange(5.0), np.ones(5)).tau == 0


def test_scale():
    targets = np.random.default_rng(0).normal(size=100)
    predictions = targets + 0.3 * np.random.default_rng(1).normal(size=100)
    assert score(targets, np.full(100, targets.mean())).r2 == pytest.approx(0)
    found, shifted = score(targets, predictions), score(targets, predictions + 0.1)
    assert shifted.r2 < found.r2 <= found.r2_recalibrated
    assert shifted.tau == found.tau and shifted.r2_recalibrated == pytest.approx(found.r2_recalibrated)
    assert score(targets, targets + 0.25).error == pytest.approx(0.25)
