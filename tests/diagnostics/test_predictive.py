"""Predictive metrics against values worked out by hand and against calibrated predictions."""

from functools import reduce

import numpy as np
import pytest
from scipy.stats import norm

from asymjax import diagnostics


def classify(probability, targets, **options):
    """Metrics of members with these probabilities [member, input, class]."""
    return diagnostics.classification_metrics(diagnostics.classification_sums(np.log(probability), targets), **options)


def regress(mean, sigma, targets, target_scale=None):
    """Metrics of Gaussian members [member, input, target]."""
    return diagnostics.regression_metrics(diagnostics.regression_sums(mean, sigma, targets), target_scale)


def random_classifiers(num_members=6, num_inputs=50, num_classes=4):
    rng = np.random.default_rng(0)
    return 2 * rng.normal(size=(num_members, num_inputs, num_classes)), rng.integers(0, num_classes, num_inputs)


def random_regressors(num_members=6, num_inputs=50, num_targets=2):
    rng = np.random.default_rng(1)
    mean = rng.normal(size=(num_members, num_inputs, num_targets))
    return mean, rng.uniform(0.5, 2, mean.shape), rng.normal(size=(num_inputs, num_targets))


def test_two_component_mixture_by_hand():
    metrics = classify([[[0.9, 0.1], [0.3, 0.7]], [[0.5, 0.5], [0.9, 0.1]]], [0, 1])
    assert metrics["lppd"] == pytest.approx((np.log(0.7) + np.log(0.4)) / 2)
    assert metrics["nll"] == -metrics["lppd"]
    assert metrics["gibbs_nll"] == pytest.approx(-np.log([0.9, 0.7, 0.5, 0.1]).mean())
    assert metrics["accuracy"] == 0.5
    assert metrics["brier"] == pytest.approx((2 * 0.3**2 + 2 * 0.6**2) / 2)


def test_brier_score_ranges_from_zero_to_two():
    right, wrong = np.eye(3), np.roll(np.eye(3), 1, axis=1)
    assert diagnostics.brier_score(right, np.arange(3)) == 0
    assert diagnostics.brier_score(wrong, np.arange(3)) == 2
    assert diagnostics.brier_score(np.full((3, 3), 1 / 3), np.arange(3)) == pytest.approx(2 / 3)


def test_calibration_error_by_hand():
    confidence = np.array([0.55, 0.6, 0.65, 0.95, 1.0])
    probability = np.stack([confidence, 1 - confidence], axis=-1)
    targets = np.array([0, 1, 0, 0, 1])
    # Bins of five: (0.4, 0.6] has 0.55 and 0.6, one right; (0.6, 0.8] has 0.65; (0.8, 1] has 0.95 and 1, one right.
    expected = (abs(1 - 1.15) + abs(1 - 0.65) + abs(1 - 1.95)) / 5
    assert diagnostics.expected_calibration_error(probability, targets, 5) == pytest.approx(expected)


