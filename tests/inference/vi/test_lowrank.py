"""The low-rank family against dense Gaussians, and noise that every row has of its own."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree

import asymjax
from asymjax import trees
from asymjax.inference.vi import LowRank
from asymjax.inference.vi.lowrank import LowRankParams, draw, entropy, logdensity, moments

RANK = 3
NUMBERS = np.random.default_rng(0)


def drawn_params():
    """Parameters of two layers, one of two leaves."""
    shapes = {"a/kernel": (2, 3), "a/bias": (3,), "b/kernel": (4,)}

    def tree(*leading, scale=1.0):
        leaves = {path: scale * NUMBERS.normal(size=(*leading, *shape)) for path, shape in shapes.items()}
        return trees.unflatten({path: np.float32(leaf) for path, leaf in leaves.items()})

    return LowRankParams(tree(), tree(scale=0.5), tree(RANK))


def dense_covariance(params):
    """The covariance over z as one vector: factors of a layer move all its leaves, and no other's."""
    factors = {path: np.asarray(leaf).reshape(RANK, -1) for path, leaf in trees.flatten(params.factors).items()}
    scale = np.exp(np.concatenate([np.ravel(leaf) for leaf in trees.flatten(params.log_scale).values()]))
    covariance = np.diag(scale**2)
    starts = np.cumsum([0, *(leaf.shape[1] for leaf in factors.values())])
    places = {path: slice(*starts[i : i + 2]) for i, path in enumerate(factors)}
    for one, first in factors.items():
        for other, second in factors.items():
            if one[0] == other[0]:
                covariance[places[one], places[other]] += first.T @ second / RANK
    return covariance


def test_density_and_entropy_are_those_of_the_dense_gaussian():
    params = drawn_params()
    covariance, mean = dense_covariance(params), ravel_pytree(params.mean)[0]
    z = jax.tree.map(lambda leaf: leaf + 0.3, params.mean)
    centred = np.full(len(mean), 0.3)
    _, logdet = np.linalg.slogdet(covariance)
    square = centred @ np.linalg.solve(covariance, centred)
    constant = len(mean) * math.log(2 * math.pi)
    assert float(logdensity(params, z)) == pytest.approx(-0.5 * (square + logdet + constant), abs=1e-4)
    assert float(entropy(params)) == pytest.approx(0.5 * (logdet + constant + len(mean)), abs=1e-4)
    assert np.allclose(ravel_pytree(moments(params)[1])[0], np.diag(covariance), rtol=1e-5)


@pytest.mark.parametrize("shapes", [jax.ShapeDtypeStruct((2,), float), (jax.ShapeDtypeStruct((2,), float),) * 2])
def test_positions_of_a_density_may_be_any_tree(shapes):
    def drawn(key):
        z = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
        params = LowRankParams(z, z, jax.tree.map(lambda leaf: jnp.ones((RANK, *leaf.shape)), z))
        z = draw(params, key)
        return z, logdensity(params, z) + entropy(params)

    found, _ = jax.eval_shape(drawn, jax.random.key(0))
    assert jax.tree.map(lambda leaf: leaf.shape, found) == jax.tree.map(lambda leaf: leaf.shape, shapes)


def test_draws_have_the_covariance():
    params, num_draws = drawn_params(), 4000
    z = jax.vmap(lambda key: ravel_pytree(draw(params, key))[0])(jax.random.split(jax.random.key(0), num_draws))
    covariance = dense_covariance(params)
    spread = np.sqrt(np.diag(covariance))
    # An entry of a correlation has a standard error of at most sqrt(2 / draws); 5 of them, 91 entries.
    difference = (np.cov(np.asarray(z).T) - covariance) / np.outer(spread, spread)
    assert np.max(np.abs(difference)) < 5 * math.sqrt(2 / num_draws)


def family_of(module, inputs, method=None, num_outputs=2, **settings):
    """The family of a network that has one layer, its target, and parameters with noticeable factors."""
    targets = np.zeros((len(inputs), num_outputs), np.float32)
    given = () if method is None else (method,)
    model = asymjax.from_flax(module, inputs, *given)
    posterior = asymjax.make_posterior(model, (inputs, targets), likelihood=asymjax.Gaussian(noise="fixed"))
    algorithm, target = LowRank(rank=2, init_scale=0.7, **settings), posterior.target()
    position = posterior.init(jax.random.key(0), posterior.frozen)
    return algorithm.family(target), algorithm.first(jax.random.key(1), position, target), posterior


