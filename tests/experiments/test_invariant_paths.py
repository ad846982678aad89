"""Parts of a study of invariant paths with known answers: ensembles, forgetting, equal drift, sparsity on the way."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from asymjax.experiments.invariant_paths.arms import Arm, Walked, count_row_gradients
from asymjax.experiments.invariant_paths.attacked import _row_scores
from asymjax.experiments.invariant_paths.config import Config
from asymjax.experiments.invariant_paths.extras import _with_missing
from asymjax.experiments.invariant_paths.measures import curvature_points
from asymjax.experiments.invariant_paths.studies import is_old
from asymjax.experiments.invariant_paths.subject import why_groups_fail
from asymjax.experiments.invariant_paths.summary import _at_levels, _forgetting, _sparsity, _told, compare_methods
from asymjax.experiments.invariant_paths.table import verdict
from asymjax.paths.invariant import PathConfig
from asymjax.paths.objectives import make_sparse


def test_an_ensemble_disagrees_by_the_pairs_of_members_that_name_different_classes():
    logits = jnp.array([[[9.0, 0, 0]] * 2, [[9.0, 0, 0], [0, 9.0, 0]], [[9.0, 0, 0], [0, 0, 9.0]]])
    found = _row_scores(jax.nn.log_softmax(logits), jnp.array([0, 1]))
    np.testing.assert_allclose(found["disagreement"], [0.0, 1.0])
    np.testing.assert_allclose(found["accuracy"][0], 1.0)
    two = _row_scores(jax.nn.log_softmax(logits[:2]), jnp.array([0, 1]))
    np.testing.assert_allclose(two["disagreement"], [0.0, 1.0])
    np.testing.assert_allclose(two["nll"][1], -np.log(np.mean(jax.nn.softmax(logits[:2, 1])[:, 1])), rtol=1e-5)
    assert _row_scores(jax.nn.log_softmax(logits[:1]), jnp.array([0, 1]))["disagreement"].sum() == 0


def test_forgetting_is_measured_from_the_best_accuracy_so_far():
    curves = {"old.accuracy": np.array([[0.9, 0.95, 0.5]]), "new.accuracy": np.array([[0.0, 0.4, 0.9]])}
    found = _forgetting(curves)
    np.testing.assert_allclose(found["forgetting"], [[0.0, 0.0, 0.45]])
    np.testing.assert_allclose(found["average.accuracy"], [[0.45, 0.675, 0.7]])
    assert _forgetting({"test.accuracy": curves["old.accuracy"]}) == {}


def test_measures_where_the_drift_first_reaches_a_level():
    drift = np.array([[0.0, 0.2, 0.1, 0.4]])
    found = _at_levels(drift, np.array([[0.0, 2.0, 3.0, 6.0]]), np.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(found, [[1.0, 2.0, 5.0]])


def test_what_comes_after_the_largest_drift_does_not_count():
    drift = np.array([[0.0, 0.4, 0.3, 0.2], [0.0, 0.4, 0.4, 0.4]])
    found = _at_levels(drift, np.arange(4.0) * np.ones((2, 1)), np.array([0.2, 0.4]))
    np.testing.assert_allclose(found, [[0.5, 1.0]] * 2)


def paths_with(arch, tops, lengths):
    """Return arrays of straight paths whose drift ends at the tops."""
    ends = {"drift.held_out": tops, "old.accuracy": [-0.4] * len(tops), "new.accuracy": [0.8] * len(tops)}
    ends["length"] = lengths
    return {
        f"paths/{arch}/path/{name}": (("member", "point"), np.outer(values, [0.0, 1.0]))
        for name, values in ends.items()
    }


def test_methods_are_compared_up_to_the_drift_that_all_paths_reach():
    entry = {"arms": {"path": {"failed": {}, "stuck": []}}}
    arrays = paths_with("standard", [1.0, 1.0], [4.0, 4.0]) | paths_with("w_asym", [2.0, 2.0], [4.0, 4.0])
    found = compare_methods({"standard": entry, "w_asym": entry}, arrays)
    np.testing.assert_allclose(found["levels"], [0.25, 0.5, 0.75, 1.0])
    assert found["methods"]["standard"]["length"][-1]["mean"] == 4.0
    assert found["methods"]["standard"]["length"][-1]["difference"] is None
    assert found["methods"]["w_asym"]["length"][-1]["mean"] == 2.0
    assert found["methods"]["w_asym"]["length"][-1]["difference"]["mean"] == -2.0
    assert compare_methods({"standard": entry}, {}) == {}


def test_methods_are_compared_by_seeds_that_are_in_both_and_paths_at_rest_are_left_out():
    arrays = paths_with("standard", [1.0, 1.0, 1.0, 0.0], [1.0, 2.0, 3.0, 0.0])
    arrays |= paths_with("w_asym", [1.0, 1.0, 1.0, 1.0], [9.0, 2.5, 3.5, 9.0])
    entries = {
        "standard": {"arms": {"path": {"failed": {"0": "not finite"}, "stuck": [3]}}},
        "w_asym": {"arms": {"path": {"failed": {"3": "not finite"}, "stuck": []}}},
    }
    found = compare_methods(entries, arrays)
    assert found["levels"][-1] == 1.0
    last = {arch: method["length"][-1] for arch, method in found["methods"].items()}
    assert last["standard"]["repeats"].tolist() == [2.0, 3.0] and last["w_asym"]["repeats"].tolist() == [9.0, 2.5, 3.5]
    assert last["w_asym"]["difference"]["mean"] == 0.5
    entries["standard"]["arms"]["path"]["stuck"] = [1, 2, 3]
    assert compare_methods(entries, arrays) == {}


def test_a_path_is_at_rest_where_it_does_not_move_at_its_end_and_has_not_failed():
    config = replace(Config(), path=PathConfig(num_steps=2))
    subject = SimpleNamespace(start=np.arange(4), config=config)
    steps = {
        "step_length": np.array([[1.0, 0.0], [1.0, np.nan], [0.0, 0.0], [0.0, 1.0]]),
        "objective": np.array([[2.0, 1.0], [2.0, np.nan], [0.0, 0.0], [1.0, 1.0]]),
        "freedom": np.array([[1.0, 0.0], [1.0, np.nan], [0.0, 0.0], [0.0, 0.5]]),
    }
    found = _told(subject, Walked({}, steps, np.array([0, 2]), {}), {1: "not finite"})
    assert found["stuck"] == [0]  # The third has nothing left to fall.
    assert found["freedom"]["mean"].tolist() == [0.5, 0.0, 0.25]


def test_the_gap_to_a_sparse_network_and_what_changes_places_in_it():
    points = {"w": np.array([[[4.0, 3.0, 2.0, 1.0], [1.0, 3.0, 2.0, 4.0]]])}
    arm = Arm(lambda frozen: None, points, None, None, lambda own, shared: own, lambda at: make_sparse(at, 0.5))
    found = _sparsity(arm, Walked(points, {}, np.array([0, 1]), {}))
    np.testing.assert_allclose(found["gap"], np.sqrt([[5.0, 5.0]]))
    np.testing.assert_allclose(found["swaps"], [[0.0, 1.0]])


def test_old_classes_are_the_first_half_and_curvature_is_met_at_both_ends():
    assert is_old(np.arange(5), 5).tolist() == [True, True, False, False, False]
    assert curvature_points(11).tolist() == [0, 5, 10] and curvature_points(2).tolist() == [0, 1]


def test_a_verdict_needs_an_interval_on_one_side():
    said = [verdict({"low": low, "high": high}, "above", "below") for low, high in ((0.1, 0.2), (-0.2, -0.1), (-1, 1))]
    assert said == ["below", "above", "not told apart from"]
    assert verdict({"low": None, "high": None}, "above", "below") == "of one network, beside"


def test_a_group_fails_with_any_of_its_networks():
    failed = {3: "at step 7", 4: "at step 8", 5: "at step 9"}
    found = why_groups_fail(failed, np.array([0, 2, 4]), 6)
    assert found == {1: "network 1 beside it: at step 7", 2: "at step 8"}
    assert why_groups_fail({1: "at step 3"}, np.arange(3), 3) == {1: "at step 3"}
    values = _with_missing(np.array([True, False, True]), np.array([[1.0], [2.0]]))
    np.testing.assert_array_equal(values, [[1.0], [np.nan], [2.0]])


def test_row_gradients_are_those_of_batches_and_of_what_stays():
    arm = Arm(lambda frozen: None, {}, None, None, lambda own, shared: own, rows=100, once=7)
    path = arm._replace(is_path=True)
    exact = PathConfig(num_steps=3, retract=True)
    assert count_row_gradients(arm, exact, 20, 10) == {"objective": 307, "replay": 0}
    for config, replay in {
        exact: 3 * 2 * 200,
        replace(exact, retract=False): 3 * 200,
        replace(exact, driver="penalty"): 3 * (2 * 200 + 20),
        replace(exact, driver="penalty", retract=False): 3 * 20,
        replace(exact, driver="layer"): 0,
        replace(exact, solver="cg"): None,
    }.items():
        assert count_row_gradients(path, config, 20, 10)["replay"] == replay
