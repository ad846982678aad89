"""Strength of asymmetry: distances and swap costs against enumeration, closed forms and least squares, and controls."""

from functools import cache

import jax
import numpy as np
import pytest
from model_of import drawn_constants, drawn_position, model_of

from asymjax import trees
from asymjax.errors import InputError
from asymjax.symmetry import all_permutations, permuted_distance, permuted_distances
from asymjax.symmetry.strength import (
    check_measurable,
    coherence,
    fixed_and_free,
    layer_strengths,
    principal_basis,
    realisation_costs,
    signed_root,
    swap_costs,
    transposition_distances,
)

RNG = np.random.default_rng(0)
SHAPES = {"mlp": (7,), "rnn": (6, 5), "resnet": (8, 8, 3)}


@cache
def network(arch, backbone="mlp", widths=(5, 4), num_fixed=2):
    config = model_of(arch, backbone, widths=widths, depth=8, num_fixed=(num_fixed,), fixed_scale=(1.0,))
    model = config.build(SHAPES[backbone], 3)
    frozen = drawn_constants(model, scale=float(arch != "pruned"))
    return model, frozen, trees.to_host(jax.jit(model.merge)(drawn_position(model, frozen), frozen))


def swap(i, j, count):
    order = np.arange(count)
    order[[i, j]] = j, i
    return order


# Distances to the model's set


@pytest.mark.parametrize("arch", ["w_asym", "pruned"])
@pytest.mark.parametrize("name", ["units_0", "units_1"])
def test_distances_of_swaps_are_those_of_all_permutations_that_are_swaps(arch, name):
    model, frozen, params = network(arch)
    distances = transposition_distances(model, params, frozen, name)
    of_all = jax.jit(lambda params: permuted_distances(model, model.split(params, frozen), frozen, name))
    everything = np.asarray(of_all(params))
    candidates = all_permutations(len(distances))[1:]
    assert len(everything) == len(candidates) == {5: 119, 4: 23}[len(distances)]
    for permutation, distance in zip(candidates, everything, strict=True):
        moved = np.flatnonzero(permutation != np.arange(len(permutation)))
        if len(moved) == 2:
            np.testing.assert_allclose(distances[tuple(moved)], distance, rtol=1e-5)
    assert np.all(np.diag(distances) == 0)
    assert np.min(everything) > 0


@pytest.mark.parametrize("backbone", ["rnn", "resnet"])
def test_distances_of_swaps_are_those_of_permuted_networks_off_the_set_too(backbone):
    model, frozen, params = network("w_asym", backbone)
    names = {axis for axes in model.permutation_spec.values() for axis in axes if axis is not None}
    params = jax.tree.map(lambda leaf: leaf + RNG.normal(size=leaf.shape).astype("float32") / 10, params)
    for name in sorted(names)[:2]:
        distances = transposition_distances(model, params, frozen, name)
        of_swap = jax.jit(lambda order, name=name: permuted_distance(model, params, frozen, {name: order}))
        for i, j in [(0, 0), (0, 1), (3, 1), (2, 3)]:
            expected = of_swap(swap(i, j, len(distances)))
            np.testing.assert_allclose(distances[i, j], expected, rtol=1e-5)


@pytest.mark.parametrize("arch", ["standard", "syre", "sigma_asym"])
def test_where_nothing_is_fixed_every_swap_stays_in_the_set(arch):
    model, frozen, params = network(arch)
    assert not np.any(transposition_distances(model, params, frozen, "units_0"))


def test_two_units_with_the_same_mask_and_fixed_values_are_no_distance_apart():
    model, frozen, params = network("w_asym")
    constants = dict(frozen["dense_1"]["kernel"])
    # Units 0 and 1 of the last hidden layer become copies, in what enters them and in what they feed.
    values, sources = (np.array(constants[name]) for name in ("fixed_value", "source_index"))
    is_fixed = sources >= constants["free_index"].size
    is_fixed[:, 1], values[:, 1] = is_fixed[:, 0], values[:, 0]
    index = np.flatnonzero(~is_fixed.ravel())
    source = np.full(is_fixed.size, len(index))
    source[index] = np.arange(len(index))
    twins = {"fixed_value": values, "free_index": index, "source_index": source.reshape(is_fixed.shape)}
    frozen = {name: leaf for name, leaf in frozen.items() if name != "output"} | {"dense_1": {"kernel": twins}}
    params = model.merge(model.split(params, frozen), frozen)
    distances = transposition_distances(model, params, frozen, "units_1")
    assert distances[0, 1] < 1e-6
    assert np.sort(distances[np.triu_indices(4, 1)])[1] > 0.1


