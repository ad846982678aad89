"""Zoos of the user's own model and arrays: what is scored, what is set apart, what is refused."""

import jax
import numpy as np
import pytest
from flax import linen as nn

import asymjax
from asymjax import metanets
from asymjax.errors import InputError

NUMBERS = np.random.default_rng(0)
X = NUMBERS.normal(size=(96, 5))
LABELS = (X[:, 0] > 0).astype(int)
OPTIONS = {"num_networks": 40, "num_epochs": 2, "batch_size": 16, "show_progress": False}


def make_model(num_outputs=2):
    module = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(num_outputs)])
    return asymjax.from_flax(module, np.zeros((2, 5), np.float32))


def test_networks_are_scored_on_the_rows_that_are_given():
    model, test = make_model(), (X[64:], LABELS[64:])
    zoo = asymjax.train_zoo(jax.random.key(0), model, (X[:64], LABELS[:64]), test=test, **OPTIONS)
    assert set(zoo.scores) == {f"{split}.{metric}" for split in ("train", "test") for metric in ("loss", "accuracy")}
    outputs = jax.vmap(lambda position: model.apply(position, zoo.frozen, X[64:].astype(np.float32)))(zoo.position)
    accuracy = np.mean(np.argmax(np.asarray(outputs), axis=-1) == LABELS[64:], axis=-1)
    np.testing.assert_allclose(zoo.target("test.accuracy"), accuracy, rtol=1e-6)
    assert set(zoo.recipes) == {"learning_rate", "weight_decay", "label_smoothing", "num_epochs"}
    assert set(zoo.recipes["num_epochs"]) == {1, 2} and zoo.recipes["learning_rate"].max() <= 0.1
    found = metanets.fit(zoo, metanets.Norms())
    assert found.predictions.shape == (1, 40)
    with pytest.raises(InputError, match=r"unknown target 'validation\.accuracy'"):
        zoo.target("validation.accuracy")


def test_a_larger_zoo_begins_with_the_networks_of_a_smaller_one_and_another_key_makes_others():
    rows, model = (X, LABELS), make_model()
    small = asymjax.train_zoo(jax.random.key(0), model, rows, **OPTIONS)
    large = asymjax.train_zoo(jax.random.key(0), model, rows, **OPTIONS | {"num_networks": 42})
    other = asymjax.train_zoo(jax.random.key(1), model, rows, start="shared", **OPTIONS | {"learning_rate": 1e-7})
    kernels = [zoo.position["layers_0"]["kernel"] for zoo in (small, large, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1][:40])
    assert np.abs(kernels[2] - kernels[0]).max() > 0.1
    np.testing.assert_allclose(kernels[2], np.broadcast_to(kernels[2][0], kernels[2].shape), atol=1e-5)


def test_numbers_as_targets_have_losses_alone_and_networks_that_diverge_are_apart():
    rows, options = (X, X[:, :1]), OPTIONS | {"num_networks": 80, "learning_rate": 1e4}
    zoo = asymjax.train_zoo(jax.random.key(0), make_model(1), rows, validation=(X[:9], X[:9, :1]), **options)
    assert set(zoo.scores) == {"train.loss", "validation.loss"} and "label_smoothing" not in zoo.recipes
    assert zoo.num_networks + len(zoo.excluded) == 80 and 0 < len(zoo.excluded) < 40
    assert "loss not finite at step" in next(iter(zoo.excluded.values()))
    assert all(np.isfinite(values).all() for values in zoo.scores.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_networks": 39}, "num_networks is 39; a zoo takes 40 at least"),
        ({"num_networks": 40.5}, r"40\.5 networks or chains asked for; give a whole number"),
        ({"batch_size": 97}, "batch_size is 97, there are 96 training rows"),
        ({"min_epochs": 3}, "min_epochs is 3, num_epochs is 2"),
        ({"learning_rate": -1.0}, r"learning_rate is -1\.0"),
        ({"key": 0}, "key is 0; give one"),
        ({"test": (X, LABELS + 2)}, "targets: row .* is .; the network has 2 outputs"),
        ({"data": (X, X[:, :2])}, "label_smoothing is 0.1, but data has no classes"),
    ],
)
def test_what_makes_no_zoo_is_refused(settings, message):
    given = {"key": jax.random.key(0), "model": make_model(), "data": (X, LABELS)} | OPTIONS | settings
    given |= {"label_smoothing": 0.1} if "data" in settings else {}
    with pytest.raises(InputError, match=message):
        asymjax.train_zoo(**given)
