"""Symmetrised variational inference where everything is known: two units, whose evidence and bounds are integrals.

The model is tanh(w1 x) + tanh(w2 x) with standard normal priors, at eight inputs and targets without noise. Expected
evidences, bounds and parameters are those of quadrature and of a search without derivatives, by other code.
"""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import binom, norm
from two_units import (
    INPUTS,
    LOG_EVIDENCE,
    NOISE,
    PLAIN,
    SYMMETRISED,
    TARGETS,
    WEIGHTS,
    Two,
    log_joint,
    nodes,
    posterior_of,
    target_of,
)

import asymjax
from asymjax import sampling
from asymjax.errors import InputError
from asymjax.inference.vi import FullRank, LowRank, MeanField
from asymjax.inference.vi.family import Rows, bound, make_joint
from asymjax.inference.vi.group import Group, group_of, information
from asymjax.inference.vi.meanfield import DIAGONAL, Diagonal
from asymjax.types import Perm

MAX_STANDARD_ERRORS = 5
FALSE_ALARM_RATE = 3e-5  # Normal tails at five standard errors (5.7e-7 on both sides), 49 comparisons.
PLAIN_PARAMS = [
    (1.860, 0.522, 0.246, 0.051),
    (1.191, 0.788, 0.328, 0.218),
    (0.992, 0.992, 0.401, 0.401),
    (1.238, 1.238, 0.316, 0.316),
    (1.054, 1.054, 0.269, 0.269),
    (0.721, 0.721, 0.710, 0.710),
]
SYMMETRISED_PARAMS = [
    (1.860, 0.522, 0.246, 0.051),
    (1.415, 0.654, 0.356, 0.172),
    (1.340, 0.671, 0.452, 0.274),
    (1.540, 0.974, 0.359, 0.225),
    (1.346, 0.815, 0.315, 0.189),
    (1.059, 0.349, 0.641, 0.642),
]
ROW = 1
"""The row in which the units overlap in part, for what takes one."""


@cache
def two_units(row=ROW):
    return posterior_of(Two(), INPUTS, TARGETS[row], NOISE[row])


def position_of(weights):
    return {"Dense_0": {"kernel": weights.reshape(1, -1)}}


def params_of(flat):
    """Return means and log scales, of [4] as they stand in the table, with logs of scales."""
    return Diagonal(position_of(flat[:2]), position_of(flat[2:]))


AT_NODES = DIAGONAL._replace(
    draw=lambda params, node: jax.tree.map(lambda m, s: m + jnp.exp(s) * node.reshape(m.shape), *params)
)
"""The family with nodes instead of keys."""


def bounds(flat, targets, noise, estimator="exact", key=None, num_nodes=30):
    """Return the bound of some parameters [4] and what symmetrisation adds, by quadrature."""
    target, params = target_of(two_units(), noise, targets), params_of(flat)
    joint, group = make_joint(target, None, 1.0), group_of(target)
    points, weights = nodes(num_nodes)
    keys = jax.random.split(jax.random.key(0) if key is None else key, len(points))

    def one(node, key):
        elbo, z = bound(AT_NODES, params, joint, node, Rows(target.posterior.data, 1.0))
        return elbo, information(key, AT_NODES, params, z, group, estimator, 4)

    elbos, added = jax.vmap(one)(points, keys)
    return weights @ elbos, weights @ added


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """Read the network before anything is traced."""
    two_units()


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def evidence():
    """Log evidences of all rows, of a grid of weights."""
    line = np.linspace(-6, 6, 301)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)

    def logdensity(weights, targets, noise):
        target = target_of(two_units(), noise, targets)
        joint = make_joint(target, None, 1.0)
        position = position_of(weights)
        return joint.loglikelihood(position, Rows(target.posterior.data, 1.0)) + joint.logprior(position)

    with jax.enable_x64(True):
        of_grid = jax.jit(jax.vmap(logdensity, (0, None, None)))
        rows = [of_grid(grid, *row) for row in zip(TARGETS, NOISE, strict=True)]
    return logsumexp(np.stack(rows), axis=1) + 2 * np.log(line[1] - line[0])


