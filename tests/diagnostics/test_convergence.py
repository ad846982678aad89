"""Convergence statistics against closed forms, against ArviZ, and on chains that are broken in a known way."""

import arviz
import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.signal import lfilter
from scipy.stats import chi2

from asymjax import diagnostics

FALSE_ALARM_RATE = 1e-6


def autoregressive(rho, shape, seed=0, warmup=300):
    """Stationary AR(1) chains [chain, draw, coordinate]; the ESS of the mean is n (1 - rho) / (1 + rho)."""
    num_chains, num_draws, num_coordinates = shape
    noise = np.random.default_rng(seed).standard_normal((num_chains, warmup + num_draws, num_coordinates))
    return lfilter([1], [1, -rho], noise, axis=1)[:, warmup:]


def test_rhat_of_independent_draws_stays_below_the_chi_squared_bound():
    num_chains, num_draws, num_coordinates = 4, 1000, 100
    values = diagnostics.per_coordinate(autoregressive(0, (num_chains, num_draws, num_coordinates)))
    # Of half-chain means of n draws, (R-hat^2 - 1) n + 1 is chi-squared over its degrees of freedom; both R-hats count.
    freedom, length = 2 * num_chains - 1, num_draws // 2
    quantile = chi2.isf(FALSE_ALARM_RATE / (2 * num_coordinates), freedom)
    assert values["rhat"].max() < np.sqrt(1 + (quantile / freedom - 1) / length)
    assert values["rhat"].min() > 0.99


def test_ess_of_independent_draws_is_their_number():
    values = diagnostics.per_coordinate(autoregressive(0, (4, 1000, 100)))
    # Geyer's sequence keeps positive noise, which costs a few per cent.
    assert 0.95 < np.mean(values["ess_bulk"]) / 4000 < 1.0
    assert 0.9 < np.mean(values["ess_tail"]) / 4000 < 1.0


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_ess_of_an_autoregressive_process_is_known(rho):
    ess = diagnostics.per_coordinate(autoregressive(rho, (4, 2000, 64)))["ess_bulk"]
    expected = 8000 * (1 - rho) / (1 + rho)
    assert abs(np.mean(ess) - expected) < 5 * np.std(ess, ddof=1) / np.sqrt(ess.size)


def test_antithetic_chains_have_a_capped_ess():
    ess = diagnostics.per_coordinate(autoregressive(-0.9, (4, 1000, 3)))["ess_bulk"]
    np.testing.assert_allclose(ess, 4000 * np.log10(4000))


