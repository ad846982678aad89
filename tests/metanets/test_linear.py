"""The complete equivariant linear map: its dimension, that it commutes with permutations, and what it refuses."""

from itertools import permutations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from asymjax.axes import permute_leaf
from asymjax.errors import InputError
from asymjax.metanets.linear import (
    contract,
    contractions,
    expand,
    expansions,
    invariants,
    linear,
    num_maps,
    to_features,
    unit_counts,
    whole_spec,
)
from asymjax.types import Fixed, Perm, Product, Sum

FLOAT32 = 1e-5  # Of outputs of order one, sums of some hundred products.


def perceptron(*widths, are_ends_permuted=False):
    """The specification of a perceptron: hidden units are permuted, and inputs and outputs too if asked."""

    def axis(layer):
        is_end = layer in (0, len(widths) - 1)
        return Fixed(widths[layer]) if is_end and not are_ends_permuted else Perm(f"units_{layer}", widths[layer])

    layers = range(1, len(widths))
    kernels = {f"kernel_{i}": (axis(i - 1), axis(i)) for i in layers}
    return kernels | {f"bias_{i}": (axis(i),) for i in layers}


def recurrent(num_inputs, width, num_outputs):
    units = Perm("units", width)
    spec = {"input": (Fixed(num_inputs), units), "recurrent": (units, units), "bias": (units,)}
    return spec | {"output": (units, Fixed(num_outputs)), "output_bias": (Fixed(num_outputs),)}


P, Q = Perm("p", 4), Perm("q", 3)
SPACES = {  # Specification, dimension of the equivariant maps, number of invariants.
    "MLP 3-4-2": (perceptron(3, 4, 2), 100, 8),
    "MLP 3-4-4-2": (perceptron(3, 4, 4, 2), 142, 10),
    "MLP 2-4-4-4-1": (perceptron(2, 4, 4, 4, 1), 117, 9),
    "NP, 2 layers": (perceptron(2, 3, 2, are_ends_permuted=True), 32, 4),
    "NP, 3 layers": (perceptron(2, 3, 2, 3, are_ends_permuted=True), 62, 6),
    "NP, 4 layers": (perceptron(2, 3, 2, 3, 2, are_ends_permuted=True), 100, 8),
    "one matrix": ({"kernel": (Perm("p", 3), Perm("q", 2))}, 4, 1),
    "one recurrent matrix": ({"kernel": (P, P)}, 15, 2),
    "RNN": (recurrent(3, 4, 2), 183, 10),
    "gates": ({"kernel": (Fixed(2), Sum((P, P))), "bias": (Sum((P, P)),)}, 72, 6),
}


def shapes_of(spec):
    return {path: jax.ShapeDtypeStruct(tuple(axis.size for axis in axes), np.float32) for path, axes in spec.items()}


def num_channels(spec):
    features = jax.eval_shape(lambda leaves: to_features(leaves, spec), shapes_of(spec))
    return {index: array.shape[-1] for index, array in features.items()}


def layer_of(spec):
    channels = num_channels(spec)
    return linear(unit_counts(spec), channels, channels), channels


def drawn(spec, seed=0):
    """Leaves of whole numbers, whose sums are exact."""
    numbers = np.random.default_rng(seed)
    return {path: numbers.integers(-9, 10, leaf.shape).astype(float) for path, leaf in shapes_of(spec).items()}


def permuted(leaves, spec, element):
    return {path: permute_leaf(leaf, spec[path], element, np) for path, leaf in leaves.items()}


def elements(spec):
    """Every element of the group."""
    counts = unit_counts(spec)
    for chosen in product(*(permutations(range(size)) for size in counts.values())):
        yield {name: np.array(order) for name, order in zip(counts, chosen, strict=True)}


def random_element(spec, seed=0):
    numbers = np.random.default_rng(seed)
    return {name: numbers.permutation(size) for name, size in unit_counts(spec).items()}


