"""The group of a model's positions: what methods leave of it, and which of its units may be negated."""

import jax
import numpy as np
import pytest
from model_of import drawn_constants, drawn_position, model_of

from asymjax import trees
from asymjax.axes import perms_of
from asymjax.models.methods import METHODS
from asymjax.symmetry import permute
from asymjax.symmetry.groups import negate_units, odd_units, position_spec, separable_units, unit_sums, whole_units

WIDTHS, NUM_INPUTS, NUM_OUTPUTS = (5, 6, 7), 4, 2
ROUNDING = 1e-6  # Of outputs of about one, sums of seven products.


def network(arch="standard", norm="none", activation="tanh", num_fixed=(2, 2, 2, 2)):
    scales = (1.0,) * len(num_fixed)
    settings = {"widths": WIDTHS, "norm": norm, "activation": activation, "num_fixed": num_fixed, "fixed_scale": scales}
    model = model_of(arch, **settings).build((NUM_INPUTS,), NUM_OUTPUTS)
    return model, drawn_constants(model)


def names(spec):
    return set().union(*(perms_of(axes) for axes in spec.values()))


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("arch", METHODS)
def test_methods_leave_no_permutation_and_the_standard_network_all(arch, norm):
    spec = position_spec(*network(arch, norm))
    assert names(spec) == ({"units_0", "units_1", "units_2"} if arch == "standard" else set())
    if arch == "standard":
        vectors = {"dense_0/kernel", "dense_0/bias", "dense_1/kernel", "dense_1/bias", "dense_2/kernel", "dense_2/bias"}
        norms = {f"norm_{i}/{name}" for i in range(3) for name in ("scale", "bias")} if norm == "layer" else set()
        assert spec.keys() == vectors | norms | {"output/kernel"}


@pytest.mark.parametrize(
    ("num_fixed", "left"),
    [
        ((2, 0, 0, 0), {"units_1", "units_2"}),
        ((0, 2, 0, 0), {"units_2"}),
        ((0, 0, 2, 0), {"units_0"}),
        ((0, 0, 0, 2), {"units_0", "units_1"}),
        ((0, 0, 0, 0), {"units_0", "units_1", "units_2"}),
    ],
)
def test_layers_without_fixed_entries_keep_their_units(num_fixed, left):
    model, frozen = network("w_asym", num_fixed=num_fixed)
    spec = position_spec(model, frozen)
    assert names(spec) == left
    # What is left acts on positions: each leaf has the axes that it has in the network.
    position = trees.flatten(jax.eval_shape(model.init, jax.random.key(0), frozen))
    assert all(position[path].shape == tuple(axis.size for axis in axes) for path, axes in spec.items())


def test_separable_units_share_no_leaf_and_are_the_most():
    spec = position_spec(*network())
    assert whole_units(spec) == {"units_0": 5, "units_1": 6, "units_2": 7}
    assert separable_units(spec) == {"units_0": 5, "units_2": 7}


def test_sums_of_units_are_over_all_that_belongs_to_them():
    model, frozen = network()
    position = drawn_position(model, frozen)
    first, second = position["dense_0"], position["dense_1"]
    expected = first["kernel"].sum(0) + first["bias"] + second["kernel"].sum(1)
    found = unit_sums(trees.flatten(position), position_spec(model, frozen), "units_0")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "norm", "are_odd"), [("tanh", "none", True), ("relu", "none", False), ("tanh", "layer", False)]
)
def test_units_are_odd_whose_activation_is_without_a_norm_over_them(activation, norm, are_odd):
    model, frozen = network(activation=activation, norm=norm)
    spec = position_spec(model, frozen)
    zero = jax.tree.map(lambda leaf: 0.0, model.params_shape)
    assert odd_units(model, spec, zero) == (frozenset(whole_units(spec)) if are_odd else frozenset())


def test_units_are_not_odd_because_all_that_follows_is_off():
    """One unit of relu follows, which is off at the one row of an example every other time."""
    model = model_of(widths=(16, 1), norm="none", activation="relu").build((2,), 1)
    zero = jax.tree.map(lambda leaf: 0.0, model.params_shape)
    assert odd_units(model, position_spec(model, {}), zero) == frozenset()


def test_units_are_not_odd_whose_prior_is_not_even():
    model, frozen = network()
    mean = {path: float(path == "dense_0/bias") for path in trees.flatten(model.params_shape)}
    assert odd_units(model, position_spec(model, frozen), trees.unflatten(mean)) == {"units_1", "units_2"}


def test_permuted_and_negated_units_are_the_same_function():
    model, frozen = network()
    spec, position, numbers = position_spec(model, frozen), drawn_position(model, frozen), np.random.default_rng(1)
    inputs = numbers.normal(size=(9, NUM_INPUTS)).astype(np.float32)
    forward = jax.jit(lambda position: model.apply(position, frozen, inputs))
    expected = forward(position)
    for _ in range(3):
        elements = {name: numbers.permutation(size) for name, size in whole_units(spec).items()}
        signs = {name: numbers.choice(np.float32([-1, 1]), size) for name, size in whole_units(spec).items()}
        moved = permute(position, model.permutation_spec, elements)
        moved = trees.unflatten(negate_units(trees.flatten(moved), spec, signs))
        np.testing.assert_allclose(forward(moved), expected, atol=ROUNDING)
