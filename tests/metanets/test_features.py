"""Features that are made anew for each batch are those that are held in memory, and so are the fits."""

import jax
import numpy as np
import pytest
from metanets.zoos import make_zoo, squared_norm

from asymjax import trees
from asymjax.errors import InputError
from asymjax.metanets import HNP, FitConfig, FlatMLP, Ridge, StatNN, StatTrees, fit, split
from asymjax.metanets import reader as reading
from asymjax.metanets.features import make_features, moments_of, standardised

CONFIG = FitConfig(num_epochs=2, batch_size=16, learning_rates=(0.01,), num_trials=1, num_seeds=1)
ZOO = make_zoo(80, squared_norm)
MASKED = make_zoo(80, lambda leaves: np.arange(80.0), "w_asym", num_fixed=2)
BLOCK = 2000  # Bytes, 12 networks.
ROUNDING = 1e-4  # Of standardised features, and of predictions after two epochs on them.


class OnlyRows:
    """An array of which nobody may hold more rows than a block or a batch has."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.largest = 0

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        found = self.array[index]
        self.largest = max(self.largest, len(found))
        return found


@pytest.fixture
def streamed(monkeypatch):
    """Return a function from a zoo to one of which nothing but rows may be read."""
    monkeypatch.setattr(reading, "MAX_BYTES", 0)
    monkeypatch.setattr(trees, "BLOCK_BYTES", BLOCK)
    return lambda zoo: zoo._replace(position=jax.tree.map(OnlyRows, zoo.position))


def taken(zoo, settings, places):
    features = make_features(zoo, settings, split(zoo.ids).train, 3)
    return features, jax.jit(features.take)(features.held, places)


@pytest.mark.parametrize("zoo", [ZOO, MASKED], ids=["standard", "w_asym"])
@pytest.mark.parametrize(
    "settings",
    [
        StatNN(),
        FlatMLP(standardised="entry"),
        FlatMLP(reads="aligned", standardised="entry"),
        FlatMLP(reads="params", standardised="entry"),
        HNP(),
    ],
    ids=["statnn", "entries", "aligned", "params", "hnp"],
)
def test_batches_are_those_in_memory(zoo, settings, request):
    places = np.array([70, 3, 3, 41], np.int32)
    _, expected = taken(zoo, settings, places)
    features, found = taken(request.getfixturevalue("streamed")(zoo), settings, places)
    jax.tree.map(lambda *leaves: np.testing.assert_allclose(*leaves, rtol=ROUNDING, atol=ROUNDING), found, expected)
    assert all(np.shape(leaf)[:1] != (80,) or leaf.dtype == np.int32 for leaf in jax.tree.leaves(features.held))


@pytest.mark.parametrize(
    ("settings", "rtol"),
    [
        (StatNN(widths=(8,)), 1e-5),
        (FlatMLP(widths=(8,), standardised="entry"), ROUNDING),
        (FlatMLP(widths=(8,), reads="aligned"), 0),
        (FlatMLP(widths=(8,), reads="params", is_permuted=True), 0),
        (HNP(num_layers=1, channels=4), ROUNDING),
    ],
    ids=["statnn", "entries", "aligned", "permuted", "hnp"],
)
def test_fits_are_those_in_memory(settings, rtol, request):
    expected = fit(ZOO, settings, config=CONFIG)
    zoo = request.getfixturevalue("streamed")(ZOO)
    found = fit(zoo, settings, config=CONFIG)
    np.testing.assert_allclose(found.predictions, expected.predictions, rtol=rtol)
    assert max(leaf.largest for leaf in jax.tree.leaves(zoo.position)) < 41  # The 40 of the training settle a fit.


def test_members_side_by_side_have_batches_of_their_own(streamed):
    features = make_features(streamed(ZOO), FlatMLP(), split(ZOO.ids).train, 0)
    places = np.array([[1, 2], [5, 5], [79, 0]], np.int32)
    found = jax.jit(jax.vmap(features.take, (None, 0)))(features.held, places)
    jax.tree.map(lambda leaf, whole: np.testing.assert_array_equal(leaf, whole[places]), found, ZOO.position)


def test_regressions_read_blocks_and_hold_what_they_make_of_them(streamed, monkeypatch):
    zoo = streamed(ZOO)
    monkeypatch.setattr(reading, "MAX_BYTES", 80 * 35 * 4)
    found = fit(zoo, StatTrees())
    monkeypatch.undo()
    np.testing.assert_array_equal(found.predictions, fit(ZOO, StatTrees()).predictions)
    assert max(leaf.largest for leaf in jax.tree.leaves(zoo.position)) <= BLOCK // (39 * 4)


def test_what_is_the_same_for_all_networks_is_zero():
    # The float32 mean of many equal numbers differs from them, by which they were 1 or -1.
    features = {"a": np.tile(np.float32([0.1, 1.3, -0.37, 0]), (5000, 1)), "b": np.float32([[1], [3], [1], [3]] * 1250)}
    found = standardised(features, moments_of(features, np.arange(5000), "entry"))
    np.testing.assert_array_equal(found["a"], 0)
    np.testing.assert_array_equal(found["b"], features["b"] - 2)


def test_ridge_on_more_weights_than_are_held_is_refused(streamed):
    with pytest.raises(InputError, match=r"a regression on 39 features of 80 networks holds them all.*stat_trees"):
        fit(streamed(ZOO), Ridge())