@pytest.mark.parametrize("space", SPACES)
def test_maps_are_independent_and_as_many_as_known(space):
    spec, dimension, num_invariants = SPACES[space]
    layer, channels = layer_of(spec)
    with jax.enable_x64(True):
        zero, to_leaves = ravel_pytree({path: jnp.zeros(leaf.shape) for path, leaf in shapes_of(spec).items()})
        theta, to_matrices = ravel_pytree(layer.init(jax.random.key(0)))

        def outputs(theta, entries):
            return ravel_pytree(layer.apply(to_matrices(theta), to_features(to_leaves(entries), spec)))[0]

        def operator(theta):
            return jax.vmap(lambda one: outputs(theta, one) - outputs(theta, zero))(jnp.eye(len(zero))).ravel()

        maps = np.asarray(jax.jit(jax.vmap(operator))(jnp.eye(len(theta))))
    assert np.linalg.matrix_rank(maps) == np.any(maps != 0, axis=1).sum() == dimension
    assert dimension == sum(num_maps(a, b) * channels[a] * channels[b] for a in channels for b in channels)
    assert len(invariants(to_features(drawn(spec), spec))) == num_invariants


@pytest.mark.parametrize("space", ["MLP 3-4-2", "MLP 3-4-4-2", "NP, 2 layers", "one recurrent matrix", "gates", "RNN"])
def test_dimensions_are_those_of_the_commutant(space):
    """The dimension is the mean over the group of the square of the number of entries that stay where they are."""
    spec, dimension, num_invariants = SPACES[space]
    places = {path: np.arange(np.prod(leaf.shape)).reshape(leaf.shape) for path, leaf in shapes_of(spec).items()}
    moved = [permuted(places, spec, element) for element in elements(spec)]
    num_fixed = [sum(np.sum(leaves[path] == places[path]) for path in places) for leaves in moved]
    assert np.mean(np.square(num_fixed)) == dimension
    assert np.mean(num_fixed) == num_invariants


def count(spec):
    channels = num_channels(spec)
    return sum(num_maps(a, b) * channels[a] * channels[b] for a in channels for b in channels)


def test_dimensions_by_counting():
    neuron = [count(perceptron(*range(2, num_layers + 3), are_ends_permuted=True)) for num_layers in range(2, 7)]
    assert neuron == [32, 62, 100, 146, 200]
    assert count(perceptron(64, 16, 10)) == 12_850
    assert count(perceptron(64, 16, 16, 10)) == 12_070
    assert [num_maps(n * ("p",), m * ("p",)) for n, m in ((0, 1), (1, 1), (1, 2), (2, 2), (2, 3))] == [1, 2, 5, 15, 52]


INDICES = [(), ("p",), ("q",), ("p", "q"), ("p", "p"), ("p", "p", "q")]


def test_each_map_commutes_with_permutations_to_the_bit():
    sizes, numbers = {"p": 4, "q": 3}, np.random.default_rng(0)

    @jax.jit
    def maps(array_of):
        return {
            index: [
                expand(contract(array, view), way, [sizes[name] for name in index]) + jnp.zeros(shape(index))
                for source, array in zip(INDICES, array_of, strict=True)
                for view in contractions(source)
                for way in expansions(index)
                if view.key == way.key
            ]
            for index in INDICES
        }

    def shape(index):
        return (*(sizes[name] for name in index), 1)

    def move(array, index, element):
        return permute_leaf(array, [*(Perm(name, sizes[name]) for name in index), Fixed(1)], element, np)

    with jax.enable_x64(True):
        arrays = [numbers.integers(-9, 10, shape(index)).astype(float) for index in INDICES]
        before = maps(arrays)
        assert sum(map(len, before.values())) == sum(num_maps(a, b) for a in INDICES for b in INDICES)
        for _ in range(3):
            element = {name: numbers.permutation(size) for name, size in sizes.items()}
            after = maps([move(array, index, element) for array, index in zip(arrays, INDICES, strict=True)])
            for index in INDICES:
                for one, other in zip(before[index], after[index], strict=True):
                    np.testing.assert_array_equal(move(np.asarray(one), index, element), other)


@pytest.mark.parametrize("space", ["MLP 3-4-4-2", "NP, 3 layers", "RNN", "gates"])
def test_the_layer_commutes_with_permutations_unless_one_axis_is_out_of_step(space):
    spec, *_ = SPACES[space]
    layer, channels = layer_of(spec)
    matrices = layer.init(jax.random.key(0))
    apply = jax.jit(lambda leaves: layer.apply(matrices, to_features(leaves, spec)))
    leaves, element, sizes = drawn(spec), random_element(spec), unit_counts(spec)
    before = apply(leaves)

    def departure(moved):
        after = apply(moved)
        axes = {index: [*(Perm(name, sizes[name]) for name in index), Fixed(channels[index])] for index in before}
        expected = {index: permute_leaf(array, axes[index], element) for index, array in before.items()}
        return max(np.abs(after[index] - expected[index]).max() for index in before)

    moved = permuted(leaves, spec, element)
    assert departure(moved) < 10 * FLOAT32
    first = next(iter(spec))
    assert departure(moved | {first: leaves[first]}) > 0.1