def test_what_cannot_be_swapped_is_refused():
    with pytest.raises(InputError, match="unknown permutation 'units_7', choose from units_0, units_1"):
        transposition_distances(*network("w_asym")[:1], network("w_asym")[2], network("w_asym")[1], "units_7")


# Bases


def test_principal_directions_are_those_of_the_variance_and_no_more_than_needed():
    directions = np.linalg.qr(RNG.normal(size=(9, 9)))[0]
    inputs = RNG.normal(size=(4000, 9)) * np.sqrt([80, 15, 5, *[1e-9] * 6]) @ directions.T + 30
    for share, count in ((0.7, 1), (0.9, 2), (0.99, 3), (1.0, 9)):
        basis = principal_basis(inputs, share)
        assert basis.shape == (9, count)
        np.testing.assert_allclose(basis.T @ basis, np.eye(count), atol=1e-12)
    overlap = principal_basis(inputs, 0.9).T @ directions[:, :2]
    np.testing.assert_allclose(overlap @ overlap.T, np.eye(2), atol=0.01)


def test_coherence_is_one_on_an_axis_and_smallest_when_spread():
    assert coherence(np.eye(6)[:, :2]) == 1
    spread = np.array([[1, 1, 1, 1], [1, -1, 1, -1]]).T / 2
    assert coherence(spread) == pytest.approx(2 / 4)


@pytest.mark.parametrize("share", [0.0, 1.1, np.nan])
def test_bases_that_there_are_not_are_refused(share):
    with pytest.raises(InputError, match="give a share of the variance above 0"):
        principal_basis(np.eye(3), share)
    with pytest.raises(InputError, match="are all the same"):
        principal_basis(np.ones((5, 3)))


# Swap costs


def layer(num_inputs=12, num_units=6, num_dimensions=4, num_fixed=3, scale=1.0):
    """Kernel, fixed values, free entries and a basis, at random but the same in every call."""
    rng = np.random.default_rng(0)
    is_free = np.ones((num_inputs, num_units), bool)
    for unit in range(num_units):
        is_free[rng.choice(num_inputs, num_fixed, replace=False), unit] = False
    fixed = np.where(is_free, 0.0, scale * rng.normal(size=is_free.shape))
    kernel = np.where(is_free, rng.normal(size=is_free.shape), fixed)
    return kernel, fixed, is_free, np.linalg.qr(rng.normal(size=(num_inputs, num_dimensions)))[0]


def costs_by_definition(kernel, fixed, is_free, basis):
    """The formula with a pseudoinverse, and the least-squares weights whose squared norm it is."""
    num_units = kernel.shape[1]
    costs = np.zeros((num_units, num_units))
    for i in range(num_units):
        matrix = basis.T * is_free[:, i]
        for j in range(num_units):
            wanted = basis.T @ (kernel[:, j] - fixed[:, i])
            costs[i, j] = wanted @ np.linalg.pinv(matrix @ matrix.T) @ wanted
            weights = np.linalg.lstsq(matrix, wanted, rcond=None)[0]
            np.testing.assert_allclose(matrix @ weights, wanted, atol=1e-10)
            np.testing.assert_allclose(np.sum(weights**2), costs[i, j], rtol=1e-6)
    return costs


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_costs_are_the_least_squared_norms_of_free_weights(scale):
    one = layer(scale=scale)
    np.testing.assert_allclose(realisation_costs(*one), costs_by_definition(*one), rtol=1e-6)


def test_swaps_of_a_standard_layer_are_free_and_those_of_a_syre_layer_have_a_closed_form():
    kernel, _, _, basis = layer()
    everything = np.ones_like(kernel, bool)
    np.testing.assert_allclose(
        swap_costs(realisation_costs(kernel, np.zeros_like(kernel), everything, basis)), 0, atol=1e-12
    )
    offset = RNG.normal(size=kernel.shape)
    found = swap_costs(realisation_costs(kernel, offset, everything, basis))
    functions, offsets = (basis.T @ array for array in (kernel, offset))
    inner = functions.T @ offsets
    expected = 2 * (np.diag(inner)[:, None] + np.diag(inner)[None] - inner - inner.T)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_swaps_are_cheap_without_fixed_values_and_dear_with_large_ones():
    medians = []
    for scale in (0.0, 1.0, 3.0):
        costs = swap_costs(realisation_costs(*layer(40, 20, 16, 5, scale)))
        medians.append(np.median(costs[np.triu_indices(20, 1)]))
        assert np.all(np.diag(costs) == 0)
        np.testing.assert_allclose(costs, costs.T)
        if scale == 0:
            assert (costs < -1e-6).any()
    assert abs(medians[0]) < 0.2 * medians[1] < 0.2 * medians[2]


