"""Exact invariances of networks with LayerNorm, and which of them the methods leave."""

from functools import cache, partial

import jax
import numpy as np
import pytest
from model_of import drawn_constants, model_of

from asymjax import trees
from asymjax.models.methods import METHODS
from asymjax.symmetry import distance_to_model, gates_of, with_gates

WIDTHS, INPUTS = (18, 17), np.random.default_rng(1).standard_normal((60, 40))
# LayerNorm divides by sqrt(variance + 1e-6), so that scaling variances of one and more changes its outputs by up to a
# millionth in float64, and gates enlarge that.
EXACT, CHANGED = 1e-5, 1e-2


@cache
def network_of(arch, activation):
    config = model_of(arch, widths=WIDTHS, norm="layer", activation=activation, num_fixed=(2, 5, 5))
    return config.build(INPUTS.shape[1:], 3)


@cache
def network(arch):
    """Constants, effective parameters, which do not depend on the activation, and their distance from the set."""
    model, generator = network_of(arch, "relu"), np.random.default_rng(0)
    frozen = drawn_constants(model, scale=float(arch != "pruned"))
    shapes = jax.eval_shape(model.init, jax.random.key(0), frozen)
    position = jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, "float32"), shapes)
    params = trees.flatten(jax.tree.map(np.float64, jax.jit(model.merge)(position, frozen)))
    return frozen, params, jax.jit(partial(distance_to_model, model))


@cache
def forward_of(is_gated, activation):
    """The function of effective parameters and gates; methods without gates have that of standard networks."""
    return jax.jit(network_of("sigma_asym" if is_gated else "standard", activation).forward)


def change(arch, edits, activation="relu"):
    """Largest change of the outputs, and distance from the model's set, when some parameters are replaced."""
    frozen, params, distance = network(arch)
    gates = with_gates({}, gates_of(frozen))
    forward = forward_of(bool(gates), activation)
    with jax.enable_x64(True):
        edited = trees.unflatten(params | {path: np.asarray(edit(params[path])) for path, edit in edits.items()})
        before, after = (np.asarray(forward(p, gates, INPUTS)) for p in (trees.unflatten(params), edited))
        return float(np.abs(after - before).max()), float(distance(edited, frozen))


def assert_kept(outcome):
    assert outcome[0] < EXACT
    assert outcome[1] < EXACT


def fixed_in(arch, path):
    is_free = network_of(arch, "relu").free_mask(network(arch)[0])
    return ~np.asarray(trees.flatten(is_free)[path])


@pytest.mark.parametrize("arch", METHODS)
def test_a_common_shift_of_biases_before_a_norm_is_broken_by_fixed_biases_only(arch):
    outputs, left = change(arch, {"dense_0/bias": lambda bias: bias + 3, "dense_1/bias": lambda bias: bias - 2})
    assert outputs < EXACT
    assert (left > CHANGED) == (arch == "fixed_bias")
    assert change(arch, {"dense_1/bias": lambda bias: bias + 3 * np.eye(17)[0]})[0] > CHANGED


@pytest.mark.parametrize("arch", METHODS)
def test_a_common_shift_of_an_inputs_weights_is_broken_where_one_of_them_is_fixed(arch):
    shift = np.arange(1.0, 19)[:, None]
    outputs, left = change(arch, {"dense_1/kernel": lambda kernel: kernel + shift})
    assert outputs < EXACT
    assert (left > CHANGED) == (arch in ("w_asym", "pruned", "w_sigma_asym"))
    if arch in ("w_asym", "pruned", "w_sigma_asym"):
        free = ~fixed_in(arch, "dense_0/kernel").any(axis=1)
        assert free.any() and not free.all()
        assert_kept(change(arch, {"dense_0/kernel": lambda kernel: kernel + 2.0 * free[:, None]}))


@pytest.mark.parametrize("arch", METHODS)
@pytest.mark.parametrize("factor", [3.0, -1.0])
def test_a_common_scale_of_what_enters_a_norm_is_broken_by_fixed_values_only(arch, factor):
    edits = {path: lambda leaf: factor * leaf for path in ("dense_1/kernel", "dense_1/bias")}
    edits["norm_1/scale"] = lambda scale: np.sign(factor) * scale
    outputs, left = change(arch, edits)
    assert outputs < EXACT
    assert (left > CHANGED) == (arch in ("w_asym", "w_sigma_asym", "fixed_bias"))


def test_with_relu_fixed_values_leave_a_common_scale_of_norm_and_next_bias():
    edits = {path: lambda leaf: 3 * leaf for path in ("norm_0/scale", "norm_0/bias", "dense_1/bias")}
    assert_kept(change("w_asym", edits))
    assert change("w_asym", edits, "gelu")[0] > CHANGED


def scale_unit(unit, factor):
    """Edits that scale a unit of the last hidden layer after its norm, and undo it in the next kernel."""
    factors = np.where(np.arange(17) == unit, factor, 1.0)
    return {
        "norm_1/scale": lambda scale: scale * factors,
        "norm_1/bias": lambda bias: bias * factors,
        "output/kernel": lambda kernel: kernel / factors[:, None],
    }


@pytest.mark.parametrize("arch", ["standard", "w_asym", "pruned", "sigma_asym"])
def test_a_relu_unit_after_a_norm_rescales_unless_the_next_column_holds_a_fixed_value(arch):
    is_fixed = fixed_in("w_asym", "output/kernel").any(axis=1)
    assert is_fixed.any() and not is_fixed.all()
    for unit in (np.argmax(is_fixed), np.argmin(is_fixed)):
        edits = scale_unit(unit, 4.0)
        outputs, left = change(arch, edits)
        assert (outputs < EXACT) == (arch != "sigma_asym")
        assert (left > CHANGED) == (arch == "w_asym" and is_fixed[unit])
        assert change("standard", edits, "gelu")[0] > CHANGED


@pytest.mark.parametrize("arch", ["standard", "w_asym", "pruned"])
def test_a_tanh_unit_after_a_norm_flips_unless_the_next_column_holds_a_fixed_value(arch):
    is_fixed = fixed_in("w_asym", "output/kernel").any(axis=1)
    for unit in (np.argmax(is_fixed), np.argmin(is_fixed)):
        outputs, left = change(arch, scale_unit(unit, -1.0), "tanh")
        assert outputs < EXACT
        assert (left > CHANGED) == (arch == "w_asym" and is_fixed[unit])
