"""What a zoo says of itself, and how it is split."""

import jax
import numpy as np
import pytest
from metanets.zoos import make_zoo, squared_norm

from asymjax import trees
from asymjax.errors import InputError
from asymjax.metanets import split
from asymjax.symmetry import permute


def test_a_split_has_every_network_once_and_no_id_on_two_sides():
    ids = np.repeat(np.arange(100), 3)  # Three checkpoints of each run.
    parts = split(np.random.default_rng(0).permutation(ids))
    assert sorted(np.concatenate(parts)) == list(range(300))
    assert list(map(len, parts)) == [150, 75, 75]
    shuffled = np.random.default_rng(0).permutation(ids)
    sides = [set(shuffled[part]) for part in parts]
    assert not sides[0] & sides[1] and not sides[1] & sides[2] and not sides[0] & sides[2]


def test_the_side_of_an_id_does_not_depend_on_the_order_of_networks():
    ids = np.random.default_rng(0).permutation(200)
    first, second = split(np.arange(200)), split(ids)
    for part, other in zip(first, second, strict=True):
        assert set(part) == set(ids[other])


def test_too_few_networks_are_refused():
    with pytest.raises(InputError, match="there are 39 networks; give 40 or more"):
        split(np.arange(39))


def test_targets_are_named_and_finite():
    zoo = make_zoo(50, squared_norm)
    with pytest.raises(InputError, match="unknown target 'accuracy'"):
        zoo.target("accuracy")
    broken = zoo._replace(scores={"test.accuracy": np.array([np.nan, *np.ones(49)])})
    with pytest.raises(InputError, match=r"test\.accuracy is not finite for 1 networks"):
        broken.target("test.accuracy")
    with pytest.raises(InputError, match=r"test\.accuracy is 1 for all networks"):
        zoo._replace(scores={"test.accuracy": np.ones(50)}).target("test.accuracy")
    test = np.linspace(0.5, 0.7, 50)
    both = zoo._replace(scores={"train.accuracy": np.full(50, 0.9), "test.accuracy": test})
    np.testing.assert_allclose(both.target("gap"), 0.9 - test)


def test_aligned_networks_are_permuted_copies_of_one_made_equal_again():
    zoo = make_zoo(50, squared_norm)
    one = jax.tree.map(lambda leaf: leaf[0], zoo.position)
    orders = [np.random.default_rng(i).permutation(4) for i in range(50)]
    name = next(axis for axis in zoo.model.permutation_spec["dense_0/kernel"] if axis)
    copies = [permute(one, zoo.model.permutation_spec, {name: order}) for order in orders]
    zoo = zoo._replace(position=jax.tree.map(lambda *leaves: np.stack(leaves), *copies))
    aligned = zoo.networks("aligned", reference=7)
    for leaf in jax.tree.leaves(aligned):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[7], leaf.shape))


def test_an_asymmetric_zoo_is_read_as_entries_or_as_weights_and_nothing_is_aligned():
    zoo = make_zoo(50, lambda leaves: np.arange(50.0), "w_asym", num_fixed=2)
    assert trees.num_entries(zoo.networks("position")) < trees.num_entries(zoo.networks("params"))
    for leaf, other in zip(*(jax.tree.leaves(zoo.networks(reads)) for reads in ("params", "aligned")), strict=True):
        np.testing.assert_array_equal(leaf, other)
