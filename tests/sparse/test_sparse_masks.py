"""Masks beside positions: exact zeros, counts, and networks whose coordinates are the kept entries alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asymjax import trees
from asymjax.errors import InputError
from asymjax.models import ModelConfig
from asymjax.models.backbones import MLP
from asymjax.models.methods import METHODS
from asymjax.sparse.masks import (
    apply_mask,
    densities,
    full_mask,
    masked,
    overlap,
    prunable,
    sparsity,
    surviving,
    with_mask,
)

X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


@pytest.fixture(params=["standard", "w_asym", "sigma_asym", "syre"])
def network(request):
    """Return a model, its constants, a position and a mask that keeps about half of every kernel."""
    model = ModelConfig(method=METHODS[request.param](), backbone=MLP((8, 8))).build((6,), 3)
    frozen = model.freeze(jax.random.key(0))
    position = model.init(jax.random.key(1), frozen)
    paths = prunable(model)
    kept = {
        path: np.random.default_rng(i).random(leaf.shape) < (0.5 if path in paths else 1)
        for i, (path, leaf) in enumerate(trees.flatten(position).items())
    }
    return model, frozen, position, trees.unflatten(kept)


def test_a_masked_network_is_the_network_of_the_masked_position(network):
    model, frozen, position, kept = network
    sparse = masked(model)
    constants = with_mask(frozen, kept)
    expected = model.apply(apply_mask(position, kept), frozen, X)
    np.testing.assert_array_equal(sparse.apply(position, constants, X), expected)
    params = sparse.merge(position, constants)
    np.testing.assert_array_equal(sparse.forward(params, constants, X), expected)
    back = sparse.split(params, constants)
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-7)  # The offsets of syre are added and taken away.
    jax.tree.map(close, back, apply_mask(position, kept))


def test_the_free_entries_of_a_masked_network_are_those_that_are_kept(network):
    model, frozen, _, kept = network
    if model.free_mask is None:
        assert masked(model).free_mask is None
        return
    free = masked(model).free_mask(with_mask(frozen, kept))
    assert sum(leaf.sum() for leaf in jax.tree.leaves(free)) == sum(leaf.sum() for leaf in jax.tree.leaves(kept))
    jax.tree.map(
        lambda inner, outer: np.testing.assert_array_equal(inner & outer, inner), free, model.free_mask(frozen)
    )


def test_the_coordinates_of_a_surviving_network_are_the_kept_entries(network):
    model, frozen, position, kept = network
    sparse = surviving(model, kept)
    constants = sparse.freeze(jax.random.key(0))
    own = sparse.split(model.merge(position, frozen), constants)
    assert trees.num_entries(own) == sum(leaf.sum() for leaf in jax.tree.leaves(kept)) < trees.num_entries(position)
    np.testing.assert_allclose(
        sparse.apply(own, constants, X), model.apply(apply_mask(position, kept), frozen, X), rtol=1e-6, atol=1e-6
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.tree.map(jnp.shape, sparse.init(jax.random.key(1), constants)),
        jax.tree.map(jnp.shape, own),
    )


def test_what_the_architecture_fixed_does_not_count():
    model = ModelConfig(method=METHODS["w_asym"](num_fixed=(3,)), backbone=MLP((8,))).build((6,), 3)
    shape = jax.eval_shape(model.init, jax.random.key(0), jax.eval_shape(model.freeze, jax.random.key(0)))
    paths = prunable(model)
    kept = full_mask(shape)
    assert sparsity(kept, paths) == 0
    first = trees.flatten(kept) | {"dense_0/kernel": jnp.arange(24) < 12}
    assert trees.flatten(shape)["dense_0/kernel"].shape == (24,)
    np.testing.assert_allclose(sparsity(trees.unflatten(first), paths), 12 / (24 + 15), rtol=1e-6)
    assert densities(trees.unflatten(first), paths)["dense_0/kernel"] == 0.5
    assert overlap(kept, trees.unflatten(first), paths) == np.float32(27 / 39)


def test_a_mask_that_keeps_nothing_of_a_leaf_is_refused_by_name(network):
    model, _, _, kept = network
    path = next(iter(sorted(prunable(model))))
    leaves = trees.flatten(kept)
    with pytest.raises(InputError, match=f"keeps nothing of {path}"):
        surviving(model, trees.unflatten(leaves | {path: np.zeros_like(leaves[path])}))
    with pytest.raises(InputError, match="give those of the model"):
        surviving(model, {"other": np.ones(3, bool)})
