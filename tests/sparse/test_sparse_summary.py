"""What a study comes to: seeds that failed, layers that collapsed, verdicts, and differences over the same seeds."""

import numpy as np
import pytest

from asymjax.experiments.sparse_connectivity.members import KINDS, all_members
from asymjax.experiments.sparse_connectivity.study import Studied
from asymjax.experiments.sparse_connectivity.summary import summarise_study
from asymjax.symmetry.connectivity import grid

SEEDS, TWINS, POINTS = 3, 2, grid(5)
RISES = {"dense": 0.30, "imp": 0.10, "distilled": 0.01}
ERRORS = {"dense": 0.05, "imp": 0.051, "distilled": 0.08}


def study(failed):
    """Return a study whose paths rise in the middle by known amounts, the more the higher the seed."""
    members = all_members(("imp", "distilled"), (1,), SEEDS, TWINS)
    pairs = members.pairs_of_twins()
    pairs = pairs[~np.isin(pairs, list(failed)).any(axis=1)]
    source, seed = members.source[pairs[:, 0]], members.seed[pairs[:, 0]]
    error = np.array([ERRORS[one] for one in source])[:, None] + np.zeros(len(POINTS))
    error[:, 2] += np.array([RISES[one] for one in source]) * (1 + 0.1 * seed)
    masks = {"imp": {"a": {"kernel": np.ones((1, SEEDS, 4), bool)}, "b": {"kernel": np.ones((1, SEEDS, 4), bool)}}}
    masks["imp"]["a"]["kernel"][0, :, 0] = False
    masks["distilled"] = {
        "a": {"kernel": masks["imp"]["a"]["kernel"].copy()},
        "b": {"kernel": np.ones((1, 3, 4), bool)},
    }
    masks["distilled"]["b"]["kernel"][0, 1] = False  # Of seed 1 nothing of b is left.
    found = {kind: pairs if kind == "twins" else np.zeros((0, 2), int) for kind in KINDS[:3]}
    curves = {"test": {"accuracy": 1 - error, "loss": 2 * error}}
    first = members.first_of_tickets(pairs)
    return Studied(members, masks, failed, found, curves, np.ones(len(pairs)), first, None, None)


@pytest.fixture(scope="module")
def summary():
    failed = {1: "loss not finite at step 7", 6: "the search diverged in round 0", 7: "the search diverged in round 0"}
    return summarise_study(study(failed), POINTS, frozenset({"a/kernel", "b/kernel"}), (1,))


def test_rises_and_differences_are_over_the_same_initialisations(summary):
    dense, imp, distilled = summary["cells"]
    name = "test.error.over_mean"
    np.testing.assert_allclose(dense["measures"][name]["repeats"], [0.33, 0.36], atol=1e-12)  # Seed 0 is left out.
    np.testing.assert_allclose(imp["measures"][name]["repeats"], [0.11, 0.12], atol=1e-12)
    np.testing.assert_allclose(distilled["measures"][name]["difference"]["mean"], 0.0115 - 0.345, atol=1e-12)
    np.testing.assert_allclose(distilled["beside_imp"][name]["mean"], 0.0115 - 0.115, atol=1e-12)
    assert imp["beside_imp"] == dense["beside_imp"] == {}


def test_verdicts_follow_the_bounds(summary):
    found = {cell["source"]: (cell["is_stable"], cell["is_matching"]) for cell in summary["cells"]}
    assert found == {"dense": (False, True), "imp": (False, True), "distilled": (True, False)}


def test_what_failed_and_what_collapsed_is_named(summary):
    assert summary["failed"]["dense, round 0, seed 0, twin 1"] == "loss not finite at step 7"
    assert summary["failed"]["imp, round 1, seed 0, twin 0"] == "the search diverged in round 0"
    imp, distilled = summary["cells"][1:]
    assert imp["collapsed"] == {} and distilled["collapsed"] == {"1": ["b/kernel"]}
    assert distilled["density"] == {"a/kernel": 0.75, "b/kernel": 0.0}
    np.testing.assert_allclose(imp["sparsity"], 1 / 8)
    np.testing.assert_allclose(distilled["overlap"], (1 + 3 / 7 + 1) / 3)


def test_a_study_without_dense_twins_still_says_what_there_is():
    found = summarise_study(study({0: "a", 2: "b", 4: "c"}), POINTS, frozenset({"a/kernel", "b/kernel"}), (1,))
    assert found["cells"][0]["measures"] == {} and found["cells"][0]["is_stable"] is None
    imp = found["cells"][1]["measures"]["test.error.over_mean"]
    np.testing.assert_allclose(imp["repeats"], [0.10, 0.11, 0.12], atol=1e-12)
    assert imp["difference"] is None