@pytest.fixture(scope="module")
def fits():
    """Plain and symmetrised optima of all rows: bounds, what is added, and parameters [two, row]."""
    targets = np.tile(TARGETS, (2, 1, 1))
    noise, is_added = np.tile(NOISE, 2), np.repeat([0.0, 1.0], 6)

    def losses(flat):
        elbos, added = jax.vmap(bounds)(flat.reshape(12, 4), targets, noise)
        total = elbos + is_added * added
        return -jnp.sum(total), (total, added)

    with jax.enable_x64(True):
        function = jax.jit(jax.value_and_grad(losses, has_aux=True))

        def loss(flat):
            (value, _), gradient = function(flat)
            return float(value), np.asarray(gradient)

        apart = WEIGHTS + np.array([0.2, -0.2]) * (WEIGHTS[:, :1] == WEIGHTS[:, 1:])
        start = np.tile(np.concatenate([apart, np.full((6, 2), -1.5)], axis=1), (2, 1))
        found = minimize(
            loss,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 500, "maxcor": 40, "ftol": 1e-13, "gtol": 1e-5},
        )
        _, (total, added) = function(found.x)[0]
    flat = found.x.reshape(2, 6, 4)
    params = np.concatenate([flat[..., :2], np.exp(flat[..., 2:])], axis=-1)
    return np.reshape(total, (2, 6)), np.reshape(added, (2, 6)), params


def test_evidence_is_that_of_the_table(evidence):
    np.testing.assert_allclose(evidence, LOG_EVIDENCE, atol=1e-4)


@pytest.mark.parametrize(
    ("which", "expected", "expected_params"), [(0, PLAIN, PLAIN_PARAMS), (1, SYMMETRISED, SYMMETRISED_PARAMS)]
)
def test_bounds_and_parameters_are_those_of_the_table(which, expected, expected_params, fits):
    total, _, params = fits
    # The table has four digits of bounds and three of parameters; the search ends within as much.
    np.testing.assert_allclose(total[which], expected, atol=2e-4)
    swapped = params[which][:, [1, 0, 3, 2]]
    is_swapped = (params[which][:, 0] < params[which][:, 1])[:, None]
    np.testing.assert_allclose(np.where(is_swapped, swapped, params[which]), expected_params, atol=1e-3)


def test_what_is_added_is_that_of_the_table(fits):
    _, added, _ = fits
    np.testing.assert_allclose(added[0], [math.log(2), 0.3684, 0, 0, 0, 0], atol=2e-3)
    np.testing.assert_allclose(added[1], [math.log(2), 0.6295, 0.4673, 0.4871, 0.5237, 0.2363], atol=5e-3)


def test_symmetrised_bounds_are_between_plain_ones_and_the_evidence(float64, evidence):
    numbers = np.random.default_rng(0)
    flat = np.concatenate([numbers.normal(size=(1000, 2)), numbers.uniform(-2.5, 0, (1000, 2))], axis=1)
    targets = TARGETS[ROW]

    def of(estimator):
        def one(args):
            return bounds(args[0], targets, NOISE[ROW], estimator, args[1], num_nodes=20)

        return jax.jit(lambda flat, keys: jax.lax.map(one, (flat, keys), batch_size=100))

    keys = jax.random.split(jax.random.key(1), 1000)
    (elbo, exact), (_, drawn) = ([np.asarray(part) for part in of(name)(flat, keys)] for name in ("exact", "infonce"))
    assert np.all(exact > -1e-6) and np.all(exact < math.log(2) + 1e-6)
    assert np.all(elbo + exact < evidence[ROW])
    # What is drawn is above zero and below the exact value in expectation: tried on settings with about as much.
    for group in np.array_split(np.argsort(exact), 10):
        for difference in (drawn[group], (exact - drawn)[group]):
            error = np.std(difference) / math.sqrt(len(group))
            assert np.mean(difference) > -MAX_STANDARD_ERRORS * error - 1e-6


def test_information_of_a_sign_is_that_of_the_length_of_the_mean(float64):
    group = Group({"unit": (Perm("units", 1),)}, {"units": 1}, frozenset({"units"}))
    points, weights = nodes(60, 1)

    def of(length):
        params = Diagonal({"unit": 2 * length[None]}, {"unit": jnp.full(1, math.log(2))})

        def one(node):
            z = AT_NODES.draw(params, node)
            return information(jax.random.key(0), AT_NODES, params, z, group, "exact", 1)

        return weights @ jax.vmap(one)(points)

    lengths = np.array([0, 0.25, 0.5, 1, 1.5, 2, 3])
    expected = [0, 0.0303, 0.1114, 0.3368, 0.5268, 0.6327, 0.6893]
    np.testing.assert_allclose(jax.jit(jax.vmap(of))(lengths), expected, atol=1e-4)


