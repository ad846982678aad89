"""Targets that are classes: which of several chains a draw came from, where that can be told and where it cannot."""

import jax
import numpy as np
import pytest
from metanets.zoos import make_zoo, squared_norm

from asymjax.errors import InputError
from asymjax.metanets import HNP, METANETS, FitConfig, FlatMLP, Metanetwork, Ridge, accuracy, fit, plain, split
from asymjax.metanets.fit import make_task
from asymjax.metanets.kinds import explained_entropy, kind_of
from asymjax.metanets.regression import Regression
from asymjax.symmetry import permute

CHAINS, DRAWS = 4, 80
CONFIG = FitConfig(num_epochs=20, batch_size=32, learning_rates=(0.01,), num_trials=1, num_seeds=2)
NOISE = 0.05
CHANCE_BAND = 3.5 * np.sqrt(0.25 * 0.75 / 80)  # 80 test draws: 1 in 2,000 falls outside, of a binomial.


def chains_of(firsts, seed=0):
    """Return a zoo of chains that move around a network each, leaves of ``firsts`` [chain, ...]."""
    zoo, draw = make_zoo(CHAINS * DRAWS, squared_norm), np.random.default_rng(seed)
    position = jax.tree.map(
        lambda leaf: (
            np.repeat(leaf, DRAWS, axis=0)
            + NOISE * draw.normal(size=(CHAINS * DRAWS, *leaf.shape[1:])).astype(np.float32)
        ),
        firsts,
    )
    ids = np.tile(np.arange(DRAWS) // 2, CHAINS)
    return zoo._replace(position=position, ids=ids, labels={"chain": np.repeat(np.arange(CHAINS), DRAWS)})


def one_mode():
    """Return chains around one network whose units stand in an order of their own in each."""
    zoo = make_zoo(1, squared_norm)
    name = next(axis for axis in zoo.model.permutation_spec["dense_0/kernel"] if axis)
    one = jax.tree.map(lambda leaf: leaf[0], zoo.position)
    orders = [np.arange(4), np.array([1, 2, 3, 0]), np.array([3, 2, 1, 0]), np.array([2, 0, 3, 1])]
    copies = [permute(one, zoo.model.permutation_spec, {name: order}) for order in orders]
    return chains_of(jax.tree.map(lambda *leaves: np.stack(leaves), *copies))


def four_functions():
    """Return chains around a network of its own each."""
    return chains_of(make_zoo(CHAINS, squared_norm, seed=5).position)


def told(zoo, settings):
    fitted = fit(zoo, settings, target="chain", config=CONFIG)
    part = fitted.parts.test
    assert fitted.predictions.shape[1:] == (CHAINS * DRAWS, CHAINS)
    np.testing.assert_allclose(fitted.predictions.sum(axis=-1), 1, rtol=1e-5)
    return accuracy(fitted.targets[part], fitted.predictions[:, part], zoo.ids[part])


ONE, FOUR = one_mode(), four_functions()


@pytest.mark.parametrize("settings", [Ridge(), FlatMLP()], ids=["ridge", "flat_mlp"])
def test_chains_in_permuted_copies_of_one_mode_are_told_by_who_sees_the_order(settings):
    assert told(ONE, settings)["mean"] == 1


@pytest.mark.parametrize("settings", [Ridge(reads="aligned"), HNP(channels=4, head_width=16)], ids=["aligned", "hnp"])
def test_they_are_not_told_by_who_does_not(settings):
    found = told(ONE, settings)
    assert abs(found["mean"] - 0.25) < CHANCE_BAND
    assert found["low"] < 0.25 + CHANCE_BAND and found["high"] > found["low"]


@pytest.mark.parametrize(
    "settings",
    [Ridge(), Ridge(reads="aligned"), FlatMLP(), HNP(channels=4, head_width=16)],
    ids=["ridge", "aligned", "flat_mlp", "hnp"],
)
def test_chains_of_several_functions_are_told_by_all(settings):
    assert told(FOUR, settings)["mean"] > 0.95


def test_every_side_has_as_many_draws_of_each_chain():
    targets = ONE.target("chain")
    for part in split(ONE.ids):
        assert len(set(np.bincount(targets[part]))) == 1


def test_labels_of_any_values_are_classes_in_their_order():
    zoo = make_zoo(50, squared_norm)._replace(labels={"kind": np.repeat(["b", "a"], 25)})
    np.testing.assert_array_equal(zoo.target("kind"), np.repeat([1, 0], 25))
    assert kind_of(zoo.target("kind")).output_shape == (2,) and not kind_of(zoo.target("test.accuracy")).is_class
    with pytest.raises(InputError, match=r"unknown target 'chain', choose from .*kind"):
        zoo.target("chain")
    with pytest.raises(InputError, match="kind is 0 for all networks"):
        zoo._replace(labels={"kind": np.full(50, 7)}).target("kind")


def test_trees_know_classes_that_their_training_lacks():
    targets = np.array([0, 2] * 20)
    features = np.stack([targets, np.arange(40)], axis=1).astype(float)
    kind = kind_of(targets)
    found = kind.regressed(kind.fit(METANETS["stat_trees"](), features, targets), features)
    assert found.shape == (40, 3) and np.all(found[:, 1] == 0)
    np.testing.assert_array_equal(np.argmax(found, axis=1), targets)


TRAINED = [name for name, kind in METANETS.items() if not issubclass(kind, Regression)]


@pytest.mark.parametrize(("name", "arch"), [*((name, "standard") for name in TRAINED), ("hnp", "w_asym")])
def test_every_metanetwork_says_a_logit_of_each_class(name, arch):
    zoo = make_zoo(60, lambda leaves: np.arange(60.0), arch, **({"num_fixed": 2} if arch == "w_asym" else {}))
    task = make_task(zoo, METANETS[name](), np.arange(60) % 3, split(zoo.ids), CONFIG)  # It looks at their shape.
    assert task.kind.output_shape == (3,) and task.train.targets.dtype == np.int32


class _Numbers(Metanetwork):
    def make(self, read):
        return plain(lambda key: {}, lambda params, networks: jax.tree.leaves(networks)[0].sum(axis=1))


def test_a_metanetwork_that_says_a_number_is_refused():
    with pytest.raises(InputError, match=r"one of 4 classes, but of 2 networks it says \(2,\); give one whose outputs"):
        fit(ONE, _Numbers(), target="chain", config=CONFIG)


# Scores ----------------------------------------------------------------------------------------------------------


def test_the_entropy_that_is_explained():
    targets = np.array([0, 0, 0, 1])
    shares = np.log(np.array([[0.75, 0.25]] * 4, np.float32))
    assert float(explained_entropy(shares, targets)) == pytest.approx(0, abs=1e-6)
    certain = np.where(targets[:, None] == np.arange(2), np.float32(0), np.float32(-50))
    assert float(explained_entropy(certain, targets)) == pytest.approx(1)
    assert float(explained_entropy(-certain, targets)) < 0


def test_the_interval_is_over_blocks():
    draw = np.random.default_rng(0)
    targets, ids = np.zeros(400, int), np.repeat(np.arange(40), 10)
    right = np.repeat(draw.uniform(size=40) < 0.5, 10)  # Blocks that are right or wrong as a whole.
    probabilities = np.stack([right, ~right], axis=-1)[None].astype(float)
    blocks, single = (accuracy(targets, probabilities, one) for one in (ids, np.arange(400)))
    assert blocks["mean"] == single["mean"] == right.mean()
    share = right.mean()
    assert blocks["standard_error"] == pytest.approx(np.sqrt(share * (1 - share) / 39))
    assert single["standard_error"] == pytest.approx(np.sqrt(share * (1 - share) / 399))
    assert np.isnan(accuracy(targets, probabilities, np.zeros(400))["low"])


def test_accuracy_is_the_mean_over_seeds():
    targets = np.array([0, 1, 1, 0])
    first, second = (np.eye(2)[targets], np.eye(2)[1 - targets])
    found = accuracy(targets, np.stack([first, second, first]), np.arange(4))
    assert found["mean"] == pytest.approx(2 / 3) and found["low"] == pytest.approx(found["high"])
