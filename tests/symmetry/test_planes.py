"""Planes through three networks: where the networks lie on them, and what lengths mean."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asymjax.errors import InputError
from asymjax.models import ModelConfig
from asymjax.models.backbones import MLP
from asymjax.symmetry.planes import (
    MARGIN,
    corners,
    inner_products,
    on_plane,
    plane_grid,
    random_directions,
    shares,
)
from asymjax.train.losses import cross_entropy
from asymjax.types import Split

RNG = np.random.default_rng(0)


def three(scale=1.0):
    shapes = {"dense_0": {"kernel": (4, 5), "bias": (5,)}, "output": {"kernel": (5, 3), "bias": (3,)}}
    return jax.tree.map(
        lambda shape: scale * RNG.normal(size=(3, *shape)), shapes, is_leaf=lambda shape: isinstance(shape, tuple)
    )


def flat(networks):
    return np.concatenate([leaf.reshape(3, -1) for leaf in jax.tree.leaves(networks)], axis=1)


def gaps(places):
    return [np.linalg.norm(places[i] - places[j]) for i, j in ((0, 1), (0, 2), (1, 2))]


def test_raw_coordinates_keep_distances():
    networks = three()
    places = corners(inner_products(networks, "raw"))
    np.testing.assert_allclose(gaps(places), gaps(flat(networks)))
    assert places[0].tolist() == [0, 0] and places[1, 1] == 0 and places[2, 1] > 0


def test_lengths_by_filters_are_changes_relative_to_them_and_ignore_their_scales():
    networks = three()
    kernels = [networks[name]["kernel"] for name in ("dense_0", "output")]
    squares = [np.mean(np.sum(kernel**2, axis=1), axis=0) for kernel in kernels]
    expected = [
        np.sqrt(np.mean(np.concatenate([np.sum((k[i] - k[j]) ** 2, axis=0) / s for k, s in zip(kernels, squares)])))  # noqa: B905
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    np.testing.assert_allclose(gaps(corners(inner_products(networks, "filter"))), expected)
    factors = np.array([1.0, 10, 0.1, 3, 7])
    rescaled = networks | {"dense_0": {"kernel": kernels[0] * factors, "bias": 5 * networks["dense_0"]["bias"]}}
    np.testing.assert_allclose(inner_products(rescaled, "filter"), inner_products(networks, "filter"))
    assert not np.allclose(inner_products(rescaled, "raw"), inner_products(networks, "raw"))


def test_filters_that_are_zero_in_all_networks_do_not_count():
    networks = three()
    wider = {name: dict(layer) for name, layer in networks.items()}
    wider["dense_0"]["kernel"] = np.concatenate([networks["dense_0"]["kernel"], np.zeros((3, 4, 2))], axis=2)
    np.testing.assert_allclose(inner_products(wider, "filter"), inner_products(networks, "filter"))


@pytest.mark.parametrize("metric", ["raw", "filter"])
def test_points_of_the_plane_are_its_networks_and_what_lies_between(metric):
    networks = jax.tree.map(np.float32, three())
    places = corners(inner_products(networks, metric))
    points = np.concatenate([places, places.mean(axis=0, keepdims=True)])
    steps = shares(places, points)
    np.testing.assert_allclose(steps, [[0, 0], [1, 0], [0, 1], [1 / 3, 1 / 3]], atol=1e-12)
    for index in range(3):
        found = on_plane(networks, steps[index].astype("float32"))
        jax.tree.map(lambda a, b, i=index: np.testing.assert_allclose(a, b[i], rtol=1e-5, atol=1e-6), found, networks)
    centre = on_plane(networks, steps[3].astype("float32"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b.mean(axis=0), rtol=1e-5, atol=1e-6), centre, networks)


def test_what_all_networks_share_stays_to_the_bit():
    networks = {"w": np.float32(np.tile(RNG.normal(size=7), (3, 1)))}
    for steps in RNG.normal(size=(5, 2)).astype("float32"):
        np.testing.assert_array_equal(on_plane(networks, steps)["w"], networks["w"][0])


def test_grids_surround_the_networks():
    places = np.array([[0.0, 0], [4, 0], [-1, 2]])
    first, second = plane_grid(places, 9)
    assert (len(first), len(second)) == (9, 9)
    np.testing.assert_allclose(first[[0, -1]], [-1 - 5 * MARGIN, 4 + 5 * MARGIN])
    np.testing.assert_allclose(second[[0, -1]], [-5 * MARGIN, 2 + 5 * MARGIN])


def test_three_networks_on_one_line_are_refused():
    networks = three()
    line = jax.tree.map(lambda leaf: np.stack([leaf[0], leaf[1], 2 * leaf[1] - leaf[0]]), networks)
    copies = jax.tree.map(lambda leaf: np.stack([leaf[0], leaf[0], leaf[1]]), networks)
    for flat_ones in (line, copies):
        with pytest.raises(InputError, match="three networks on one line span no plane"):
            corners(inner_products(flat_ones, "raw"))


# Of networks: losses at their places, and what rescaling does ----------------------------------------------------

MODEL = ModelConfig(backbone=MLP((6, 7), norm="none", activation="relu")).build((5,), 3)
ROWS = Split(RNG.normal(size=(40, 5)).astype("float32"), RNG.integers(0, 3, 40))
LOSS = jax.jit(lambda params: cross_entropy(MODEL.forward, params, {}, ROWS))
TRIPLE = jax.jit(jax.vmap(partial(MODEL.init, frozen={})))(jax.random.split(jax.random.key(0), 3))
GRID = np.array([[0.0, 0], [1, 0], [0.3, -0.4], [-0.2, 0.9]], np.float32)


def surface(networks, points):
    """Return the losses at points of the plane of three networks."""
    return jnp.stack([LOSS(on_plane(networks, steps)) for steps in jnp.asarray(points, "float32")])


def rescaled(networks, factors):
    """Return the same functions, the units of the second layer multiplied and what reads them divided."""
    middle, last = networks["dense_1"], networks["output"]
    factors = jnp.asarray(factors, "float32")
    into = jax.tree.map(lambda leaf: leaf * factors.reshape(*[1] * (leaf.ndim - 1), -1), middle)
    after = factors.reshape(*[1] * (last["kernel"].ndim - 2), -1, 1)
    return networks | {"dense_1": into, "output": last | {"kernel": last["kernel"] / after}}


@pytest.mark.parametrize("metric", ["raw", "filter"])
def test_three_networks_have_their_losses_at_their_coordinates(metric):
    places = corners(inner_products(TRIPLE, metric))
    stored = jax.vmap(LOSS)(TRIPLE)
    np.testing.assert_allclose(surface(TRIPLE, shares(places, places)), stored, rtol=0, atol=1e-6)


def test_axes_of_the_raw_plane_are_orthonormal():
    places = corners(inner_products(TRIPLE, "raw"))
    networks = jax.tree.map(np.float64, TRIPLE)
    first, second = (on_plane(networks, step) for step in shares(places, np.eye(2)))
    axes = [
        np.concatenate([(there - here[0]).ravel() for there, here in zip(*map(jax.tree.leaves, pair), strict=True)])
        for pair in ((first, networks), (second, networks))
    ]
    np.testing.assert_allclose(np.stack(axes) @ np.stack(axes).T, np.eye(2), atol=1e-6)


def test_rescaling_a_relu_layer_changes_no_picture_in_units_of_filters_and_the_raw_one():
    alike, one_unit = np.full(7, 8.0), np.r_[8.0, np.ones(6)]
    for factors in (alike, one_unit):
        other = rescaled(TRIPLE, factors)
        np.testing.assert_allclose(surface(other, GRID), surface(TRIPLE, GRID), rtol=1e-5)  # The same shares.
        assert not np.allclose(*(corners(inner_products(one, "raw")) for one in (TRIPLE, other)), rtol=0.1)
    places = [corners(inner_products(one, "filter")) for one in (TRIPLE, rescaled(TRIPLE, alike))]
    np.testing.assert_allclose(*places, rtol=1e-5, atol=1e-7)
    # One unit alone is part of every filter that reads it, and these are not as long any more.
    off = corners(inner_products(rescaled(TRIPLE, one_unit), "filter"))
    assert 1e-4 < np.max(np.abs(off - places[0])) / np.max(places[0]) < 0.2


def test_random_directions_of_the_length_of_filters_see_no_rescaling_of_a_layer():
    network = jax.tree.map(lambda leaf: leaf[0] + 0.1, TRIPLE)
    both = (network, rescaled(network, np.full(7, 8.0)))
    own, other = (surface(random_directions(jax.random.key(1), one), GRID) for one in both)
    np.testing.assert_allclose(own, other, rtol=1e-5)
    assert np.ptp(own) > 0.01
    ends = random_directions(jax.random.key(1), network)

    def with_the_same_steps(one):
        return jax.tree.map(lambda leaf, end: jnp.concatenate([leaf[None], leaf[None] + end[1:] - end[:1]]), one, ends)

    assert not np.allclose(*(surface(with_the_same_steps(one), GRID) for one in both), rtol=0.01)


def test_random_directions_stay_in_what_may_move():
    network = jax.tree.map(lambda leaf: leaf[0] + 0.1, TRIPLE)
    kept = jax.tree.map(lambda leaf: jnp.asarray(RNG.random(leaf.shape) < 0.5), network)
    kept["output"]["kernel"] = kept["output"]["kernel"].at[:, 0].set(False)  # A filter that may not move at all.
    ends = random_directions(jax.random.key(0), network, kept)
    for name, layer in ends.items():
        change = np.asarray(layer["kernel"][1:] - layer["kernel"][:1])
        assert not change[:, ~np.asarray(kept[name]["kernel"])].any()
        lengths = np.linalg.norm(change, axis=1)
        expected = np.linalg.norm(network[name]["kernel"], axis=0) * np.asarray(kept[name]["kernel"]).any(axis=0)
        np.testing.assert_allclose(lengths, np.stack([expected] * 2), rtol=1e-4)
        np.testing.assert_array_equal(layer["bias"], np.stack([network[name]["bias"]] * 3))