@pytest.mark.parametrize(("variance", "gap"), [(1.0, 0.1438), (0.1, 0.8756), (0.01, 1.9635)])
def test_gap_of_a_linear_model_with_an_invariance(variance, gap, float64):
    y = 0.7
    posterior = posterior_of(Two(is_linear=True), np.ones((1, 1)), np.full((1, 1), y), math.sqrt(variance))
    target = posterior.target()
    joint = make_joint(target, None, 1.0)
    points, weights = nodes(3)  # Exact for squares.

    @jax.jit
    @jax.value_and_grad
    def elbo(flat):
        rows = Rows(target.posterior.data, 1.0)
        return weights @ jax.vmap(lambda node: bound(AT_NODES, params_of(flat), joint, node, rows)[0])(points)

    best = np.repeat([y / (2 + variance), -0.5 * math.log(1 + 1 / variance)], 2)
    value, gradient = elbo(best)
    # Data are of float32: relative errors of 1e-7 in numbers of about 1 / variance.
    np.testing.assert_allclose(gradient, 0, atol=1e-6 / variance)
    evidence = norm.logpdf(y, 0, math.sqrt(2 + variance))
    np.testing.assert_allclose(evidence - value, gap, atol=1e-4)
    np.testing.assert_allclose(gap, math.log1p(1 / variance) - 0.5 * math.log1p(2 / variance), atol=1e-4)


def test_a_network_without_symmetries_is_fitted_as_without_symmetrising():
    module = nn.Sequential([nn.Dense(3), nn.tanh, nn.Dense(1)])
    model = asymjax.from_flax(module, INPUTS[:, [0, 0, 0]].astype(np.float32), asymjax.WAsym(num_fixed=1))
    target = asymjax.make_posterior(model, (INPUTS[:, [0, 0, 0]], INPUTS)).target()
    position = target.posterior.init(jax.random.key(1), target.posterior.frozen)

    def outcome(algorithm):
        def run(key):
            parts = algorithm.parts(target)
            params = algorithm.first(key, position, target)
            (total, added), gradient = jax.value_and_grad(
                lambda params: algorithm.objective(parts, params, key), has_aux=True
            )(params)
            fitted = algorithm.begin(key, position, target).fitted._replace(params=params)
            sampler = algorithm.make(target, fitted)
            return added, total, gradient, sampler.step(key, sampler.init(key, position))[0]

        return jax.jit(run)(jax.random.key(2))

    added, *plain = outcome(MeanField())
    also_added, *symmetrised = outcome(MeanField(symmetrise="exact"))
    assert added == also_added == 0.0
    jax.tree.map(np.testing.assert_array_equal, symmetrised, plain)


# Gradients -------------------------------------------------------------------------------------------------------


def bound_of_elements(flat, row, num_elements=math.inf):
    """Return the bound of some parameters [4] by quadrature, averaged over uniform elements, the identity among them.

    Others swap the units or not, so that what is averaged is known by how many of them do; of infinitely many half.
    """
    points, weights = nodes()
    mean, scale = flat[:2], np.exp(flat[2:])
    z = mean + scale * points
    own, other = (np.prod(norm.pdf(at, mean, scale), axis=-1) for at in (z, z[:, ::-1]))
    if num_elements == math.inf:
        return weights @ (log_joint(z, row) - np.log((own + other) / 2))
    swaps = np.arange(num_elements)
    averages = (np.outer(own, num_elements - swaps) + np.outer(other, swaps)) / num_elements
    return weights @ (log_joint(z, row) - np.log(averages) @ binom.pmf(swaps, num_elements - 1, 0.5))


