"""Planes through three networks: where the networks lie on them, and what lengths mean."""

import jax
import numpy as np
import pytest

from asymjax.errors import InputError
from asymjax.symmetry.planes import MARGIN, corners, inner_products, on_plane, plane_grid, shares

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
