"""Posteriors of sparse networks: coordinates are the kept entries, with the prior that they have in the dense one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asymjax
from asymjax import trees
from asymjax.models import ModelConfig
from asymjax.models.backbones import MLP
from asymjax.models.methods import METHODS
from asymjax.sparse.masks import apply_mask, prunable, surviving

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
Y = np.argmax(X[:, :3], axis=1)


def dense_and_sparse(arch, also_biases=False):
    """Return a dense posterior, that of a network that keeps half of every kernel, its mask, and both models."""
    model = ModelConfig(method=METHODS[arch](), backbone=MLP((8, 8))).build((6,), 3)
    shape = trees.flatten(
        jax.eval_shape(model.init, jax.random.key(0), jax.eval_shape(model.freeze, jax.random.key(0)))
    )
    pruned = set(shape) if also_biases else prunable(model)
    kept = {
        path: np.random.default_rng(i).permutation(np.arange(np.prod(leaf.shape)) % 2 == 0).reshape(leaf.shape)
        if path in pruned
        else np.ones(leaf.shape, bool)
        for i, (path, leaf) in enumerate(shape.items())
    }
    sparse = surviving(model, trees.unflatten(kept))
    posteriors = [asymjax.make_posterior(one, (X, Y), asymjax.NormalPrior(scale=1.5)) for one in (model, sparse)]
    return *posteriors, trees.unflatten(kept), model, sparse


def some_position(model):
    rng = np.random.default_rng(1)
    shape = jax.eval_shape(model.init, jax.random.key(0), jax.eval_shape(model.freeze, jax.random.key(0)))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shape)


@pytest.mark.parametrize("arch", ["standard", "w_asym", "sigma_asym", "syre"])
def test_a_kept_entry_has_the_prior_and_the_likelihood_that_it_has_in_the_dense_network(arch):
    dense, own, kept, model, sparse = dense_and_sparse(arch)
    position = apply_mask(some_position(model), kept)
    kept_alone = sparse.split(model.merge(position, dense.frozen), own.frozen)
    # Of syre the coordinate is zero, and so is that of every pruned entry here: what is left over is their own density.
    scales, entries = trees.flatten(dense.prior_scale), trees.flatten(kept)
    assert scales == trees.flatten(own.prior_scale)
    kernel = "dense_1/kernel"
    assert np.isclose(scales[kernel], 1.5 / np.sqrt(8))
    of_pruned = sum(np.sum(~entries[path]) * (-np.log(scales[path]) - 0.5 * np.log(2 * np.pi)) for path in entries)
    np.testing.assert_allclose(own.logprior(kept_alone), dense.logprior(position) - of_pruned, rtol=1e-5)
    likelihoods = [one.loglikelihood(at, one.frozen, one.data) for one, at in ((dense, position), (own, kept_alone))]
    np.testing.assert_allclose(*likelihoods, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("also_biases", [False, True])
def test_biases_are_centred_where_they_are_whole_and_nothing_but_the_coordinates_changes(also_biases):
    dense, own, _, _, sparse = dense_and_sparse("w_asym", also_biases)
    assert dense.centred is not None
    assert (own.centred is None) == also_biases
    if also_biases:
        return
    position = some_position(sparse)
    target, plain = own.target(is_centred=True), own.target()
    walked = target.enter(position)
    assert not np.allclose(walked["dense_0"]["bias"], position["dense_0"]["bias"])
    np.testing.assert_allclose(target.logdensity(walked), plain.logdensity(position), rtol=1e-5)


@pytest.mark.long
def test_sparse_networks_are_sampled_and_predict():
    _, own, kept, _, sparse = dense_and_sparse("w_asym")
    sampler = asymjax.HMC(num_warmup=8, mass_matrix="prior", max_integration_steps=4)
    options = {"num_chains": 2, "num_draws": 8, "start": asymjax.Start("prior", map_steps=1), "show_progress": False}
    result = asymjax.sample(jax.random.key(0), own, sampler=sampler, **options)
    leaves = trees.flatten(result.position)
    assert {path: leaf.shape[2:] for path, leaf in leaves.items()} == {
        path: (keep.sum(),) if not keep.all() else keep.shape for path, keep in trees.flatten(kept).items()
    }
    assert np.isfinite(asymjax.rhat(leaves["dense_0/kernel"])).all()
    assert (asymjax.ess(leaves["dense_0/kernel"]) > 0).all()
    predicted = result.predict(X[:5])
    at = jax.tree.map(lambda leaf: leaf[1, 3], result.position)
    expected = jax.nn.softmax(sparse.apply(at, own.frozen, X[:5]))
    np.testing.assert_allclose(predicted[1, 3], expected, rtol=1e-4, atol=1e-6)


def test_a_sparse_network_may_have_constants_of_another_seed_and_learned_noise():
    *_, model, sparse = dense_and_sparse("w_asym")
    frozen = sparse.freeze(jax.random.key(5))
    targets = np.float32(X[:, :3])
    own = asymjax.make_posterior(sparse, (X, targets), likelihood=asymjax.Gaussian(noise="learned"), frozen=frozen)
    position = own.init(jax.random.key(0), frozen)
    assert np.isfinite(own.logdensity(position, frozen, own.data))
    params = sparse.merge(position, frozen)
    np.testing.assert_array_equal(model.forward(params, {}, X), sparse.apply(position, frozen, X))
    assert not np.array_equal(
        sparse.merge(position, sparse.freeze(jax.random.key(6)))["dense_0"]["kernel"], params["dense_0"]["kernel"]
    )
