"""Distillation in memory: what it finds, what it counts, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asymjax import data
from asymjax.errors import DivergedError, InputError
from asymjax.models import ModelConfig
from asymjax.sparse import distill, soft_cross_entropy
from asymjax.sparse.distillation import (
    DistillationConfig,
    by_class,
    count_cost,
    draw_rows,
    make_distiller,
)
from asymjax.sparse.tiles import decode, encode
from asymjax.train import make_train
from asymjax.types import Split

KEY = jax.random.key(0)
CLASSES, FEATURES = 3, 6


@pytest.fixture(scope="module")
def rows():
    """Return rows around three means, as many of each class."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), 20)
    inputs = 3 * np.eye(CLASSES, FEATURES)[labels] + generator.normal(size=(60, FEATURES))
    order = generator.permutation(60)
    return inputs[order].astype(np.float32), labels[order]


@pytest.fixture(scope="module")
def linear():
    return ModelConfig.of("standard", "mlp", widths=()).build((FEATURES,), CLASSES)


@pytest.fixture(scope="module")
def hidden():
    return ModelConfig.of("w_asym", "mlp", widths=(6,), num_fixed=2).build((FEATURES,), CLASSES)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_one_image_a_class_by_means_of_inputs_is_the_class_mean(rows, linear):
    options = {"method": "distribution", "images_per_class": 1, "real_per_class": 20, "num_steps": 60}
    found = distill(KEY, linear, rows, num_networks=1, optimizer=optax.sgd(0.25), **options)
    means = np.stack([rows[0][rows[1] == one].mean(0) for one in range(CLASSES)])
    np.testing.assert_allclose(found.inputs, means, atol=1e-4)
    np.testing.assert_array_equal(found.targets, range(CLASSES))
    assert found.losses[0] > 1 and found.losses[-1] < 1e-8
    assert found.counts == (3, 3, 60 * 60, 60 * 3, 60)


@pytest.mark.parametrize("method", ["distribution", "gradient", "trajectory"])
def test_each_method_turns_noise_into_rows_of_their_class(method, rows, hidden):
    options = {"method": method, "images_per_class": 2, "num_steps": 42, "num_networks": 2, "real_per_class": 8}
    found = distill(KEY, hidden, rows, start="noise", image_learning_rate=0.1, num_matches=3, **options)
    assert found.losses[-6:].mean() < 0.8 * found.losses[:6].mean()
    assert found.inputs.shape == (6, FEATURES) and found.targets.dtype == np.int32
    means = np.stack([rows[0][rows[1] == one].mean(0) for one in range(CLASSES)])
    nearest = np.linalg.norm(found.inputs[:, None] - means[None], axis=2).argmin(1)
    assert (nearest == found.targets).mean() >= 5 / 6


def test_a_learning_rate_that_is_too_high_is_learned_to_be_lower(rows, linear):
    options = {"method": "trajectory", "images_per_class": 1, "num_networks": 1, "network_steps": 2, "student_steps": 1}
    found = distill(KEY, linear, rows, network_learning_rate=2.0, num_steps=60, image_learning_rate=0.05, **options)
    assert found.losses[0] > 1 > found.losses[-5:].mean()
    assert 0 < found.learning_rate < 4
    assert distill(KEY, linear, rows, method="gradient", num_steps=1, images_per_class=1).learning_rate is None


def test_learned_labels_are_shares_that_networks_can_be_trained_on(rows, linear):
    options = {"images_per_class": 1, "num_steps": 30, "num_networks": 2, "image_learning_rate": 0.1}
    found = distill(KEY, linear, rows, learn_labels=True, method="trajectory", **options)
    assert found.targets.shape == (CLASSES, CLASSES) and found.targets.dtype == np.float32
    np.testing.assert_allclose(found.targets.sum(1), 1, rtol=1e-5)
    begun = jax.nn.softmax(5.0 * jnp.eye(CLASSES))
    assert np.abs(found.targets - begun).max() > 1e-3
    trainer = make_train(linear, soft_cross_entropy, optax.sgd(0.5), 30, None)
    state, _ = trainer.train(KEY, {}, Split(found.inputs, found.targets))
    right = linear.apply(state.position, {}, jnp.asarray(rows[0])).argmax(1) == rows[1]
    assert right.mean() > 0.8


def test_batches_have_rows_of_their_class_and_none_twice(rows):
    sorted_rows = by_class(Split(*rows), CLASSES)
    for key in jax.random.split(KEY, 3):
        inputs, labels = draw_rows(key, sorted_rows, 20)
        for one in range(CLASSES):
            own = rows[0][rows[1] == one]
            assert sorted(map(tuple, np.asarray(inputs[one]).tolist())) == sorted(map(tuple, own.tolist()))
        np.testing.assert_array_equal(labels, np.arange(CLASSES)[:, None].repeat(20, 1))
    few = [np.asarray(draw_rows(key, sorted_rows, 2).inputs[0, 0]) for key in jax.random.split(KEY, 12)]
    assert len({tuple(row) for row in few}) > 4