@pytest.mark.parametrize("num_bins", [3, 5, 7, 10, 15])
def test_bin_edges_belong_to_the_bin_on_their_left(num_bins):
    edge = (num_bins // 2 + 1) / num_bins
    below, above = edge - 1e-6, edge + 1e-6
    targets = np.array([0, 1])  # the first right, the second wrong
    together = np.array([[edge, 1 - edge], [below, 1 - below]])
    ece = diagnostics.expected_calibration_error(together, targets, num_bins)
    assert ece == pytest.approx(abs(1 - edge - below) / 2)
    apart = np.array([[edge, 1 - edge], [above, 1 - above]])
    ece = diagnostics.expected_calibration_error(apart, targets, num_bins)
    assert ece == pytest.approx((1 - edge + above) / 2)


def test_certain_predictions_have_no_calibration_error_when_right():
    assert diagnostics.expected_calibration_error(np.eye(3), np.arange(3)) == 0
    assert diagnostics.expected_calibration_error(np.eye(3), np.array([1, 2, 0])) == 1


def test_number_of_bins_is_stated():
    logits, targets = random_classifiers()
    assert classify(np.exp(logits), targets)["ece_bins"] == 15
    assert classify(np.exp(logits), targets, num_bins=7)["ece_bins"] == 7


def test_entropy_splits_into_aleatoric_and_epistemic():
    sums = diagnostics.classification_sums(np.array([[[50.0, -50.0], [0, 0]], [[-50.0, 50.0], [0, 0]]]), [0, 1])
    parts = diagnostics.classification_uncertainty(sums)
    np.testing.assert_allclose(parts["total"], [np.log(2), np.log(2)])
    np.testing.assert_allclose(parts["aleatoric"], [0, np.log(2)], atol=1e-12)
    np.testing.assert_allclose(parts["epistemic"], [np.log(2), 0], atol=1e-12)
    metrics = diagnostics.classification_metrics(sums)
    assert metrics["entropy_epistemic"] == pytest.approx(np.log(2) / 2)


def test_mixture_survives_likelihoods_that_underflow():
    metrics = diagnostics.classification_metrics(diagnostics.classification_sums([[[0.0, 2000.0]]], [0]))
    assert metrics["nll"] == pytest.approx(2000)


@pytest.mark.parametrize("sizes", [(1, 5), (2, 3, 1)])
def test_chunks_of_classifiers_add_up(sizes):
    logits, targets = random_classifiers()
    chunks = np.split(logits, np.cumsum(sizes)[:-1])
    sums = reduce(diagnostics.combine, [diagnostics.classification_sums(chunk, targets) for chunk in chunks])
    whole = diagnostics.classification_metrics(diagnostics.classification_sums(logits, targets))
    assert diagnostics.classification_metrics(sums) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("sizes", [(1, 5), (2, 3, 1)])
def test_chunks_of_regressors_add_up(sizes):
    mean, sigma, targets = random_regressors()
    splits = np.cumsum(sizes)[:-1]
    chunks = zip(np.split(mean, splits), np.split(sigma, splits), strict=True)
    sums = reduce(diagnostics.combine, [diagnostics.regression_sums(*chunk, targets) for chunk in chunks])
    assert diagnostics.regression_metrics(sums) == pytest.approx(regress(mean, sigma, targets), rel=1e-12)


def test_sums_over_other_targets_do_not_combine():
    logits, targets = random_classifiers()
    left, right = (diagnostics.classification_sums(logits, t) for t in (targets, (targets + 1) % 4))
    with pytest.raises(ValueError, match="same targets"):
        diagnostics.combine(left, right)


def test_leading_axes_are_members_and_one_network_is_a_mixture_of_one():
    logits, targets = random_classifiers()
    flat = diagnostics.classification_sums(logits, targets)
    nested = diagnostics.classification_sums(logits.reshape(2, 3, 50, 4), targets)
    assert nested.num_members == flat.num_members == 6
    assert diagnostics.classification_metrics(nested) == diagnostics.classification_metrics(flat)
    single = diagnostics.classification_metrics(diagnostics.classification_sums(logits[0], targets))
    assert single["gibbs_nll"] == pytest.approx(single["nll"])
    assert single["entropy_epistemic"] == pytest.approx(0, abs=1e-12)


def test_metrics_by_member_are_those_of_each_alone():
    logits, targets = random_classifiers()
    by_member = diagnostics.classification_by_member(logits, targets, num_bins=10)
    alone = diagnostics.classification_metrics(diagnostics.classification_sums(logits[3], targets), num_bins=10)
    assert {name: value[3] for name, value in by_member.items()} == alone
    mean, sigma, targets = random_regressors()
    by_member = diagnostics.regression_by_member(mean, sigma, targets, [2.0, 3.0])
    assert {name: value[3] for name, value in by_member.items()} == regress(mean[3], sigma[3], targets, [2.0, 3.0])
    assert by_member["rmse"].shape == (6,)


def test_two_gaussians_by_hand():
    metrics = regress([[[0.0]], [[2.0]]], [[[1.0]], [[3.0]]], [[1.5]])
    densities = norm.pdf(1.5, [0, 2], [1, 3])
    assert metrics["lppd"] == pytest.approx(np.log(densities.mean()))
    assert metrics["gibbs_nll"] == pytest.approx(-np.log(densities).mean())
    assert metrics["rmse"] == pytest.approx(0.5)
    # Mean variance (1 + 9) / 2 plus variance of the means, 1.
    assert metrics["moment_matched_nll"] == pytest.approx(-norm.logpdf(1.5, 1, np.sqrt(6)))
    # The mixture puts this much below the target, so intervals up to level 0.3 miss it and those from 0.4 on hold it.
    assert 0.65 < norm.cdf(1.5, [0, 2], [1, 3]).mean() < 0.7
    assert [metrics[f"coverage_{level}"] for level in (0.1, 0.2, 0.3, 0.4, 0.9)] == [0, 0, 0, 1, 1]


def test_several_targets_are_scored_jointly_by_density_and_on_average_by_error():
    metrics = regress([[[0.0, 1.0]]], 1.0, [[3.0, 5.0]])
    assert metrics["lppd"] == pytest.approx(norm.logpdf(3) + norm.logpdf(4))
    assert metrics["moment_matched_nll"] == pytest.approx(-metrics["lppd"])
    assert metrics["rmse"] == pytest.approx(np.sqrt((9 + 16) / 2))


def test_raw_units():
    mean, sigma, targets = random_regressors()
    scale, shift = np.array([2.0, 30.0]), np.array([5.0, -1.0])
    metrics = regress(mean, sigma, targets, scale)
    raw = regress(mean * scale + shift, sigma * scale, targets * scale + shift)
    assert metrics["rmse_raw"] == pytest.approx(raw["rmse"])
    assert metrics["lppd_raw"] == pytest.approx(raw["lppd"])
    assert metrics["coverage_error"] == pytest.approx(raw["coverage_error"])
    assert regress(mean, sigma, targets, 2.0)["lppd_raw"] == pytest.approx(metrics["lppd"] - 2 * np.log(2))


def test_coverage_of_calibrated_mixtures():
    rng = np.random.default_rng(2)
    num_inputs = 20_000
    mean, sigma = rng.normal(size=(3, num_inputs, 1)), rng.uniform(0.2, 2, (3, num_inputs, 1))
    member = rng.integers(0, 3, num_inputs)
    at = (member, np.arange(num_inputs), 0)
    targets = rng.normal(mean[at], sigma[at])[:, None]
    metrics = regress(mean, sigma, targets)
    for tenth in range(1, 10):
        level = tenth / 10
        assert abs(metrics[f"coverage_{level}"] - level) < 5 * np.sqrt(level * (1 - level) / num_inputs)
    assert metrics["coverage_error"] < 5 * 0.5 / np.sqrt(num_inputs)


def test_coverage_error_of_certain_and_of_vague_predictions():
    targets = np.linspace(-1, 1, 11)[:, None]
    levels = np.arange(1, 10) / 10
    certain = regress(np.full((11, 1), 5.0), 1e-3, targets)
    vague = regress(np.zeros((11, 1)), 1e6, targets)
    assert certain["coverage_error"] == pytest.approx(np.sqrt(np.mean(levels**2)))
    assert vague["coverage_error"] == pytest.approx(np.sqrt(np.mean((1 - levels) ** 2)))


def test_regression_uncertainty_splits_the_variance_of_the_mixture():
    mean, sigma, targets = random_regressors()
    parts = diagnostics.regression_uncertainty(diagnostics.regression_sums(mean, sigma, targets))
    np.testing.assert_allclose(parts["aleatoric"], np.mean(sigma**2, axis=0))
    np.testing.assert_allclose(parts["epistemic"], np.var(mean, axis=0))
    single = diagnostics.regression_uncertainty(diagnostics.regression_sums(mean[0], sigma[0], targets))
    np.testing.assert_array_equal(single["epistemic"], 0)


def test_identical_members_leave_no_negative_epistemic_part():
    logits, targets = random_classifiers(num_members=1)
    sums = diagnostics.classification_sums(np.repeat(logits, 7, axis=0), targets)
    assert 0 <= diagnostics.classification_uncertainty(sums)["epistemic"].min() < 1e-12
    mean, sigma, targets = random_regressors(num_members=1)
    sums = diagnostics.regression_sums(np.repeat(mean, 7, axis=0), sigma, targets)
    assert 0 <= diagnostics.regression_uncertainty(sums)["epistemic"].min() < 1e-12


def test_bad_outputs_are_refused():
    logits, targets = random_classifiers()
    logits[4, 0, 0] = np.nan
    with pytest.raises(ValueError, match="member 4 of 6"):
        diagnostics.classification_sums(logits, targets)
    mean, sigma, targets = random_regressors()
    with pytest.raises(ValueError, match="positive, the smallest is 0"):
        diagnostics.regression_sums(mean, 0 * sigma, targets)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        diagnostics.classification_sums(np.zeros(3), [0])


@pytest.mark.parametrize("targets", [[0, 1], [0, 1, 4], [0, 1, -1], [[0], [1], [2]]])
def test_targets_that_are_not_classes_are_refused(targets):
    with pytest.raises(ValueError, match="class indices"):
        diagnostics.classification_sums(np.zeros((3, 4)), targets)


def test_regression_targets_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"targets \(3,\) must be \[input, target\]"):
        diagnostics.regression_sums(np.zeros((3, 1)), 1.0, np.zeros(3))


