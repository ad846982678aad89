"""What metanetworks learned of one zoo, on other networks: the same ones, others, and wider ones of one function."""

from dataclasses import dataclass
from functools import cache

import jax
import numpy as np
import pytest
from metanets.zoos import INPUTS, OUTPUTS, make_zoo, squared_norm

from asymjax.errors import InputError
from asymjax.metanets import (
    HNP,
    METANETS,
    DeepSets,
    FitConfig,
    FlatMLP,
    Probe,
    Ridge,
    StatTrees,
    fit,
    transfer,
    widened,
)
from asymjax.metanets.fit import Learned, make_task
from asymjax.metanets.zoo import split
from asymjax.models.config import ModelConfig

CONFIG = FitConfig(num_epochs=2, batch_size=16, learning_rates=(0.01,), num_trials=1, num_seeds=2)
ZOO = make_zoo(80, squared_norm)
WIDE = ModelConfig.of(widths=(7,), norm="none", activation="relu").build((INPUTS,), OUTPUTS)
FEW = np.arange(3, 11)
SMALL = {"probe": Probe(num_probes=8, width=8, widths=(16,)), "hnp": HNP(num_layers=1, channels=4, head_width=8)}
FITS = SMALL | {"stat_trees": StatTrees()}


@dataclass(frozen=True)
class EntryByEntry(DeepSets):
    """A metanetwork whose parameters are of no width, but whose features have a scale each."""

    @property
    def standardised(self):
        """Each entry."""
        return "entry"


@cache
def wide_zoo(way="split"):
    return widened(ZOO.take(FEW), WIDE, way, jax.random.key(0))


def untrained(settings):
    """Return what one metanetwork would have learned of the zoo without a step."""
    task = make_task(ZOO, settings, ZOO.target("test.accuracy"), split(ZOO.ids), CONFIG)
    like = jax.eval_shape(lambda x: task.metanet.settle(task.metanet.init(jax.random.key(0)), x), task.features.held)
    draw = np.random.default_rng(0)
    settled = jax.tree.map(lambda leaf: draw.uniform(0.1, 0.3, (1, *leaf.shape)).astype(np.float32), like)
    return Learned(settings, settled, task.features.moments, task.center, task.scale, task.kind)


def test_widened_networks_keep_their_function_scores_and_ids():
    x = np.random.default_rng(0).normal(size=(6, INPUTS)).astype(np.float32)

    def outputs(zoo):
        return jax.vmap(lambda position: zoo.model.apply(position, zoo.frozen, x))(zoo.position)

    few = ZOO.take(FEW)
    expected = outputs(few)
    for way in ("split", "idle"):
        wide = wide_zoo(way)
        np.testing.assert_array_equal(wide.ids, few.ids)
        np.testing.assert_array_equal(wide.target("test.accuracy"), ZOO.target("test.accuracy")[FEW])
        np.testing.assert_allclose(outputs(wide), expected, rtol=0, atol=1e-5 * np.max(np.abs(expected)))
        assert np.ptp(wide.position["dense_0"]["kernel"][..., 4:], axis=0).min() > 0  # Each network by itself.


def test_what_becomes_of_a_network_does_not_depend_on_others():
    one = widened(ZOO.take(FEW[5:6]), WIDE, "split", jax.random.key(0))
    jax.tree.map(
        lambda some, all_of: np.testing.assert_array_equal(some[0], all_of[5]), one.position, wide_zoo().position
    )


@pytest.mark.parametrize("name", FITS)
def test_what_was_learned_is_what_predicted_and_who_asks_the_function_says_the_same_of_wider_networks(name):
    found = fit(ZOO, FITS[name], config=CONFIG)
    scale = np.ptp(found.predictions)
    # A few networks alone: their own mean and scale are others.
    np.testing.assert_allclose(transfer(found.learned, ZOO.take(FEW)), found.predictions[:, FEW], atol=1e-5 * scale)
    change = max(
        np.max(np.abs(transfer(found.learned, wide_zoo(w)) - found.predictions[:, FEW])) for w in ("split", "idle")
    )
    assert change < 1e-5 * scale if name == "probe" else change > 1e-2 * scale


@pytest.mark.parametrize("name", ["np", "scale_hnp", "dmc", "deepsets"])
def test_metanetworks_without_a_size_that_follows_from_widths_read_any(name):
    assert np.all(np.isfinite(transfer(untrained(METANETS[name]()), wide_zoo())))


def test_those_with_one_are_refused():
    with pytest.raises(InputError, match=r"params/Head_0/Dense_0/kernel is \(39, 64\), and would be \(66, 64\) for"):
        transfer(untrained(FlatMLP()), wide_zoo())
    with pytest.raises(InputError, match="it has 39 features of a network, and these have 66"):
        transfer(fit(ZOO, Ridge()).learned, wide_zoo())


def test_scales_of_single_entries_are_those_of_one_width():
    with pytest.raises(InputError, match="a scale of its own, and there were 4 of them, not 7 as here"):
        transfer(untrained(EntryByEntry()), wide_zoo())


def test_units_are_aligned_to_a_network_that_is_not_there():
    with pytest.raises(InputError, match="aligned to those of a network of the training"):
        transfer(untrained(FlatMLP(reads="aligned")), ZOO)


def test_networks_that_cannot_be_widened_are_refused():
    zoo = make_zoo(40, squared_norm, "syre")
    with pytest.raises(InputError, match="would grow from 4 to 7 along an axis whose indices may not be permuted"):
        widened(zoo, WIDE, "split", jax.random.key(0))
    with pytest.raises(InputError, match="unknown way 'copy', choose from split, idle"):
        widened(ZOO, WIDE, "copy", jax.random.key(0))


def test_classes_are_predicted_by_their_probabilities():
    zoo = ZOO._replace(labels={"chain": np.arange(80) % 2})
    found = fit(zoo, StatTrees(), target="chain", config=CONFIG)
    assert found.predictions.shape == (1, 80, 2)
    np.testing.assert_allclose(transfer(found.learned, zoo.take(FEW)), found.predictions[:, FEW])
