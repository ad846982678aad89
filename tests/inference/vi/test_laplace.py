import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree
from linear_gaussian import draw, linear_gaussian
from model_of import drawn_constants, model_of
from random_graphs import random_graph

import asymjax
from asymjax.errors import InputError
from asymjax.inference.posterior import from_logdensity
from asymjax.inference.vi import Laplace, MeanField
from asymjax.inference.vi.laplace import gauss_newton, last_layer_family, output_leaves
from asymjax.types import Split

NUM_DRAWS = 500


@pytest.fixture(scope="module")
def network():
    """A posterior of 3 classes, and a position in units of the prior."""
    numbers = np.random.default_rng(0)
    inputs, classes = numbers.normal(size=(7, 2)).astype(np.float32), numbers.integers(0, 3, 7)
    model = asymjax.from_flax(nn.Sequential([nn.Dense(4), nn.tanh, nn.Dense(3)]), inputs)
    posterior = asymjax.make_posterior(model, (inputs, classes))
    return posterior.target(), posterior.init(jax.random.key(0), posterior.frozen)


def test_a_linear_network_has_its_posterior_and_its_evidence():
    posterior, exact = linear_gaussian()
    sampler = Laplace(num_warmup=500, learning_rate=0.1, curvature="full")
    result, z = draw(posterior, sampler, NUM_DRAWS)
    params, tuned = result.tuned.params, result.tuned
    factor = np.tril(params.below) / np.sqrt(params.below.shape[-1])
    # Float32 rounds sums of 20 rows, and an optimum is as flat as they: 1e-3 of a standard deviation.
    scale = np.sqrt(np.diag(exact.covariance).min())
    np.testing.assert_allclose(params.mean, np.tile(exact.mean, (2, 1)), atol=1e-3 * scale)
    np.testing.assert_allclose(factor @ np.swapaxes(factor, 1, 2), np.tile(exact.covariance, (2, 1, 1)), rtol=1e-3)
    np.testing.assert_allclose(tuned.elbo, exact.log_evidence, atol=1e-3)
    np.testing.assert_allclose(tuned.log_evidence, exact.log_evidence, atol=1e-3)
    # 3 means and 9 entries of 1,000 draws, each within 5 standard errors: false alarms in 1 of 100,000 seeds.
    draws, variances = z.reshape(-1, 3), np.diag(exact.covariance)
    errors = (draws.mean(0) - exact.mean) / np.sqrt(variances / len(draws))
    spread = np.sqrt((np.outer(variances, variances) + exact.covariance**2) / len(draws))
    assert np.abs(errors).max() < 5 and np.abs((np.cov(draws.T) - exact.covariance) / spread).max() < 5
    assert f"{tuned.elbo[0]:,.2f}" in sampler.describe(tuned)


def test_the_matrix_is_that_of_all_rows_and_its_parts_are_parts_of_it(network):
    target, z = network
    posterior, paths = target.posterior, output_leaves(target)
    assert set(paths) == {"layers_2/kernel", "layers_2/bias"}
    flat, unravel = ravel_pytree(z)

    def outputs(flat):
        position = jax.tree.map(jnp.multiply, unravel(flat), target.prior_scale)
        return posterior.predict(position, posterior.frozen, posterior.data.inputs)

    @jax.jit
    def matrices():
        kinds = ((None, False), (None, True), (paths, False))
        return [gauss_newton(target, z, part, is_diagonal=is_diagonal) for part, is_diagonal in kinds]

    full, diagonal, last = map(np.asarray, matrices())
    logits, jacobian = np.asarray(outputs(flat)), np.asarray(jax.jacrev(outputs)(flat))
    odds = np.exp(logits - logits.max(1, keepdims=True))
    p = odds / odds.sum(1, keepdims=True)
    hessian = np.eye(3) * p[:, None] - p[:, :, None] * p[:, None]
    expected = np.einsum("nki,nkl,nlj->ij", jacobian, hessian, jacobian)
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(full, expected, atol=tolerance)
    np.testing.assert_allclose(diagonal, np.diag(expected), atol=tolerance)
    block = slice(flat.size - len(last), None)  # Leaves are in the order of their paths.
    np.testing.assert_allclose(last, expected[block, block], atol=tolerance)