def outputs_of(family, params, inputs, num_draws):
    """Means that the network predicts, [draw, row, output]."""
    keys = jax.random.split(jax.random.key(2), num_draws)
    means = jax.jit(jax.vmap(lambda key: family.outputs(params, key, inputs)))(keys)
    return np.asarray(means)[..., : means.shape[-1] // 2]


def test_rows_share_no_noise_and_outputs_of_a_row_share_that_of_the_factors():
    inputs, num_draws = np.float32([[1.0, -0.5, 2.0], [0.3, 1.0, -1.0]]), 6000
    family, params, posterior = family_of(nn.Dense(2, use_bias=False), inputs)
    found = outputs_of(family, params, inputs, num_draws)
    covariance = np.cov(found.reshape(num_draws, -1).T)
    scale = posterior.prior_scale["kernel"]
    parts = np.einsum("ni,rio->nro", inputs, np.asarray(params.factors["kernel"])) * scale
    noise = inputs**2 @ np.exp(2 * np.asarray(params.log_scale["kernel"])) * scale**2
    expected = np.zeros((4, 4))
    for row in (0, 1):
        own = slice(2 * row, 2 * row + 2)
        expected[own, own] = parts[row].T @ parts[row] / 2 + np.diag(noise[row])
    spread = np.sqrt(np.diag(expected))
    assert np.max(np.abs((covariance - expected) / np.outer(spread, spread))) < 5 * math.sqrt(2 / num_draws)
    assert np.max(np.abs(expected[:2, :2] - np.diag(np.diag(expected[:2, :2])))) > 0.1 * spread[0] * spread[1]


def test_noise_of_a_mean_over_rows_falls_with_their_number_and_is_that_of_one_draw_without():
    inputs, num_draws = np.tile(np.float32([[1.0, -0.5, 2.0]]), (25, 1)), 2000
    family, params, posterior = family_of(nn.Dense(2, use_bias=False), inputs)
    found = outputs_of(family, params, inputs, num_draws)
    of_one, of_mean = found[:, 0].var(axis=0), found.mean(axis=1).var(axis=0)
    assert of_mean == pytest.approx(of_one / 25, rel=5 * math.sqrt(4 / num_draws))

    def shared(key):
        position = jax.tree.map(lambda z, s: z * s, family.draw(params, key), posterior.prior_scale)
        return posterior.predict(position, posterior.frozen, inputs)

    drawn = np.asarray(jax.vmap(shared)(jax.random.split(jax.random.key(3), num_draws)))[..., :2]
    assert drawn.mean(axis=1).var(axis=0) == pytest.approx(of_one, rel=5 * math.sqrt(4 / num_draws))


@pytest.mark.parametrize("is_convolution", [False, True])
def test_fixed_entries_have_no_noise(is_convolution):
    class OnePixel(nn.Module):
        """A convolution whose centre alone sees the only pixel."""

        @nn.compact
        def __call__(self, x):
            return nn.Conv(4, (3, 3))(x[:, None, None])[:, 0, 0]

    inputs = np.eye(6, dtype=np.float32)
    method = asymjax.WAsym(num_fixed=12 if is_convolution else 2)
    module = OnePixel() if is_convolution else nn.Dense(4)
    family, params, posterior = family_of(module, inputs, method, num_outputs=4)
    frozen = trees.flatten(posterior.frozen)
    (index,) = (leaf for path, leaf in frozen.items() if path.endswith("source_index"))
    (free,) = (leaf for path, leaf in frozen.items() if path.endswith("free_index"))
    is_fixed = np.asarray(index).reshape(-1, 4) == len(free)
    centre = is_fixed[4 * 6 : 5 * 6] if is_convolution else is_fixed
    assert 0 < centre.sum() < centre.size
    bias = next(path for path in trees.flatten(params.factors) if path.endswith("bias"))
    quiet = {path: leaf if path != bias else 0 * leaf for path, leaf in trees.flatten(params.factors).items()}
    scales = {path: leaf if path != bias else leaf - 60 for path, leaf in trees.flatten(params.log_scale).items()}
    params = params._replace(factors=trees.unflatten(quiet), log_scale=trees.unflatten(scales))
    spread = outputs_of(family, params, inputs, 100).std(axis=0)
    assert np.array_equal(spread > 1e-6, ~centre)


def test_a_given_diagonal_costs_what_no_factor_recovers():
    numbers = np.random.default_rng(1)
    inputs = np.float32(numbers.normal(size=(40, 6)) * np.array([3, 2, 1, 0.5, 0.3, 0.2]))
    targets = np.float32(inputs @ numbers.normal(size=(6, 1)) + numbers.normal(size=(40, 1)))
    model = asymjax.from_flax(nn.Dense(1, use_bias=False), inputs)
    prior = asymjax.NormalPrior(scaling="isotropic", output_scale=1.0)
    likelihood = asymjax.Gaussian(noise="fixed", noise_scale=1.0)
    posterior = asymjax.make_posterior(model, (inputs, targets), prior, likelihood)
    precision = inputs.T @ inputs + np.eye(6)
    covariance = inputs @ inputs.T + np.eye(40)
    y = targets[:, 0]
    evidence = -0.5 * (
        y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1] + 40 * math.log(2 * math.pi)
    )
    rank, variance = 2, 0.01
    family = LowRank(
        rank=rank, fixed_variance=variance, local=False, num_samples=16, num_warmup=2000, num_elbo_draws=2000
    )
    options = {"num_chains": 1, "num_draws": 4, "show_progress": False, "start": asymjax.Start(map_steps=0)}
    tuned = asymjax.sample(jax.random.key(0), posterior, sampler=family, **options).tuned
    eigenvalues = np.linalg.eigvalsh(precision)  # Ascending: the factors take the first.
    variances = np.where(np.arange(6) < rank, np.maximum(variance, 1 / eigenvalues), variance)
    gap = 0.5 * np.sum(eigenvalues * variances - np.log(eigenvalues * variances) - 1)
    assert gap > 1
    error = 4 * float(tuned.elbo_error[0])
    assert evidence - float(tuned.elbo[0]) == pytest.approx(gap, abs=0.03 + error)
    assert jnp.allclose(jnp.exp(2 * tuned.params.log_scale["kernel"]), variance)
