"""Paths from start to end: known curves, the released code's rule, and statistics over independent networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asymjax.errors import InputError
from asymjax.symmetry.interpolation import (
    PATH_SCORES,
    over_networks,
    path_statistics,
    share_of_networks,
    smooth_losses,
    summarise_statistics,
)
from asymjax.train.losses import smoothed_cross_entropy
from asymjax.types import Split

POINTS = np.linspace(0, 1, 25)
CURVES = {
    "straight": 2.3 - 2.2 * POINTS,
    "convex": (1 - POINTS) ** 2,
    "concave": 1 - POINTS**2,
    "constant": np.full(25, 0.3),
    "bump": 1 - POINTS + np.sin(np.pi * POINTS),
    "zigzag": 1 - POINTS + 0.2 * (np.arange(25) % 2),
}
# delta, monotonic, local, global, released: of a step h = 1/24.
H = 1 / 24
KNOWN = {
    "straight": (-2.2 * H, True, 1, 1, 1),
    "convex": (-(H**2), True, 1, 1, 1),
    "concave": (-(H**2), True, 0, 0, 1),
    "constant": (0, True, 1, 1, 1),
    "bump": (np.sin(np.pi * H) - H, False, 0, 0, None),
    "zigzag": (0.2 - H, False, 11 / 23, 11 / 23, None),
}


@pytest.mark.parametrize("name", CURVES)
def test_known_curves_have_their_statistics(name):
    found = path_statistics(POINTS, CURVES[name][None])
    names = ("delta", "is_monotonic", "local_convexity", "global_convexity", "global_convexity_released")
    for statistic, expected in zip(names, KNOWN[name], strict=True):
        if expected is not None:
            np.testing.assert_allclose(found[statistic], [expected], atol=1e-12, err_msg=statistic)


def test_the_released_rule_takes_the_second_point_for_the_end():
    # Falls, then rises above the start: below no chord from 1 to 0.5, but the first inner point.
    found = path_statistics(np.linspace(0, 1, 5), np.array([[1.0, 0.5, 1.1, 1.2, 2.0]]))
    assert found["global_convexity_released"] == pytest.approx(1 / 3)
    assert found["global_convexity"] == 1
    assert found["delta"] == pytest.approx(0.8)


def test_curves_do_not_depend_on_each_other_nor_on_their_scale():
    curves = np.stack(list(CURVES.values()))
    together = path_statistics(POINTS, curves)
    for scale in (1e-6, 1.0, 1e6):
        alone = [path_statistics(POINTS, scale * curve[None]) for curve in curves]
        for name, values in together.items():
            found = np.concatenate([each[name] for each in alone])
            np.testing.assert_allclose(found, scale * values if name == "delta" else values, rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_losses_that_are_not_finite_are_refused(value):
    curves = np.stack([CURVES["convex"], CURVES["convex"]])
    curves[1, 3] = value
    with pytest.raises(InputError, match="losses of 1 paths are not finite"):
        path_statistics(POINTS, curves)


def test_two_points_are_refused():
    with pytest.raises(InputError, match="2 points; give 3 or more"):
        path_statistics(np.array([0.0, 1.0]), np.ones((1, 2)))


# Label smoothing


def test_smoothed_losses_are_those_of_training():
    rng = np.random.default_rng(0)
    logits, labels = jnp.asarray(rng.normal(size=(3, 40, 4)), "float32"), jnp.asarray(rng.integers(0, 4, 40))
    scores = [PATH_SCORES["classification"](each, labels) for each in logits]
    metrics = {name: np.array([[score[name]] for score in scores]) for name in scores[0]}
    smoothing = np.array([0.0, 0.1, 1.0])
    found = smooth_losses(metrics, smoothing)
    assert found.keys() == {"loss", "accuracy"}
    for each, share, loss in zip(logits, smoothing, found["loss"], strict=True):
        targets = (1 - share) * jax.nn.one_hot(labels, 4) + share / 4
        expected = -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(each), axis=-1))
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        trained = smoothed_cross_entropy(share)(lambda position, frozen, x: x, {}, {}, Split(each, labels))
        np.testing.assert_allclose(loss, trained, rtol=1e-5)


def test_squared_errors_have_nothing_to_smooth():
    metrics = {"loss": np.ones((2, 3), "float32")}
    np.testing.assert_array_equal(smooth_losses(metrics, np.zeros(2))["loss"], metrics["loss"])


# Over networks


def test_interval_of_a_mean_is_students():
    values = np.random.default_rng(1).normal(size=6)
    found = over_networks(values)
    assert (found["mean"], found["std"]) == pytest.approx((values.mean(), values.std(ddof=1)))
    half_width = 2.5705818 * values.std(ddof=1) / np.sqrt(6)  # t of 5 degrees, 97.5 %
    assert (found["high"] - found["mean"], found["mean"] - found["low"]) == pytest.approx((half_width, half_width))
    assert np.isnan(over_networks(values[:1])["low"])


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # Roots p of (share - p)^2 = 1.959964^2 p (1 - p) / n.
    [(0, 10, 0.0, 0.2775328), (5, 10, 0.2365931, 0.7634069), (100, 100, 0.9630065, 1.0)],
)
def test_interval_of_a_share_is_wilsons(count, total, low, high):
    found = share_of_networks(np.arange(total) < count)
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((count / total, low, high), abs=1e-6)


def test_statistics_are_shares_or_means():
    found = summarise_statistics(path_statistics(POINTS, np.stack([CURVES["convex"], CURVES["bump"]])))
    assert found["is_monotonic"].keys() == {"mean", "low", "high"}
    assert found["is_monotonic"]["mean"] == 0.5
    assert found["global_convexity"]["mean"] == 0.5 and found["global_convexity"].keys() > {"std"}