@pytest.mark.parametrize(("estimator", "num_elements"), [("exact", math.inf), ("infonce", 4)])
def test_gradients_of_symmetrised_bounds_are_unbiased(estimator, num_elements):
    """Reparametrised, and along the path: there q has its parameters stopped and the average has not."""
    row, flat = 5, np.array([1.2, 0.5, math.log(0.6), math.log(0.5)])
    target, params = two_units(row).target(), params_of(jnp.asarray(flat, jnp.float32))

    def gradients(key):
        def one(gradient):
            algorithm = MeanField(gradient=gradient, symmetrise=estimator, num_elements=4)
            parts = algorithm.parts(target)
            found = jax.grad(lambda params: algorithm.objective(parts, params, key)[0])(params)
            return ravel_pytree(found)[0]

        return jnp.stack([one("reparametrised"), one("path")])

    drawn = np.asarray(jax.jit(jax.vmap(gradients))(jax.random.split(jax.random.key(0), 20_000)))
    step = 1e-3
    around = [[bound_of_elements(flat + sign * h, row, num_elements) for sign in (1, -1)] for h in step * np.eye(4)]
    expected = -np.diff(around)[:, 0] / (2 * step)  # To 1e-6, of third derivatives of about one.
    errors = (drawn.mean(0) - expected) / (drawn.std(0) / math.sqrt(len(drawn)))
    assert np.all(np.abs(errors) < MAX_STANDARD_ERRORS)


# A fit by steps --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    """Draws of a symmetrised fit of two seeds."""
    sampler = MeanField(
        num_warmup=2000, num_samples=16, learning_rate=0.02, init_scale=0.2, symmetrise="exact", num_elbo_draws=2000
    )
    start = {"Dense_0": {"kernel": jnp.asarray([[[1.8, 0.4]], [[0.8, 1.6]]])}}
    options = {"num_chains": 2, "num_draws": 1000, "start": start, "show_progress": False}
    return asymjax.sample(jax.random.key(0), two_units(), sampler=sampler, **options)


def test_a_fit_by_steps_has_the_bound_of_the_table(fitted):
    tuned = fitted.tuned
    # The optimum is flat: parameters within .05 of it lose less than 5e-3.
    assert np.all(np.abs(tuned.elbo - SYMMETRISED[ROW]) < MAX_STANDARD_ERRORS * tuned.elbo_error + 5e-3)
    np.testing.assert_allclose(tuned.information, 0.6295, atol=0.05)


def test_draws_have_both_orders_and_the_predictions_of_plain_ones(fitted):
    weights = fitted.position["Dense_0"]["kernel"][:, :, 0]
    means, scales = (leaf["Dense_0"]["kernel"] for leaf in fitted.tuned.params)
    noise = np.random.default_rng(0).normal(size=weights.shape)
    plain = means + np.exp(scales) * noise
    for drawn, of_one in zip(weights, plain, strict=True):
        share = np.mean(drawn[:, 0] > drawn[:, 1])
        assert abs(share - 0.5) < MAX_STANDARD_ERRORS * 0.5 / math.sqrt(len(drawn))
        found, expected = (np.sum(np.tanh(INPUTS[None] * w[:, None]), axis=-1) for w in (drawn, of_one))
        error = np.sqrt((np.var(found, axis=0) + np.var(expected, axis=0)) / len(drawn))
        # Inputs are even, and outputs odd: four comparisons.
        assert np.all(np.abs(np.mean(found, axis=0) - np.mean(expected, axis=0)) < MAX_STANDARD_ERRORS * error)


def test_what_cannot_be_symmetrised_is_refused_before_optima_are_trained(monkeypatch):
    def logdensity(x):
        return -jnp.sum(jnp.square(x))

    options = {"num_fits": 1, "show_progress": False}
    with pytest.raises(InputError, match="a log density has no units"):
        asymjax.fit(jax.random.key(0), logdensity, jnp.zeros(2), family=MeanField(symmetrise="bethe"), **options)
    monkeypatch.setattr(sampling, "find_start", lambda *args: pytest.fail("optima were trained"))
    for family in (FullRank, LowRank):
        with pytest.raises(InputError, match="bethe is for families with independent entries"):
            asymjax.fit(jax.random.key(0), two_units(), family=family(symmetrise="bethe"), **options)


def test_units_that_are_not_whole_axes_are_averaged_by_random_elements_alone():
    nested = Group({"kernel": ("within",)}, {}, frozenset())
    with pytest.raises(InputError, match="bethe needs a layer whose units are whole axes"):
        information(jax.random.key(0), DIAGONAL, None, None, nested, "bethe", 2)
