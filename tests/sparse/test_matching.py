"""Losses between real and distilled rows, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from asymjax import from_flax, trees
from asymjax.errors import InputError
from asymjax.models import ModelConfig
from asymjax.sparse.matching import (
    DISTANCES,
    MATCHINGS,
    Batches,
    MatchingConfig,
    descend,
    distribution_loss,
    features,
    gradient_loss,
    kernel_gradients,
    label_cross_entropy,
    match_trajectories,
    trajectory_loss,
)
from asymjax.types import Split

CLASSES, ROWS, FEATURES = 3, 8, 5
LABELS = jnp.broadcast_to(jnp.arange(CLASSES)[:, None], (CLASSES, ROWS))


def plain(key, images):
    return images


@pytest.fixture(scope="module")
def real():
    inputs = np.random.default_rng(0).normal(size=(CLASSES, ROWS, FEATURES)) + np.arange(CLASSES)[:, None, None]
    return Batches(jnp.asarray(inputs, jnp.float32), LABELS)


@pytest.fixture(scope="module")
def linear():
    """Return softmax regression, which has no hidden layer."""
    return ModelConfig.of("standard", "mlp", widths=()).build((FEATURES,), CLASSES)


@pytest.fixture(scope="module")
def embedded():
    """Return a network whose features are linear in its inputs."""
    module = nn.Sequential([nn.Dense(4), nn.Dense(CLASSES)])
    return from_flax(module, np.zeros((2, FEATURES), np.float32))


def of_one(images):
    """Return one image a class as Batches."""
    return Batches(images[:, None], LABELS[:, :1])


def at_zero(model):
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), model.params_shape)


def gradients(model, params, rows, frozen=None):
    """Return the gradients of each class, one after the other."""
    return [
        kernel_gradients(model, params, frozen or {}, Split(*(leaf[one] for leaf in rows))) for one in range(CLASSES)
    ]


def loss_of_gradients(model, params, first, second, distance):
    axes = {path: layer.out_axes for path, layer in model.layers.items()}
    pairs = zip(gradients(model, params, first), gradients(model, params, second), strict=True)
    return sum(gradient_loss(distance, one, other, axes) for one, other in pairs)


def fitted(loss, start, rate, num_steps):
    """Return what gradient descent leads to."""

    def step(images, _):
        return images - rate * jax.grad(loss)(images), None

    return jax.jit(lambda images: jax.lax.scan(step, images, None, length=num_steps)[0])(start)


def test_descent_on_means_of_linear_features_finds_the_mean_image_of_each_class(real, embedded):
    draw = lambda key: real  # noqa: E731
    match = MATCHINGS["distribution"](embedded, MatchingConfig(method="distribution"), plain)
    keys = jax.random.split(jax.random.key(0), 16)

    def loss(images):
        def of_key(key):
            return match(key, embedded.init(key, {}), {}, of_one(images), draw, 0.0)[0]

        return jnp.mean(jax.vmap(of_key)(keys))

    found = fitted(loss, jnp.zeros((CLASSES, FEATURES)), 0.2, 1000)
    np.testing.assert_allclose(found, real.inputs.mean(1), atol=1e-4)
    assert loss(found) < 1e-8 < 0.1 < loss(real.inputs[:, 0])


def test_features_are_what_enters_the_output_layer(embedded):
    params, x = embedded.init(jax.random.key(0), {}), jnp.ones((2, FEATURES))
    hidden = x @ params["layers_0"]["kernel"] + params["layers_0"]["bias"][None]
    np.testing.assert_allclose(features(embedded, params, {}, x), hidden, rtol=1e-6)


def test_gradients_of_softmax_regression_at_zero_depend_on_class_means_alone(real, linear):
    params, means = at_zero(linear), real.inputs.mean(1)
    for distance in DISTANCES:
        assert loss_of_gradients(linear, params, real, of_one(means), distance) < 1e-5
        assert loss_of_gradients(linear, params, real, of_one(means[::-1]), distance) > 0.1
    expected = np.outer(means[0], np.full(CLASSES, 1 / CLASSES) - np.eye(CLASSES)[0])
    np.testing.assert_allclose(gradients(linear, params, real)[0]["output/kernel"], expected, rtol=1e-5, atol=1e-6)

    def squared(images):
        return loss_of_gradients(linear, params, real, of_one(images), "squared")

    found = fitted(squared, jnp.zeros((CLASSES, FEATURES)), 0.5, 100)
    np.testing.assert_allclose(found, means, atol=1e-4)


def test_of_two_equal_sets_every_loss_is_zero_and_of_others_it_is_not(real, embedded):
    params = embedded.init(jax.random.key(1), {})
    others = real._replace(inputs=real.inputs[:, ::-1] * 1.5)
    assert distribution_loss(real.inputs, real.inputs) == 0 < distribution_loss(real.inputs, others.inputs)
    for distance in DISTANCES:
        assert abs(loss_of_gradients(embedded, params, real, real, distance)) < 1e-5
        assert loss_of_gradients(embedded, params, real, others, distance) > 1e-3


def test_the_cosine_is_taken_unit_by_unit_and_of_nothing_is_zero():
    real, made = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0]]), np.array([[0.0, 4.0, 0.0], [3.0, 2.0, 0.0]])
    np.testing.assert_allclose(DISTANCES["cosine"](jnp.asarray(real), jnp.asarray(made)), 1.0, atol=1e-5)
    slope = jax.grad(DISTANCES["cosine"], 1)(jnp.zeros((2, 1)), jnp.zeros((2, 1)))
    assert np.isfinite(slope).all()
    images = {"k": jnp.asarray(real.reshape(2, 1, 3))}
    turned = {"k": jnp.asarray(made.reshape(2, 1, 3))}
    assert gradient_loss("cosine", images, turned, {"k": (2,)}) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("arch", ["standard", "w_asym", "syre"])
def test_gradients_are_of_effective_kernels_and_none_of_what_is_fixed(arch, real):
    model = ModelConfig.of(arch, "mlp", widths=(6,)).build((FEATURES,), CLASSES)
    frozen = model.freeze(jax.random.key(0))
    params = model.merge(model.init(jax.random.key(0), frozen), frozen)
    (found, *_) = gradients(model, params, real, frozen)
    assert found.keys() == {"dense_0/kernel", "output/kernel"}
    shapes = trees.flatten(model.params_shape)
    assert {path: leaf.shape for path, leaf in found.items()} == {path: shapes[path].shape for path in found}
    fixed = {} if model.free_mask is None else trees.flatten(model.free_mask(frozen))
    zeros = [np.asarray(leaf)[~np.asarray(fixed[path])] for path, leaf in found.items() if path in fixed]
    assert all((part == 0).all() for part in zeros)
    assert sum(map(len, zeros)) > 0 or arch != "w_asym"


def test_the_loss_of_trajectories_is_one_without_movement_and_zero_at_arrival(real, linear):
    start = linear.init(jax.random.key(0), {})
    end = jax.tree.map(lambda leaf: leaf + 1.0, start)
    assert trajectory_loss(start, start, end) == 1
    assert trajectory_loss(start, end, end) == 0
    half = jax.tree.map(lambda a, b: (a + b) / 2, start, end)
    assert trajectory_loss(start, half, end) == pytest.approx(0.25)
    slope = jax.grad(lambda made: trajectory_loss(start, made, end))(end)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_steps_on_all_real_rows_arrive_where_they_lead(real, linear):
    config = MatchingConfig(method="trajectory", network_steps=3, student_steps=3)
    match = match_trajectories(linear, config, plain)
    start, key = linear.init(jax.random.key(0), {}), jax.random.key(1)
    loss, after = match(key, start, {}, real, lambda key: real, jnp.log(0.1))
    assert loss < 1e-10
    loss, _ = match(key, start, {}, real._replace(inputs=0 * real.inputs), lambda key: real, jnp.log(0.1))
    assert 0.3 < loss < 1  # Biases move.
    rows = real.together()
    expected = descend(linear, start, {}, 0.1, jax.random.split(key, 3), lambda key: rows)
    np.testing.assert_allclose(after["output"]["kernel"], expected["output"]["kernel"], rtol=1e-5)


def test_one_step_of_a_linear_student_has_the_residual_of_least_squares(real, linear):
    """At W = 0 the step of the kernel is linear in one image a class: X^T (p - Y) over the classes."""
    end = jnp.asarray(np.random.default_rng(1).normal(size=(FEATURES, CLASSES)), jnp.float32)
    start, rate = at_zero(linear), 0.5

    def kernel_after(images):
        rows = of_one(images).together()
        return descend(linear, start, {}, rate, jax.random.split(jax.random.key(0), 1), lambda key: rows)["output"][
            "kernel"
        ]

    def loss(images):
        return trajectory_loss(start["output"]["kernel"], kernel_after(images), end)

    errors = np.full((CLASSES, CLASSES), 1 / CLASSES) - np.eye(CLASSES)
    steps = -rate / CLASSES * errors  # Row c: what image c adds to the kernel's columns.
    images, *_ = np.linalg.lstsq(steps.T, np.asarray(end).T, rcond=None)
    residual = np.sum((steps.T @ images - np.asarray(end).T) ** 2) / np.sum(np.asarray(end) ** 2)
    assert 0.05 < residual < 0.95
    assert loss(jnp.asarray(images, jnp.float32)) == pytest.approx(residual, rel=1e-4)
    found = fitted(loss, jnp.zeros((CLASSES, FEATURES)), 20.0, 300)
    assert loss(found) == pytest.approx(residual, rel=1e-3)


def test_hard_labels_are_soft_labels_that_are_certain():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    labels = jnp.array([0, 2, 1, 1])
    np.testing.assert_allclose(
        label_cross_entropy(logits, labels), label_cross_entropy(logits, jax.nn.one_hot(labels, 3)), rtol=1e-6
    )
    expected = optax.softmax_cross_entropy(logits, jnp.full((4, 3), 1 / 3)).mean()
    np.testing.assert_allclose(label_cross_entropy(logits, jnp.full((4, 3), 1 / 3)), expected, rtol=1e-6)


def test_networks_are_trained_between_matchings_of_gradients_on_the_rows_asked_for(real, linear):
    distilled, start, key = of_one(real.inputs[:, 0]), linear.init(jax.random.key(0), {}), jax.random.key(2)
    ends = {}
    for rows in ("distilled", "real"):
        match = MATCHINGS["gradient"](linear, MatchingConfig(network_rows=rows, network_steps=20), plain)
        ends[rows] = match(key, start, {}, distilled, lambda key: real, 0.0)[1]
    losses = {
        rows: label_cross_entropy(linear.forward(end, {}, distilled.together().inputs), distilled.together().targets)
        for rows, end in ends.items()
    }
    assert losses["distilled"] < losses["real"]


def test_what_has_no_features_or_no_steps_is_refused(linear):
    with pytest.raises(InputError, match="network_steps is 0; trajectories need one step"):
        match_trajectories(linear, MatchingConfig(method="trajectory", network_steps=0), plain)
    unknown = linear._replace(layer_inputs=lambda params, frozen, x: {})
    with pytest.raises(InputError, match="features of this network cannot be read"):
        features(unknown, at_zero(linear), {}, jnp.ones((1, FEATURES)))