@pytest.mark.parametrize("num_draws", [50, 333, 1000])
@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.95, 0.995])
def test_agrees_with_arviz(rho, num_draws):
    draws = autoregressive(rho, (4, num_draws, 5))
    draws[..., 0] = np.round(draws[..., 0], 1)  # ties
    draws[1, num_draws // 2 :, 1] += 2  # a drift
    draws[2, :, 2] *= 3  # another scale
    values = diagnostics.per_coordinate(draws)
    for index in range(draws.shape[-1]):
        chain = draws[..., index]
        np.testing.assert_allclose(values["rhat"][index], arviz.rhat(chain), rtol=1e-9)
        np.testing.assert_allclose(values["ess_bulk"][index], arviz.ess(chain, method="bulk"), rtol=1e-9)
        tail = arviz.ess(chain, method="tail", prob=(0.05, 0.95))  # ArviZ 1 knows no default.
        np.testing.assert_allclose(values["ess_tail"][index], tail, rtol=1e-9)


def test_shifted_chains_are_noticed_by_rhat_and_not_by_chainwise_rhat():
    draws = autoregressive(0, (4, 400, 3))
    draws[0] += 5
    summary = diagnostics.summarise(draws)
    assert summary["rhat_median"] > 1.5
    assert summary["ess_bulk_min"] < 10
    assert summary["chainwise_rhat_median"] < 1.01


def test_chains_of_other_scale_are_noticed_by_the_folded_rhat():
    draws = autoregressive(0, (4, 400, 1))
    draws[0] *= 4
    assert diagnostics.summarise(draws)["rhat_max"] > 1.1


def test_chainwise_rhat_is_the_formula_on_pieces_of_one_chain():
    draws = autoregressive(0.9, (1, 40, 1))
    pieces = draws.reshape(4, 10)
    within, between = np.var(pieces, axis=1, ddof=1).mean(), np.var(pieces.mean(axis=1), ddof=1)
    expected = np.sqrt((0.9 * within + between) / within)
    np.testing.assert_allclose(diagnostics.per_coordinate(draws)["chainwise_rhat"], expected, rtol=1e-12)


def test_chainwise_rhat_is_the_median_over_chains():
    draws = autoregressive(0.9, (3, 40, 1))
    separate = [diagnostics.per_coordinate(draws[c : c + 1])["chainwise_rhat"] for c in range(3)]
    np.testing.assert_allclose(diagnostics.per_coordinate(draws)["chainwise_rhat"], np.median(separate, axis=0))


def test_constant_coordinates_are_counted_and_left_out():
    draws = autoregressive(0, (3, 100, 4))
    expected = diagnostics.summarise(draws[..., [0, 2]])
    draws[..., [1, 3]] = 0.1  # three copies do not sum to exactly three tenths
    values = diagnostics.per_coordinate(draws)
    for value in values.values():
        np.testing.assert_array_equal(np.isnan(value), [False, True, False, True])
    assert diagnostics.summarise(draws) == expected | {"num_constant": 2}


def test_all_coordinates_constant():
    summary = diagnostics.summarise(np.ones((2, 10, 3)))
    assert summary.pop("num_constant") == 3
    assert np.isnan(list(summary.values())).all()


@pytest.mark.parametrize("num_chains", [2, 3, 5])
def test_chains_stuck_at_different_values_have_infinite_rhat(num_chains):
    draws = np.broadcast_to(0.1 * np.arange(1, num_chains + 1)[:, None, None], (num_chains, 100, 1))
    summary = diagnostics.summarise(draws)
    assert summary["rhat_max"] == np.inf
    assert summary["chainwise_rhat_median"] == np.inf
    assert summary["num_constant"] == 0
    assert max(summary["ess_bulk_min"], summary["ess_tail_min"]) < 2 * num_chains


def test_a_chain_stuck_above_all_others_has_a_small_tail_ess():
    draws = autoregressive(0, (4, 400, 1))
    draws[3] = 10.0  # so that all draws are at most the 95 % quantile
    assert diagnostics.summarise(draws)["ess_tail_min"] < 10


def test_draws_that_fold_to_a_constant_have_the_rhat_of_the_bulk():
    draws = np.random.default_rng(0).permutation(np.repeat([-1.0, 1.0], 400)).reshape(4, 200, 1)
    assert 0.99 < diagnostics.summarise(draws)["rhat_max"] < 1.1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_draw_that_is_not_finite_is_named(bad):
    draws = np.zeros((3, 20, 2, 2))
    draws[1, 19, 0, 0] = draws[1, 7, 1, 1] = draws[2, 3, 0, 0] = bad
    with pytest.raises(ValueError, match="chain 1 is not finite, first in draw 7"):
        diagnostics.summarise(draws)


@pytest.mark.parametrize(
    ("shape", "num_pieces", "message"),
    [((4,), 4, "not empty"), ((4, 20, 0), 4, "not empty"), ((4, 7, 1), 2, "8 draws"), ((4, 9, 1), 5, "draws a piece")],
)
def test_unusable_draws_are_refused(shape, num_pieces, message):
    with pytest.raises(ValueError, match=message):
        diagnostics.per_coordinate(np.zeros(shape), num_pieces)


def nested_by_hand(draws, num_superchains):
    """Nested R-hat of draws [chain, draw] of one coordinate, superchain after superchain."""
    superchains = np.split(draws, num_superchains)
    between = np.var([np.mean(chains) for chains in superchains], ddof=1)
    within = []
    for chains in superchains:
        means = [np.mean(chain) for chain in chains]
        within.append(np.mean([np.var(chain, ddof=1) for chain in chains]))
        within[-1] += np.var(means, ddof=1) if len(means) > 1 else 0
    return np.sqrt(1 + between / np.mean(within))


@pytest.mark.parametrize("num_superchains", [2, 3, 6])
def test_nested_rhat_is_the_formula(num_superchains):
    draws = autoregressive(0.9, (6, 30, 4)) + np.arange(6)[:, None, None]
    expected = [nested_by_hand(draws[..., i], num_superchains) for i in range(4)]
    np.testing.assert_allclose(diagnostics.nested_rhat(draws, num_superchains), expected, rtol=1e-12)


def test_nested_rhat_with_one_chain_a_superchain_is_rhat_but_for_the_one():
    draws = autoregressive(0.9, (4, 50, 1))[..., 0]
    within, between = np.var(draws, axis=1, ddof=1).mean(), np.var(draws.mean(axis=1), ddof=1)
    rhat = np.sqrt(49 / 50 + between / within)
    np.testing.assert_allclose(diagnostics.nested_rhat(draws, 4) ** 2, rhat**2 + 1 / 50, rtol=1e-12)


def test_nested_rhat_of_independent_draws_is_near_one_and_of_shifted_superchains_is_known():
    draws = autoregressive(0, (64, 10, 200))
    values = diagnostics.nested_rhat(draws, 4)
    # B / W is about 1 / (number of draws of a superchain), and W has a tenth from the means of chains.
    np.testing.assert_allclose(np.mean(values), np.sqrt(1 + 1 / 160 / 1.1), atol=5e-4)
    draws += 2.0 * (np.arange(64) // 16)[:, None, None]
    np.testing.assert_allclose(np.mean(diagnostics.nested_rhat(draws, 4)), np.sqrt(1 + 4 * 5 / 3 / 1.1), rtol=0.01)


def test_nested_rhat_takes_single_draws():
    draws = autoregressive(0, (6, 1, 1))
    chains = draws.reshape(2, 3)
    expected = np.sqrt(1 + np.var(chains.mean(axis=1), ddof=1) / np.var(chains, axis=1, ddof=1).mean())
    np.testing.assert_allclose(diagnostics.nested_rhat(draws, 2), [expected], rtol=1e-12)


def test_nested_rhat_of_what_does_not_move():
    draws = autoregressive(0, (4, 10, 3))
    draws[..., 0], draws[..., 1] = 0.1, 0.1 * np.array([1, 1, 2, 2])[:, None]
    values = diagnostics.nested_rhat(draws, 2)
    assert np.isnan(values[0])
    assert values[1] == np.inf
    assert np.isfinite(values[2])


@pytest.mark.parametrize(
    ("shape", "num_superchains", "message"),
    [((6, 9, 1), 4, "divisor"), ((6, 9, 1), 1, "2 or more"), ((4, 1, 1), 4, "one draw"), ((4,), 2, "not empty")],
)
def test_unusable_superchains_are_refused(shape, num_superchains, message):
    with pytest.raises(ValueError, match=message):
        diagnostics.nested_rhat(np.zeros(shape), num_superchains)


def test_trailing_axes_and_batches_do_not_matter(monkeypatch):
    draws = autoregressive(0.5, (2, 50, 12))
    expected = diagnostics.per_coordinate(draws)
    monkeypatch.setattr("asymjax.diagnostics.convergence._BATCH_SIZE", 500)  # five coordinates at a time
    values = diagnostics.per_coordinate(draws.reshape(2, 50, 3, 4))
    for name, value in values.items():
        np.testing.assert_array_equal(value, expected[name].reshape(3, 4))


def test_summary_reduces_the_coordinates():
    draws = autoregressive(0.5, (2, 50, 9))
    values, summary = diagnostics.per_coordinate(draws), diagnostics.summarise(draws)
    assert summary["rhat_max"] == values["rhat"].max()
    assert summary["ess_bulk_median"] == np.median(values["ess_bulk"])
    assert summary["ess_tail_min"] == values["ess_tail"].min()


def test_efficiency_divides_by_cost():
    efficiency = diagnostics.efficiency({"ess_bulk_min": 30.0, "rhat_max": 1.2}, seconds=2, num_grad_evals=300)
    assert efficiency == {"ess_bulk_min_per_second": 15.0, "ess_bulk_min_per_grad_eval": 0.1}
    with pytest.raises(ValueError, match="give more than 0"):
        diagnostics.efficiency({}, seconds=0, num_grad_evals=1)


def test_raveled_positions_follow_ravel_pytree():
    rng = np.random.default_rng(0)
    positions = {
        "out": {"scale": rng.normal(size=(2, 5)), "kernel": rng.normal(size=(2, 5, 3, 2))},
        "dense_0": {"bias": rng.normal(size=(2, 5, 3))},
    }
    draws, labels = diagnostics.ravel_positions(positions)
    expected, _ = ravel_pytree(jax.tree.map(lambda leaf: leaf[1, 4], positions))
    np.testing.assert_allclose(draws[1, 4], expected, rtol=1e-6)
    assert draws.shape == (2, 5, 10)
    assert labels[:4] == ["dense_0/bias[0]", "dense_0/bias[1]", "dense_0/bias[2]", "out/kernel[0,0]"]
    assert labels[-1] == "out/scale"
    np.testing.assert_array_equal(draws[..., labels.index("out/kernel[2,1]")], positions["out"]["kernel"][..., 2, 1])


def test_classification_coordinates_are_all_probabilities_and_their_logarithms():
    logits = np.log([[[[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]]]) + 7
    coordinates = diagnostics.classification_coordinates(logits)
    probabilities = np.array([0.2, 0.3, 0.5, 0.6, 0.3, 0.1])
    np.testing.assert_allclose(coordinates[0, 0], np.concatenate([probabilities, np.log(probabilities)]))


def test_regression_coordinates_are_means_and_log_standard_deviations():
    mean, sigma = np.arange(12.0).reshape(1, 2, 3, 2), np.full((1, 2, 3, 2), np.e)
    np.testing.assert_array_equal(diagnostics.regression_coordinates(mean), mean.reshape(1, 2, 6))
    both = diagnostics.regression_coordinates(mean, sigma)
    np.testing.assert_allclose(both, np.concatenate([mean.reshape(1, 2, 6), np.ones((1, 2, 6))], axis=-1))
