"""Scores among networks of like recipes, and on targets that are spread alike."""

import numpy as np
from metanets.zoos import make_zoo, squared_norm
from scipy import stats

from asymjax.experiments.metanetworks.comparable import comparable_taus, matched_places
from asymjax.metanets import Fit, Parts
from asymjax.metanets.comparable import matched, recipe_strata, tau_within

NUMBERS = np.random.default_rng(0)


def test_one_stratum_is_kendalls_tau_with_its_ties():
    targets, predictions = NUMBERS.integers(0, 5, 60), NUMBERS.integers(0, 4, 60)
    wanted = stats.kendalltau(targets, predictions).statistic
    np.testing.assert_allclose(tau_within(targets, predictions, np.zeros(60, int)), wanted, rtol=1e-12)


def test_what_strata_tell_is_no_part_of_it_and_what_is_within_them_is():
    strata, within = np.repeat([0, 1, 2], 100), NUMBERS.normal(size=300)
    targets = 100 * strata + within
    assert tau_within(targets, strata + NUMBERS.normal(size=300) / 100, strata) < 0.15
    assert tau_within(targets, within, strata) == 1.0
    assert stats.kendalltau(targets, strata).statistic > 0.8 and tau_within(targets, strata, strata) == 0.0


def test_networks_of_like_recipes_have_each_number_in_one_third():
    rates, epochs = np.repeat(np.arange(30.0), 30), np.tile(np.arange(30.0), 30)
    strata = recipe_strata({"learning_rate": rates, "num_epochs": epochs})
    assert len(np.unique(strata)) == 9 and np.all(np.bincount(strata) == 100)
    first = strata == strata[0]
    assert rates[first].max() < 10 and epochs[first].max() < 10
    assert len(np.unique(recipe_strata({"decay": np.full(5, 0.1)}))) == 1


def test_matched_targets_are_spread_alike_though_zoos_are_not():
    narrow, wide = NUMBERS.normal(0, 0.5, 2000), NUMBERS.normal(0.3, 1, 3000)
    first, second = matched([narrow, wide])
    assert len(first) == len(second) > 500 and len(np.unique(second)) == len(second)
    assert stats.ks_2samp(narrow, wide).pvalue < 1e-6 < 0.01 < stats.ks_2samp(narrow[first], wide[second]).pvalue


def fit_of(targets, predictions, test):
    """Return a fit whose predictions are given, tested on some networks."""
    parts = Parts(np.arange(2), np.arange(2, 4), test)
    return Fit(predictions, targets, parts, 0.1, np.zeros(len(predictions), int), {}, None)


def test_runs_say_both_of_test_networks_alone():
    zoo, test = make_zoo(400, squared_norm), np.arange(100, 400)
    zoo = zoo._replace(recipes={"epochs": np.repeat(np.arange(4.0), 100)})
    targets = NUMBERS.normal(size=400)
    own = fit_of(targets, np.stack([targets, -targets]), test)
    other = fit_of(targets + 1, targets[None], test)
    places = matched_places({"own": own, "other": other})
    assert np.all(np.isin(places["own"], test)) and len(places["own"]) == len(places["other"]) < 300
    found = comparable_taus(zoo, own, places["own"])
    assert found["tau_within"]["values"] == found["tau_matched"]["values"] == [1.0, -1.0]
    assert matched_places({"own": own}) == {}
    assert matched_places({"own": own, "far": own._replace(targets=targets + 100)}) == {}  # Nothing is spread alike.
    assert comparable_taus(zoo._replace(recipes={}), own, None) == {}
    classes = own._replace(targets=np.arange(400) % 2, predictions=np.ones((1, 400, 2)))
    assert comparable_taus(zoo, classes, None) == {}