def test_a_layer_of_the_identity_returns_its_input():
    spec, *_ = SPACES["one recurrent matrix"]
    layer, _ = layer_of(spec)
    matrices = jax.tree.map(jnp.zeros_like, layer.init(jax.random.key(0)))
    # Of the two orders in which units come to the hub, the first is that of the matrix.
    matrices["p,p"] = matrices["p,p"].at[0, 0].set(1)
    leaves = drawn(spec)
    np.testing.assert_array_equal(layer.apply(matrices, to_features(leaves, spec))["p", "p"][..., 0], leaves["kernel"])
    matrices["p,p"] = matrices["p,p"][::-1]
    np.testing.assert_array_equal(
        layer.apply(matrices, to_features(leaves, spec))["p", "p"][..., 0], leaves["kernel"].T
    )


def test_one_hidden_layer_is_deep_sets_over_its_units():
    """Zaheer et al. (2017), arXiv 1703.06114: each unit by itself, and the mean over units, through a matrix each."""
    spec = perceptron(2, 3, 1)
    layer = linear(unit_counts(spec), {("units_1",): 4, (): 1}, {("units_1",): 2, (): 1})
    matrices, leaves = layer.init(jax.random.key(0)), drawn(spec)
    of_unit, of_all = np.asarray(matrices["units_1"]), np.asarray(matrices[""])
    units = np.stack([[*leaves["kernel_1"][:, j], *leaves["kernel_2"][j], leaves["bias_1"][j]] for j in range(3)])
    together = np.concatenate([leaves["bias_2"], units.mean(0), [1.0]])
    pooled = np.maximum(units @ of_unit[:, :2] + together @ _columns(of_all, "unit"), 0).mean(0)
    found = layer.apply(matrices, _ordered(leaves, spec))
    np.testing.assert_allclose(jax.nn.relu(found["units_1",]).mean(0), pooled, atol=FLOAT32 * 10)
    np.testing.assert_allclose(found[()], together @ _columns(of_all, "whole"), atol=FLOAT32 * 10)


def _ordered(leaves, spec):
    order = ("kernel_1", "kernel_2", "bias_1", "bias_2")
    return to_features(leaves, {path: spec[path] for path in order})


def _columns(matrix, which):
    """Rows of the empty hub are the bias of the output, the mean over units, and 1."""
    rows = np.concatenate([matrix[4:5], matrix[:4], matrix[5:]])
    return rows[:, :2] if which == "unit" else rows[:, 2:]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kernel": (Fixed(4, "heads"), Perm("p", 3, ("heads",)))}, "within others"),
        ({"kernel": (P, Perm("q", 3)), "bias": (Perm("q", 5),)}, "q has 5 units in one leaf and 3"),
        ({"kernel": (P, P)}, r"shape \(4, 3\), but its specification is of \(4, 4\)"),
        ({"weight": (P, Q)}, "the specification has weight"),
    ],
)
def test_what_it_cannot_serve_is_refused(spec, words):
    shapes = {"kernel": jax.ShapeDtypeStruct((4, 3), np.float32), "bias": jax.ShapeDtypeStruct((5,), np.float32)}
    with pytest.raises(InputError, match=words):
        whole_spec(shapes, spec)


def test_parts_of_axes_are_blocks_and_what_is_fixed_is_channels():
    spec = {"kernel": (Fixed(3), Product((P, Fixed(2)))), "gates": (Sum((P, Q, Fixed(5))),), "scalar": ()}
    leaves = drawn(spec)
    features = to_features(leaves, spec)
    assert {index: array.shape for index, array in features.items()} == {("p",): (4, 7), ("q",): (3, 1), (): (6,)}
    np.testing.assert_array_equal(features["p",][:, 6], leaves["gates"][:4])
    np.testing.assert_array_equal(features["p",][1, :6].reshape(3, 2), leaves["kernel"][:, 2:4])
