"""Masks from other networks: whose they are, and how their units are permuted."""

import jax
import numpy as np
import pytest

from asymjax.experiments.sparse_connectivity.sources import SOURCES, Study, failed_searches
from asymjax.lab.tickets import Found
from asymjax.models import ModelConfig
from asymjax.models.backbones import MLP
from asymjax.sparse.masks import full_mask, permuted_mask
from asymjax.sparse.pruning import plan_pruning, prune_to
from asymjax.symmetry import permute, random_permutations

NUM_ROUNDS = 4


@pytest.fixture(scope="module")
def study():
    """Return a study whose second network is a permutation of the first, and whose third is another."""
    model = ModelConfig(backbone=MLP((8, 8), norm="none")).build((6,), 3)
    first, third = (model.init(jax.random.key(seed), {}) for seed in (0, 1))
    element = random_permutations(jax.random.key(2), first, model.permutation_spec)
    networks = [first, permute(first, model.permutation_spec, element), third]
    plan = plan_pruning(model, 0.2, NUM_ROUNDS)

    def masks_of(position):
        scores, kept = jax.tree.map(abs, position), [full_mask(position)]
        for number in range(1, NUM_ROUNDS + 1):
            kept.append(prune_to(plan, scores, kept[-1], number))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *kept)

    kept = jax.tree.map(lambda *leaves: np.stack(leaves, 1), *map(masks_of, networks))
    dense = jax.tree.map(lambda *leaves: np.stack(leaves), *networks)
    found = Found(kept, dense, np.array([-1, -1, 2]))
    levels = (2, NUM_ROUNDS)
    return Study(model, {}, None, "classification", np.arange(3), None, plan, levels, lambda rows: found), element


def at(masks, level, seed):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[level, seed], masks)


def test_a_naive_mask_is_that_of_the_next_seed(study):
    study, _ = study
    own, naive = SOURCES["imp"](study), SOURCES["naive"](study)
    for seed in range(3):
        jax.tree.map(np.testing.assert_array_equal, at(naive, 1, seed), at(own, 1, (seed + 1) % 3))


def test_a_permuted_mask_of_a_permuted_network_is_the_networks_own(study):
    study, element = study
    own, permuted, naive = (SOURCES[source](study) for source in ("imp", "permuted", "naive"))
    for level in (0, 1):
        jax.tree.map(np.testing.assert_array_equal, at(permuted, level, 0), at(own, level, 0))
        second = permuted_mask(study.model, at(own, level, 0), {}, element)
        jax.tree.map(np.testing.assert_array_equal, second, at(own, level, 1))
    assert not np.array_equal(at(naive, 1, 0)["dense_1"]["kernel"], at(own, 1, 0)["dense_1"]["kernel"])


def test_a_mask_of_a_search_that_diverged_is_none_wherever_it_goes(study):
    study, _ = study
    why = "the search diverged in round 2"
    assert failed_searches(study, "imp") == failed_searches(study, "distilled") == {2: why}
    assert failed_searches(study, "naive") == failed_searches(study, "permuted") == {1: why}
    assert failed_searches(study, "random") == {}