def test_agreement_and_total_variation_by_hand():
    first = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    second = np.array([[0.2, 0.6, 0.2], [0.2, 0.7, 0.1]])
    assert diagnostics.agreement(first, second) == 0.5
    assert diagnostics.total_variation(first, second) == pytest.approx((0.3 + 0.1) / 2)
    assert diagnostics.total_variation(first, first) == 0
    assert diagnostics.total_variation(np.eye(2), np.eye(2)[::-1]) == 1


def test_cells_of_a_mixture_have_the_probabilities_of_its_distribution_function():
    rng = np.random.default_rng(0)
    mean, sigma, edges = rng.normal(size=(5, 3, 2)), rng.uniform(0.1, 1, (5, 3, 2)), np.sort(rng.normal(size=(2, 7)))
    found = diagnostics.cell_probabilities(mean, sigma, edges)
    cdf = norm.cdf(edges, mean[..., None], sigma[..., None]).mean(axis=0)
    wanted = np.concatenate([cdf[..., :1], np.diff(cdf, axis=-1), 1 - cdf[..., -1:]], axis=-1)
    np.testing.assert_allclose(found, wanted, atol=1e-14)
    targets = np.array([[0.0], [4.0]])  # With a standard deviation of 2.
    edges = diagnostics.cell_edges(targets)
    assert edges.shape == (1, 201) and (edges[0, 0], edges[0, -1]) == pytest.approx((-6, 10))


def test_total_variation_of_cells_is_at_most_that_of_the_densities():
    first, second, edges = np.array([[[0.0]]]), np.array([[[1.0]]]), np.linspace(-5, 6, 23)[None]
    cells = [diagnostics.cell_probabilities(mean, 0.5, edges)[:, 0] for mean in (first, second)]
    exact = 2 * norm.cdf(1) - 1  # Of equal scales; the densities cross at 0.5, an edge.
    assert diagnostics.total_variation(*cells) == pytest.approx(exact, abs=1e-12)
    shifted = [diagnostics.cell_probabilities(mean, 0.5, edges + 0.2)[:, 0] for mean in (first, second)]
    # In the one cell where they cross the difference is at most its width times the largest slope.
    lost = 0.5**2 * 2 * norm.pdf(1) / 0.5**2
    assert exact - lost < diagnostics.total_variation(*shifted) < exact - 1e-3
