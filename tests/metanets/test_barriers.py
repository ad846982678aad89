"""Barriers to a reference: known answers, and the same numbers as between all pairs."""

import jax
import numpy as np
import pytest
from zoos import INPUTS, make_zoo, squared_norm

import asymjax
from asymjax import metanets
from asymjax.errors import InputError
from asymjax.metanets.barriers import best_network, make_barriers
from asymjax.symmetry import permute, random_permutations

COUNT, REFERENCE, COPY = 41, 7, 3
X = np.random.default_rng(0).normal(size=(30, INPUTS)).astype(np.float32)
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}  # Of float32 losses of about 1, and of two programs.


def of(tree, place):
    return jax.tree.map(lambda leaf: leaf[place], tree)


def make_copies(arch, count):
    """Return networks like network 7 with noise, each with its units in an order of its own, and what that one says."""
    zoo = make_zoo(count, squared_norm, arch)
    one, spec = of(zoo.position, REFERENCE), zoo.model.permutation_spec
    draw = np.random.default_rng(1)
    copies = []
    for place, key in enumerate(jax.random.split(jax.random.key(1), count)):
        noise = 0.3 * (place not in (REFERENCE, COPY))
        near = jax.tree.map(lambda leaf, noise=noise: leaf + noise * draw.normal(size=leaf.shape).astype("f"), one)
        order = random_permutations(key, near, spec)
        copies.append(near if place == REFERENCE else permute(near, spec, order))
    position = jax.tree.map(lambda *leaves: np.stack(leaves), *copies)
    labels = np.asarray(zoo.model.apply(one, zoo.frozen, X)).argmax(axis=1)
    accuracy = np.where(np.arange(count) == REFERENCE, 0.9, 0.5)
    scores = dict(zoo.scores) | {"validation.accuracy": accuracy}
    return zoo._replace(position=position, scores=scores), (X, labels)


@pytest.fixture(scope="module")
def made():
    return make_copies("standard", COUNT)


@pytest.fixture(scope="module")
def zoo(made):
    return made[0]


@pytest.fixture(scope="module")
def rows(made):
    return made[1]


@pytest.fixture(scope="module")
def found(zoo, rows):
    return metanets.reference_barriers(zoo, rows, REFERENCE)


def test_a_permuted_copy_of_the_reference_has_a_barrier_only_as_it_lies(found):
    assert found["barrier"][COPY] > 0.1 and found["aligned_barrier"][COPY] == pytest.approx(0, abs=1e-6)
    assert found["barrier"][REFERENCE] == found["aligned_barrier"][REFERENCE] == 0
    assert found["barrier"].shape == (COUNT,) and (found["barrier"] > 0.01).sum() > COUNT // 2
    assert found["aligned_barrier"].mean() < found["barrier"].mean()


@pytest.mark.parametrize("arch", ["standard", "sigma_asym"])
def test_they_are_the_barriers_between_pairs(arch, made):
    zoo, rows = made if arch == "standard" else make_copies(arch, 8)
    parts = make_barriers(zoo, rows, REFERENCE, num_points=5)(np.array([1, 4, 2]))
    params = zoo.take(np.array([REFERENCE, 1, 4, 2])).networks("params")
    aligned = asymjax.align(zoo.model, of(params, 0), params, zoo.frozen)
    for name, networks, frozen in (
        ("barrier", params, zoo.frozen),
        ("aligned_barrier", aligned.params, aligned.frozen),
    ):
        pairs = asymjax.barriers(zoo.model, networks, rows, frozen, num_points=5)
        to_reference = pairs["maximum"][pairs["pairs"][:, 0] == 0]
        np.testing.assert_allclose(parts[name], to_reference, **ROUNDING)
    assert np.abs(parts["barrier"] - parts["aligned_barrier"]).max() > 1e-3


def test_they_are_targets_of_a_zoo_without_the_reference(zoo, rows, found):
    known = metanets.with_barriers(zoo, rows, measure=lambda zoo, rows, reference: found)
    assert REFERENCE not in known.ids and known.num_networks == COUNT - 1
    assert known.excluded == {REFERENCE: "the reference of barriers"}
    np.testing.assert_array_equal(known.target("barrier"), np.delete(found["barrier"], REFERENCE))
    np.testing.assert_array_equal(known.target("test.accuracy"), np.delete(zoo.target("test.accuracy"), REFERENCE))
    broken = found | {"aligned_barrier": np.where(np.arange(COUNT) == 5, np.nan, found["aligned_barrier"])}
    known = metanets.with_barriers(zoo, rows, 2, measure=lambda zoo, rows, reference: broken)
    assert known.excluded == {2: "the reference of barriers", 5: "a barrier is not finite"}


def test_the_reference_is_the_best_on_validation_rows(zoo, rows):
    assert best_network(zoo) == REFERENCE
    loss = np.arange(COUNT) % 5 + 1.0
    assert best_network(zoo._replace(scores={"validation.loss": loss[::-1]})) == 0
    with pytest.raises(InputError, match="no scores on validation rows"):
        metanets.with_barriers(zoo._replace(scores={}), rows)
    with pytest.raises(InputError, match="inputs have shape"):
        metanets.with_barriers(zoo, (X[:, :2], rows[1]))
