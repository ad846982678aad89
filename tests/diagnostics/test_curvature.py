"""Curvature from products with the Hessian: known quadratics, a small network beside `jax.hessian`, masks and paths."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from asymjax.diagnostics.curvature import (
    curvature,
    curvature_along,
    hessian_diagonal,
    largest_eigenvalue,
    mean_loss,
    stability_ratio,
    summarise_diagonal,
)
from asymjax.models import ModelConfig
from asymjax.models.backbones import MLP
from asymjax.symmetry import connectivity
from asymjax.train.losses import cross_entropy
from asymjax.types import Split

KEY = jax.random.key(0)
SIZE = 30
GENERATOR = np.random.default_rng(0)
AT = {"a": jnp.ones((4, 5)), "b": jnp.zeros(10)}
KEPT = {"a": jnp.asarray(GENERATOR.random((4, 5)) < 0.5), "b": jnp.ones(10, bool)}
ROTATION = np.linalg.qr(GENERATOR.normal(size=(SIZE, SIZE)))[0]


def quadratic(matrix):
    matrix = jnp.asarray(matrix, jnp.float32)

    def loss(position):
        flat = ravel_pytree(position)[0]
        return flat @ matrix @ flat / 2

    return loss


def with_eigenvalues(values):
    return ROTATION * np.asarray(values) @ ROTATION.T


def kept_of(matrix):
    chosen = np.flatnonzero(ravel_pytree(KEPT)[0])
    return matrix[np.ix_(chosen, chosen)]


POSITIVE = with_eigenvalues(np.geomspace(0.1, 10, SIZE))
INDEFINITE = with_eigenvalues(np.r_[-8.0, np.linspace(-1, 3, SIZE - 1)])
on_quadratic = jax.jit(
    lambda matrix, key, num_probes: hessian_diagonal(quadratic(matrix), AT, key, num_probes=num_probes),
    static_argnames="num_probes",
)


def test_one_probe_meets_a_diagonal_hessian():
    entries = GENERATOR.normal(size=SIZE)
    found = on_quadratic(np.diag(entries), KEY, num_probes=1)
    np.testing.assert_allclose(ravel_pytree(found.diagonal)[0], entries, rtol=1e-5)
    np.testing.assert_allclose(found.trace, entries.sum(), rtol=1e-5)
    assert np.isnan(found.trace_error)


def test_the_estimate_is_unbiased_and_its_error_falls_as_the_root_of_the_probes():
    keys = jax.random.split(KEY, 400)

    def errors(num_probes):
        found = jax.vmap(lambda key: on_quadratic(POSITIVE, key, num_probes=num_probes))(keys)
        flat = jax.vmap(lambda tree: ravel_pytree(tree)[0])(found.diagonal)
        return np.asarray(flat) - np.diag(POSITIVE), found

    few, found = errors(4)
    many, _ = errors(64)
    variances = np.sum(POSITIVE**2, axis=1) - np.diag(POSITIVE) ** 2
    # Of 30 entries; 4.5 standard errors of 400 means are passed by chance once in 5000 runs of other keys.
    assert np.all(np.abs(few.mean(axis=0)) < 4.5 * np.sqrt(variances / 4 / 400))
    np.testing.assert_allclose(np.mean(few**2, axis=0).sum(), variances.sum() / 4, rtol=0.1)
    np.testing.assert_allclose(np.mean(few**2) / np.mean(many**2), 16, rtol=0.15)
    off = np.asarray(found.trace) - np.trace(POSITIVE)
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(found.trace_error))), np.std(off), rtol=0.1)
    assert abs(off.mean()) < 3.5 * off.std() / 20


def test_entries_that_are_not_kept_have_no_curvature_and_meet_no_probe():
    found = jax.jit(lambda key: hessian_diagonal(quadratic(POSITIVE), AT, key, KEPT, 200))(KEY)
    assert not np.any(np.asarray(found.diagonal["a"])[~np.asarray(KEPT["a"])])
    own = kept_of(POSITIVE)
    assert abs(found.trace - np.trace(own)) < 3 * found.trace_error < 0.2 * np.trace(own)
    whole = jax.jit(lambda key: hessian_diagonal(quadratic(POSITIVE), AT, key, num_probes=200))(KEY)
    assert abs(whole.trace - found.trace) > 3 * found.trace_error
    told = summarise_diagonal(found.diagonal, KEPT)
    np.testing.assert_allclose(told["mean"], found.trace / len(own), rtol=1e-5)
    np.testing.assert_allclose(
        told["percentile_99"], np.percentile(ravel_pytree(found.diagonal)[0][ravel_pytree(KEPT)[0]], 99), rtol=1e-5
    )


@pytest.mark.parametrize("matrix", [POSITIVE, INDEFINITE], ids=["positive", "indefinite"])
@pytest.mark.parametrize("kept", [None, KEPT], ids=["dense", "sparse"])
def test_the_largest_eigenvalue_is_that_of_the_kept_entries_with_its_sign(matrix, kept):
    own = matrix if kept is None else kept_of(matrix)
    values = np.linalg.eigvalsh(own)
    # As many steps as entries, more than are kept: what is left then is rounding, and is cut off.
    found = jax.jit(lambda key: largest_eigenvalue(quadratic(matrix), AT, key, kept, num_steps=100))(KEY)
    np.testing.assert_allclose(found.value, values[-1], rtol=1e-4)
    assert found.residual < 1e-3 * values[-1]
    if matrix is INDEFINITE and kept is None:
        assert -values[0] > values[-1]


def test_of_too_few_steps_the_residual_says_how_far_off_an_eigenvalue_may_be():
    found = jax.jit(lambda key: largest_eigenvalue(quadratic(POSITIVE), AT, key, num_steps=3))(KEY)
    values = np.linalg.eigvalsh(POSITIVE)
    assert found.value < values[-1]
    assert 1e-3 < np.abs(values - found.value).min() < found.residual


@pytest.mark.parametrize("entries", [np.zeros(SIZE), np.full(SIZE, -2.0), np.r_[np.zeros(SIZE - 1), 5.0]])
def test_hessians_of_one_or_two_eigenvalues_exhaust_the_steps_at_once(entries):
    found = jax.jit(lambda matrix: largest_eigenvalue(quadratic(matrix), AT, KEY))(np.diag(entries))
    np.testing.assert_allclose(found.value, entries.max(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.residual, 0, atol=1e-4)


# A network of 195 parameters --------------------------------------------------------------------------------------

MODEL = ModelConfig(backbone=MLP((12,), norm="none", activation="tanh")).build((12,), 3)
ROWS = Split(GENERATOR.normal(size=(50, 12)).astype("float32"), GENERATOR.integers(0, 3, 50))
NETWORKS = jax.jit(jax.vmap(lambda key: MODEL.init(key, {})))(jax.random.split(KEY, 2))
FIRST, SECOND = (jax.tree.map(lambda leaf, i=i: leaf[i], NETWORKS) for i in (0, 1))


@pytest.fixture(scope="module")
def in_batches():
    """Return the loss over rows in three batches, the last of which is not full."""
    inputs = np.zeros((54, 12), np.float32)
    inputs[:50] = ROWS.inputs
    rows = connectivity.Rows(jnp.asarray(inputs.reshape(3, 18, 12)), jnp.asarray(ROWS.targets))
    return mean_loss(MODEL, "classification", {}, rows)


@pytest.fixture(scope="module")
def hessian():
    """Return the Hessian of the plain loss at the first network."""
    flat, nested = ravel_pytree(FIRST)
    plain = partial(cross_entropy, MODEL.apply, frozen={}, batch=ROWS)
    return np.asarray(jax.jit(jax.hessian(lambda flat: plain(nested(flat))))(flat))


def test_a_network_has_the_curvature_of_its_hessian(in_batches, hessian):
    found = jax.jit(jax.vmap(lambda position: hessian_diagonal(in_batches, position, KEY, num_probes=1000)))(NETWORKS)
    diagonal = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], found.diagonal))[0]
    variances = np.sum(hessian**2, axis=1) - np.diag(hessian) ** 2
    score = np.abs(diagonal - np.diag(hessian)) / np.sqrt(variances / 1000 + 1e-16)
    # Of 195 entries half a one is beyond three standard errors.
    assert len(score) == 195 and np.sum(score > 3) <= 3 and np.max(score) < 4.5
    assert abs(found.trace[0] - np.trace(hessian)) < 3 * found.trace_error[0]
    assert found.trace[0] != found.trace[1]
    largest = jax.jit(lambda position: largest_eigenvalue(in_batches, position, KEY))(FIRST)
    np.testing.assert_allclose(largest.value, np.linalg.eigvalsh(hessian)[-1], rtol=1e-3)


def test_the_loss_in_batches_is_that_of_all_rows(in_batches):
    expected = cross_entropy(MODEL.apply, FIRST, {}, ROWS)
    np.testing.assert_allclose(jax.jit(in_batches)(FIRST), expected, rtol=1e-5)
    regression = ModelConfig(backbone=MLP((4,), norm="none")).build((12,), 2)
    position = regression.init(KEY, {})
    numbers = Split(ROWS.inputs, GENERATOR.normal(size=(50, 2)).astype("float32"))
    loss = mean_loss(regression, "regression", {}, connectivity.in_batches(numbers))
    expected = np.mean((regression.apply(position, {}, numbers.inputs) - numbers.targets) ** 2)
    np.testing.assert_allclose(loss(position), expected, rtol=1e-5)


def test_a_quadratic_is_as_curved_everywhere_on_a_path_and_a_network_is_not(in_batches, hessian):
    along = jax.jit(partial(curvature_along, points=[0, 0.25, 0.5, 0.75, 1], key=KEY), static_argnums=0)
    other = jax.tree.map(lambda leaf: leaf + 3, AT)
    found = along(quadratic(POSITIVE), AT, other)
    assert found.trace.shape == (5,)
    for leaf in found[:3]:
        np.testing.assert_allclose(leaf, leaf[0], rtol=1e-4)
    np.testing.assert_allclose(found.largest, 10, rtol=1e-4)
    between = along(in_batches, FIRST, jax.tree.map(lambda leaf: 4 * leaf, SECOND))
    assert np.ptp(between.trace) > 3 * np.max(between.trace_error)
    # The probes of one key are the same at all points, so that one point alone has the numbers that it has on the path.
    alone = jax.jit(lambda: curvature(in_batches, FIRST, KEY))()
    for at, leaf in zip(alone[:3], between[:3], strict=True):
        np.testing.assert_allclose(at, leaf[0], rtol=1e-4)
    assert abs(alone.trace - np.trace(hessian)) < 3 * alone.trace_error


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_gradient_descent_leaves_a_quadratic_where_the_ratio_passes_one(momentum):
    for learning_rate in (0.9, 1.1) * np.array((2 + 2 * momentum) / 5.0):
        place, before = 1.0, 1.0
        for _ in range(300):
            place, before = place - learning_rate * 5.0 * place + momentum * (place - before), place
        assert (abs(place) > 1) == (stability_ratio(learning_rate, momentum, jnp.float32(5.0)) > 1)