@pytest.mark.parametrize("noise", ["categorical", "gaussian"])
def test_information_is_the_mean_hessian_over_targets(noise):
    predictive = jnp.asarray([0.3, -0.2, 0.5, -0.7])
    if noise == "categorical":
        kind, targets, weights = asymjax.Categorical(), jnp.arange(4), jax.nn.softmax(predictive)
    else:  # The density of a target is quadratic in it: two points with its mean and variance are enough for each.
        kind, (mean, scale) = asymjax.Gaussian(), (predictive[:2], jnp.exp(predictive[2:]))
        targets = jnp.stack([mean - scale, mean + scale])
        weights = jnp.full(2, 0.5)

    def loss(predictive, target):
        return -kind.loglikelihood(predictive[None], target[None])[0]

    hessians = jax.vmap(lambda target: jax.hessian(loss)(predictive, target))(targets)
    expected = np.einsum("t,tij->ij", weights, hessians)
    np.testing.assert_allclose(kind.information(predictive), expected, atol=1e-5)


def test_the_last_layer_leaves_the_others_in_place(network):
    target, start = network
    starts = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), start)
    sampler = Laplace(num_warmup=20, curvature="last_layer")
    options = {"num_chains": 2, "num_draws": 20, "start": starts, "show_progress": False}
    result = asymjax.sample(jax.random.key(0), target.posterior, sampler=sampler, **options)
    spread = jax.tree.map(lambda leaf: np.ptp(leaf, 1), result.position)
    assert all(np.all(leaf == 0) for leaf in spread["layers_0"].values())
    assert all(np.all(leaf > 0) for leaf in spread["layers_2"].values())
    assert np.isnan(result.tuned.elbo).all() and "without an ELBO" in sampler.describe(result.tuned)
    first = jax.tree.map(lambda leaf: leaf[0], result.tuned.params)
    mean, variance = last_layer_family(output_leaves(target)).moments(first)
    scale = target.prior_scale["layers_2"]["bias"]
    factor = np.tril(first.below) / np.sqrt(len(first.below))
    np.testing.assert_allclose(variance["layers_2"]["bias"], np.square(factor).sum(1)[:3], rtol=1e-5)
    assert np.all(variance["layers_0"]["kernel"] == 0) and scale > 0
    np.testing.assert_array_equal(mean["layers_2"]["bias"], first.mean["layers_2"]["bias"])


def test_what_has_no_curvature_is_refused():
    with pytest.raises(InputError, match="needs the outputs of a network"):
        Laplace().family(from_logdensity(lambda x: -jnp.sum(x**2), jnp.zeros(2)).target())
    inputs = np.zeros((3, 1), np.float32)
    model = asymjax.from_flax(nn.Sequential([nn.Dense(2100), nn.tanh, nn.Dense(1)]), inputs)
    target = asymjax.make_posterior(model, (inputs, inputs), likelihood=asymjax.Gaussian(noise="fixed")).target()
    for curvature, count in (("full", "6,301"), ("last_layer", "2,101")):
        with pytest.raises(InputError, match=f"{count} coordinates are too many for laplace.*take curvature diagonal"):
            Laplace(curvature=curvature).family(target)


def test_a_graph_has_no_rows_of_which_to_take_one_or_a_few():
    graph = random_graph(9, 2)
    model = model_of(backbone="gcn", widths=(3,), norm="none").build((2,), 3)
    data = Split(graph, np.zeros(9, np.int32))
    target = asymjax.make_posterior(model, data, frozen=drawn_constants(model)).target()
    with pytest.raises(InputError, match="laplace takes rows one at a time; a graph has none, take pathfinder or mean"):
        Laplace().family(target)
    with pytest.raises(InputError, match="a graph has none, leave batch_size out"):
        MeanField(batch_size=2).parts(target)
    assert MeanField().parts(target).joint.take(None).batch.inputs is target.posterior.data.inputs
