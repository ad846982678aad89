"""Paths between aligned networks: both ends are the functions that they were, with gates of their own if need be."""

import jax
import numpy as np
import pytest
from model_of import model_of

from asymjax import rng, trees
from asymjax.experiments.linear_connectivity.run import Ends, matched_ends
from asymjax.models import draw_frozen
from asymjax.symmetry.connectivity import all_pairs, grid, in_batches, make_measure, make_path
from asymjax.types import Split


@pytest.mark.parametrize("arch", ["w_asym", "sigma_asym"])
def test_aligned_ends_keep_their_loss(arch):
    model = model_of(arch, widths=(9, 8), norm="none").build((12,), 3)
    frozen = draw_frozen(model, 0)
    keys = rng.member_keys(jax.random.key(0), 3)
    networks = trees.to_host(jax.jit(jax.vmap(lambda key: model.merge(model.init(key, frozen), frozen)))(keys))
    pairs = all_pairs(3)

    def ends(pairs):
        return Ends(*(jax.tree.map(lambda leaf, i=index: leaf[i], networks) for index in pairs.T))

    generator = np.random.default_rng(0)
    split = Split(generator.normal(size=(40, 12)).astype("float32"), generator.integers(0, 3, 40).astype("int32"))
    path = make_path(make_measure(model, "classification"), grid(3))
    measure = jax.jit(jax.vmap(path, (0, 0, None, None, 0)))
    rows, aligned_ends = {"test": in_batches(split)}, matched_ends(ends, model.permutation_spec, frozen)(pairs)
    plain, aligned = (
        trees.to_host(measure(start, end, frozen, rows, gates)) for start, end, gates, _ in (ends(pairs), aligned_ends)
    )
    assert np.all(aligned["distance"] < plain["distance"])
    # In float32 units in another order round otherwise: sums of at most 12 terms in each of three layers.
    curves = (measured["curves"]["test"]["loss"][:, [0, -1]] for measured in (aligned, plain))
    np.testing.assert_allclose(*curves, rtol=100 * np.finfo(np.float32).eps)
    assert aligned_ends.objectives.shape == (3, 2)
    gates = aligned_ends.gates
    assert (gates is not None) == (arch == "sigma_asym")
    if gates is not None:
        moved = zip(*map(jax.tree.leaves, gates), strict=True)
        assert not all(np.array_equal(before, after) for before, after in moved)
