"""Theorem 1 of Lim et al. (2024) by exhaustion, and how far permuted networks are from the set of the model."""

from functools import partial

import jax
import numpy as np
import pytest
from model_of import drawn_constants, model_of

from asymjax import trees
from asymjax.symmetry import (
    all_permutations,
    automorphisms,
    distance_to_model,
    permute,
    permuted_distances,
    unit_counts,
)


def test_distinct_nonzero_rows_leave_the_identity_alone():
    generator = np.random.default_rng(0)
    num_valid = 0
    while num_valid < 200:
        masks = [generator.integers(0, 2, shape) for shape in ((4, 4), (4, 3), (3, 4))]
        units = [mask.T for mask in masks]
        if all(len(np.unique(rows, axis=0)) == len(rows) and rows.any(axis=1).all() for rows in units):
            num_valid += 1
            (only,) = automorphisms(masks)
            assert all(np.array_equal(permutation, np.arange(len(permutation))) for permutation in only)


@pytest.mark.parametrize(
    ("incoming", "outgoing", "expected"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), 6),
        # Two equal units with equal outgoing edges can be swapped; with other outgoing edges they cannot, so that
        # distinctness is sufficient and not necessary.
        (np.array([[1, 1, 0], [0, 0, 1]]), np.array([[1, 1], [1, 1], [1, 0]]), 2),
        (np.array([[1, 1, 0], [0, 0, 1]]), np.array([[1, 1], [0, 1], [1, 0]]), 1),
        (np.zeros((2, 2)), np.ones((2, 2)), 2),
    ],
)
def test_without_distinct_nonzero_rows_automorphisms_can_be_there(incoming, outgoing, expected):
    assert len(automorphisms([incoming, outgoing])) == expected


def test_automorphisms_of_several_layers_are_found():
    # Both hidden layers can turn together, and neither alone.
    assert len(automorphisms([np.ones((2, 3)), np.eye(3), np.ones((3, 2))])) == 6


@pytest.fixture(scope="module")
def small():
    """A model with five hidden units, constants at four scales, and fifty positions."""
    config = model_of("w_asym", widths=(5,), norm="none", activation="relu", num_fixed=(2,), fixed_scale=(1.0,))
    model, generator = config.build((4,), 3), np.random.default_rng(0)
    sweep = [drawn_constants(model, scale=scale) for scale in (0.0, 0.1, 1.0, 3.0)]
    shapes = jax.eval_shape(model.init, jax.random.key(0), sweep[0])
    return model, sweep, jax.tree.map(lambda leaf: generator.standard_normal((50, *leaf.shape), "float32"), shapes)


def test_every_permutation_leaves_the_set_and_farther_with_larger_fixed_values(small):
    model, sweep, positions = small
    of_one = lambda position, frozen: permuted_distances(model, position, frozen, "units_0")  # noqa: E731
    of_all = jax.jit(jax.vmap(of_one, (0, None)))
    distances = np.stack([of_all(positions, frozen) for frozen in sweep])
    assert distances.shape == (4, 50, 119)
    assert distances.min() > 0.01
    growth = np.diff(distances.min(axis=2).mean(axis=1))
    assert np.all(growth > 0)


def params_of_first(small, frozen):
    model, _, positions = small
    return trees.to_host(jax.jit(model.merge)(jax.tree.map(lambda leaf: leaf[0], positions), frozen))


def test_distance_is_that_of_the_fixed_entries(small):
    model, sweep, _ = small
    params, distance = params_of_first(small, sweep[2]), jax.jit(partial(distance_to_model, model))
    assert distance(params, sweep[2]) == 0
    moved = jax.tree.map(lambda leaf: leaf + 1, params)
    num_fixed = 2 * 5 + 2 * 3
    np.testing.assert_allclose(distance(moved, sweep[2]), num_fixed**0.5, rtol=1e-6)


def test_positive_rescaling_is_broken_by_fixed_values_and_kept_by_fixed_zeros(small):
    model, sweep, _ = small
    # Powers of two, so that nothing is rounded.
    factors = np.float32(2.0) ** np.array([[0, 1, -1, 2, 1]], "float32")
    forward, distance = jax.jit(model.forward), jax.jit(partial(distance_to_model, model))
    inputs = np.random.default_rng(1).standard_normal((9, 4), "float32")
    for frozen, scale in zip(sweep, (0.0, 0.1, 1.0, 3.0), strict=True):
        params = params_of_first(small, frozen)
        first, last = params["dense_0"], params["output"]
        rescaled = {
            "dense_0": {"kernel": first["kernel"] * factors, "bias": first["bias"] * factors[0]},
            "output": {"kernel": last["kernel"] / factors.T, "bias": last["bias"]},
        }
        np.testing.assert_array_equal(forward(rescaled, frozen, inputs), forward(params, frozen, inputs))
        assert (distance(rescaled, frozen) > 0) == (scale > 0)


def test_permuting_there_and_back_is_nothing(small):
    model, sweep, _ = small
    params = params_of_first(small, sweep[1])
    assert unit_counts(params, model.permutation_spec) == {"units_0": 5}
    there = np.array([2, 0, 1, 4, 3])
    act = jax.jit(lambda params, order: permute(params, model.permutation_spec, {"units_0": order}))
    jax.tree.map(np.testing.assert_array_equal, act(act(params, there), np.argsort(there)), params)
    np.testing.assert_array_equal(all_permutations(3)[[0, 5]], [[0, 1, 2], [2, 1, 0]])


def test_what_cannot_be_listed_or_permuted_is_refused(small):
    model, sweep, positions = small
    with pytest.raises(ValueError, match="9 units have too many permutations to list; give 8 at most"):
        automorphisms([np.ones((2, 9)), np.ones((9, 2))])
    with pytest.raises(ValueError, match="unknown permutation 'units_1', choose from units_0"):
        permute(model.params_shape, model.permutation_spec, {"units_1": np.arange(5)})
    with pytest.raises(ValueError, match="unknown permutation 'units_7', choose from units_0"):
        permuted_distances(model, jax.tree.map(lambda leaf: leaf[0], positions), sweep[0], "units_7")