def test_tiles_come_row_by_row_and_labels_are_repeated(digits):
    images = np.zeros((2, 32, 32, 3), np.float32)
    for place, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        images[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = (
            place + np.array([0, 10])[:, None, None, None]
        )
    found = decode(jnp.asarray(images), 2)
    assert found.shape == (8, 32, 32, 3)
    np.testing.assert_allclose(found.mean((1, 2, 3)), [0, 1, 2, 3, 10, 11, 12, 13], rtol=1e-6)
    assert np.asarray(found).std((1, 2, 3)).max() < 1e-5
    smooth = jnp.broadcast_to(jnp.linspace(0, 1, 32)[None, :, None, None], (4, 32, 32, 1))
    np.testing.assert_allclose(decode(encode(smooth, 2), 2)[:, 4:-4], smooth[:, 4:-4], atol=0.02)
    model = ModelConfig.of("standard", "mlp", widths=()).build((8, 8, 1), 10)
    made = distill(KEY, model, digits, method="distribution", images_per_class=1, factor=2, num_steps=1, num_networks=1)
    assert (made.stored.shape, made.inputs.shape) == ((10, 8, 8, 1), (40, 8, 8, 1))
    np.testing.assert_array_equal(made.targets, np.arange(10).repeat(4))
    np.testing.assert_allclose(made.inputs, decode(jnp.asarray(made.stored), 2), rtol=1e-6)
    assert made.counts[:2] == (10, 40)


def test_networks_at_once_and_in_turn_agree_and_chunks_join(rows, linear):
    config = DistillationConfig(images_per_class=1, num_steps=4, num_networks=3, num_matches=2, network_steps=2)
    frozen, sorted_rows = {}, by_class(Split(*rows), CLASSES)
    ends = []
    for at_once, chunks in ((1, (4,)), (3, (4,)), (1, (2, 2))):
        distiller = make_distiller(linear, config, (FEATURES,), CLASSES, at_once)
        state, losses = distiller.init(KEY, frozen, sorted_rows), []
        advance = jax.jit(distiller.advance, static_argnums=4)
        for size in chunks:
            state, found = advance(KEY, state, frozen, sorted_rows, size)
            losses.append(found)
        ends.append((np.asarray(state.images), np.concatenate(losses)))
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-4, atol=1e-5)
    for one, other in zip(ends[0], ends[2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_costs_are_counted():
    config = DistillationConfig(images_per_class=5, factor=2, num_steps=10, num_networks=3, real_per_class=4)
    assert count_cost(config, 2) == (10, 40, 30 * 8, (30 + 300) * 40, 30 * 2 * 2 + 300)
    real = DistillationConfig(**config.as_dict() | {"network_rows": "real"})
    assert count_cost(real, 2)[2:4] == (30 * (1 + 10) * 8, 30 * 40)
    trajectory = DistillationConfig(**config.as_dict() | {"method": "trajectory"})
    assert count_cost(trajectory, 2)[2:] == (300 * 8, 30 * 5 * 40, 300 + 150)


def test_settings_without_effect_are_named():
    assert "num_matches" in DistillationConfig(method="distribution").unused()
    assert DistillationConfig(method="gradient").unused() == {"student_steps"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augmentations": ("crop",)}, "crop change images"),
        ({"factor": 2, "images_per_class": 1}, r"factor is 2, and inputs have shape \(6,\)"),
        ({"method": "distribution", "learn_labels": True}, "do not depend on labels"),
        ({"images_per_class": 21}, "class 0 has 20; give fewer, or begin at noise"),
        ({"method": "krige"}, "unknown method 'krige', choose from distribution"),
        ({"num_stepz": 2}, "unknown setting of distillation 'num_stepz'"),
        ({"num_steps": 0}, "num_steps is 0; give a number"),
    ],
)
def test_what_does_not_suit_is_refused(options, message, rows, linear):
    with pytest.raises(InputError, match=message):
        distill(KEY, linear, rows, **options)


def test_rows_without_classes_and_losses_without_numbers_are_refused(rows, linear):
    with pytest.raises(InputError, match="targets are no classes"):
        distill(KEY, linear, (rows[0], np.zeros((60, 3))))
    with pytest.raises(InputError, match="no row is of class 2 of 3"):
        distill(KEY, linear, (rows[0], np.minimum(rows[1], 1)))
    with pytest.raises(DivergedError, match=r"not finite at step \d; lower network_learning_rate"):
        distill(KEY, linear, rows, method="trajectory", network_learning_rate=1e15, num_steps=2, num_networks=1)
