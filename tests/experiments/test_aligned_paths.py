"""Paths between aligned networks: both ends are the functions that they were, with gates of their own if need be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import model_of

from asymjax import rng, trees
from asymjax.experiments.linear_connectivity.run import matched_ends
from asymjax.models import draw_frozen
from asymjax.symmetry.connectivity import all_pairs, grid, in_batches, make_measure, make_path
from asymjax.types import Split


@pytest.mark.parametrize("arch", ["w_asym", "sigma_asym"])
def test_aligned_ends_keep_their_loss(arch):
    model = model_of(arch, widths=(9, 8)).build((12,), 3)
    frozen = draw_frozen(model, 0)
    keys = rng.member_keys(jax.random.key(0), 3)
    params = jax.jit(jax.vmap(lambda key: model.merge(model.init(key, frozen), frozen)))(keys)
    pairs = all_pairs(3)

    def ends(pairs):
        start, end = (jax.tree.map(lambda leaf, i=index: leaf[i], params) for index in pairs.T)
        return start, end, None

    generator = np.random.default_rng(0)
    split = Split(generator.normal(size=(40, 12)).astype("float32"), generator.integers(0, 3, 40).astype("int32"))
    path = make_path(make_measure(model, "classification"), grid(3))
    measure = jax.jit(jax.vmap(path, (0, 0, None, None, 0)))
    plain, aligned = (
        trees.to_host(measure(start, end, frozen, {"test": in_batches(split)}, gates))
        for start, end, gates in (ends(pairs), matched_ends(ends, model.permutation_spec, frozen)(pairs))
    )
    assert np.all(aligned["distance"] < plain["distance"])
    curves = (measured["curves"]["test"]["loss"][:, [0, -1]] for measured in (aligned, plain))
    np.testing.assert_allclose(*curves, rtol=1e-5)
    gates = matched_ends(ends, model.permutation_spec, frozen)(pairs)[2]
    assert (gates is not None) == (arch == "sigma_asym")
    if gates is not None:
        assert not all(jnp.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, gates), strict=True))
