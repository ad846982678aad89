"""Networks in order: the density is one over z, starts are brought into order, and the bound is the best there is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import drawn_constants, model_of
from scipy.special import log_expit
from two_units import INPUTS, LOG_EVIDENCE, NOISE, START, TARGETS, Two, fit, log_joint, nodes, posterior_of

import asymjax
from asymjax import trees
from asymjax.errors import InputError
from asymjax.inference.posterior import from_logdensity
from asymjax.inference.vi import MeanField, Ordered
from asymjax.inference.vi.meanfield import DIAGONAL
from asymjax.inference.vi.ordered import ascend, orders_of, put_in_order, unconstrain
from asymjax.symmetry.groups import position_spec
from asymjax.types import Split

BEST = {0: 5.3595, 2: -5.8170, 5: -14.3610}
"""Of the family, by row of the table: quadrature with 60^2 nodes, Nelder-Mead over its four parameters."""


def random_tree(shapes, seed=0):
    """Return a tree of normal numbers."""
    generator = np.random.RandomState(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape), jnp.float32), shapes)


@pytest.fixture(scope="module")
def perceptron():
    """Return a network of two hidden layers with biases, its specification, and what is ordered."""
    model = model_of(widths=(4, 3), norm="none", activation="relu").build((2,), 1)
    spec = position_spec(model, {})
    return model, spec, orders_of(spec)


def test_two_units_reach_the_best_bound():
    """Of the family, which is below the evidence; what the judge says of it agrees."""
    settings = Ordered(num_warmup=1000, num_samples=16, init_scale=0.2, learning_rate=0.03, num_elbo_draws=2000)
    rows = list(BEST)
    fitted = fit(settings, posterior_of(Two(), INPUTS, TARGETS[0], 1.0), START, NOISE[rows], TARGETS[rows])
    points, weights = nodes()
    for i, (row, best) in enumerate(BEST.items()):
        mean, log_scale = (np.ravel(tree["Dense_0"]["kernel"][i]) for tree in fitted.params)
        first, free = (mean + np.exp(log_scale) * points).T
        ordered = np.stack([first, first + np.logaddexp(0, free)], -1)
        log_q = -0.5 * np.square(points).sum(-1) - np.log(2 * np.pi) - log_scale.sum() - log_expit(free)
        bound = weights @ (log_joint(ordered, row) - log_q) + np.log(2)
        assert best - 0.01 < bound < best + 0.001
        assert bound < LOG_EVIDENCE[row]
        # A normal number exceeds 5 standard errors in less than one of a million cases.
        assert abs(fitted.elbo[i] - bound) < 5 * fitted.elbo_error[i]
        np.testing.assert_allclose(fitted.information[i], np.log(2), rtol=1e-6)


def test_density_is_one_over_networks_in_order():
    """It integrates to one over a grid of both weights, is nothing out of order, and its entropy is the integral's."""
    target = posterior_of(Two(), INPUTS, TARGETS[0], 1.0).target()
    family = Ordered().family(target)
    params = Ordered(init_scale=0.4).first(jax.random.key(0), START, target)
    grid = np.linspace(-2, 6, 400, dtype=np.float32) + np.float32(0.01)
    cells = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 1, 2)
    logs = jax.jit(jax.vmap(lambda kernel: family.logdensity(params, {"Dense_0": {"kernel": kernel}})))(cells)
    logs = np.asarray(logs, np.float64)
    out_of_order = cells[:, 0, 0] > cells[:, 0, 1]
    assert np.all(logs[out_of_order] == -np.inf)
    assert np.all(np.isfinite(logs[~out_of_order]))
    mass = np.exp(logs) * (grid[1] - grid[0]) ** 2
    # The density is smooth where it is, and falls to zero towards the boundary: the error of the grid is below 0.001.
    np.testing.assert_allclose(mass.sum(), 1, atol=1e-3)
    finite = mass > 0
    np.testing.assert_allclose(family.entropy(params), -np.sum(mass[finite] * logs[finite]), atol=5e-3)


def test_starts_come_into_order_and_are_the_same_function(perceptron):
    """By permutations of whole units; what is unconstrained leads back to them."""
    model, spec, orders = perceptron
    assert [order.num_units for order in orders] == [4]
    assert orders[0].path.endswith("bias")
    z = random_tree(model.params_shape)
    ordered = put_in_order(z, spec, orders)
    bias = trees.flatten(ordered)[orders[0].path]
    np.testing.assert_array_equal(bias, np.sort(trees.flatten(z)[orders[0].path]))
    inputs = np.random.RandomState(1).normal(size=(5, 2)).astype(np.float32)
    np.testing.assert_allclose(model.forward(ordered, {}, inputs), model.forward(z, {}, inputs), rtol=1e-4, atol=1e-5)
    back = ascend(unconstrain(ordered, orders, 1e-6), orders)
    trees.flatten(jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), back, ordered))


def test_a_group_of_nothing_but_the_identity_is_mean_field():
    """Its family is the same, and so are its parameters at a start."""
    model = model_of("w_asym", widths=(4,), norm="none", num_fixed=1).build((6,), 1)
    data = Split(np.zeros((3, 6), np.float32), np.zeros((3, 1), np.float32))
    target = asymjax.make_posterior(model, data, frozen=drawn_constants(model)).target()
    assert Ordered().family(target) is DIAGONAL
    z = random_tree(target.posterior.shape)
    mine, plain = (algorithm.first(jax.random.key(0), z, target) for algorithm in (Ordered(), MeanField()))
    jax.tree.map(np.testing.assert_array_equal, mine, plain)


def test_what_cannot_be_is_refused():
    """Averages over the group, and densities of no network."""
    target = posterior_of(Two(), INPUTS, TARGETS[0], 1.0).target()
    with pytest.raises(InputError, match="symmetrise is bethe"):
        Ordered(symmetrise="bethe").family(target)
    density = from_logdensity(lambda z: -jnp.sum(jnp.square(z)), jnp.zeros(2)).target()
    with pytest.raises(InputError, match="no units to order"):
        Ordered().family(density)