def test_a_function_that_no_free_weights_reach_costs_infinity_and_a_units_own_never_does():
    # Unit 0 has its weights on the first axis fixed; on these inputs no other entry moves that direction.
    basis = np.eye(4)[:, :2]
    is_free = np.array([[False, True], [True, True], [True, True], [True, True]])
    fixed = np.array([[2.0, 0], [0, 0], [0, 0], [0, 0]])
    kernel = np.array([[2.0, 1], [3, 4], [5, 6], [7, 8]])
    costs = realisation_costs(kernel, fixed, is_free, basis)
    np.testing.assert_allclose(costs, [[9, np.inf], [13, 17]])
    assert swap_costs(costs)[0, 1] == np.inf
    kernel[0, 1] = 2.0
    np.testing.assert_allclose(realisation_costs(kernel, fixed, is_free, basis), [[9, 16], [13, 20]])


def test_signed_roots_keep_the_sign():
    np.testing.assert_array_equal(signed_root(np.array([4.0, -9.0, 0.0, np.inf])), [2, -3, 0, np.inf])


# Networks


@pytest.mark.parametrize("arch", ["standard", "w_asym", "pruned", "syre"])
def test_fixed_and_free_parts_make_the_network(arch):
    model, frozen, params = network(arch)
    fixed, is_free = fixed_and_free(model, frozen)
    position = trees.flatten(model.merge(jax.tree.map(np.zeros_like, model.split(params, frozen)), frozen))
    assert all(np.array_equal(fixed[path], position[path]) for path in fixed)
    assert np.any(fixed["dense_0/kernel"]) == (arch in ("w_asym", "syre"))
    assert (~is_free["dense_1/kernel"]).sum() == (2 * 4 if arch in ("w_asym", "pruned") else 0)
    assert is_free["dense_0/bias"].all() and not np.any(fixed["dense_0/bias"])


@pytest.mark.parametrize("widths", [(9, 8), (70, 8)])
def test_what_enters_a_layer_makes_what_enters_its_activation(widths):
    # The narrow network has its units first in memory.
    model = model_of(widths=widths, norm="none").build((4, 3), 3)
    params, x = drawn_position(model, {}), RNG.normal(size=(11, 4, 3)).astype("float32")
    views = model.layer_inputs, model.site_inputs, model.forward
    inputs, sites, forward = trees.to_host(jax.jit(lambda params: [view(params, {}, x) for view in views])(params))
    np.testing.assert_array_equal(inputs["dense_0/kernel"], x.reshape(11, 12))
    for name, found in (("dense_0", sites["act_0"]), ("dense_1", sites["act_1"])):
        expected = inputs[f"{name}/kernel"] @ params[name]["kernel"] + params[name]["bias"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    outputs = inputs["output/kernel"] @ params["output"]["kernel"] + params["output"]["bias"]
    np.testing.assert_allclose(forward, outputs, rtol=1e-4, atol=1e-5)


def test_a_network_has_strengths_for_its_hidden_layers():
    x = RNG.normal(size=(100, 7)).astype("float32")
    found, layer_inputs = {}, jax.jit(network("standard")[0].layer_inputs)
    for arch in ("standard", "w_asym", "pruned", "syre"):
        model, frozen, params = network(arch)
        check_measurable(model, frozen, x)
        found[arch] = layer_strengths(model, params, frozen, layer_inputs(params, {}, x))
        assert list(found[arch]) == ["dense_0/kernel", "dense_1/kernel"]
        for strength, width in zip(found[arch].values(), (5, 4), strict=True):
            assert strength.swap_costs.shape == (width * (width - 1) // 2,)
            assert strength.num_dimensions / (7 if width == 5 else 5) <= strength.coherence <= 1
    for name, standard in found["standard"].items():
        np.testing.assert_allclose(standard.swap_costs, 0, atol=1e-6)
        assert standard.distance == found["syre"][name].distance == 0
        assert found["w_asym"][name].distance > found["pruned"][name].distance > 0


@pytest.mark.parametrize(
    ("arch", "backbone", "message"),
    [
        ("sigma_asym", "mlp", "gates tell units apart, not weights"),
        ("standard", "resnet", "swap costs are of the units of dense layers, which block_0_0/conv_0/kernel"),
        ("standard", "rnn", "RNN has its activations in a scan"),
    ],
)
def test_networks_without_swap_costs_are_refused(arch, backbone, message):
    model, frozen, _ = network(arch, backbone)
    with pytest.raises(InputError, match=message):
        check_measurable(model, frozen, np.zeros((2, *SHAPES[backbone]), "float32"))
