"""Masks of W-asymmetric networks: distinct, of the right size, or refused with numbers."""

import math
from functools import partial

import jax
import numpy as np
import pytest
from model_of import model_of

from asymjax import rng
from asymjax.models import settled_network
from asymjax.models.backbones import MLP
from asymjax.models.methods import Pruned, WAsym, w_asym
from asymjax.models.methods.method import Kernel
from asymjax.types import Layer

KEYS = jax.vmap(lambda seed: rng.role_key(seed, "mask"))(np.arange(40))


def kernel_of(shape, num_fixed, mask_kind="random_subsets", fixed_scale=0.5):
    *window, inputs, units = range(len(shape))
    layer = Layer("kernel", shape, (inputs,), (units,), (), tuple(window), "kernel")
    return Kernel(layer, 1.0, num_fixed, fixed_scale, mask_kind)


def draw_fixed(shape, num_fixed, mask_kind="random_subsets", seed=0):
    """Masks with one row a unit, True where fixed."""
    kernel = kernel_of(shape, num_fixed, mask_kind)
    fixed = jax.jit(w_asym.is_fixed, static_argnums=1)(rng.role_key(seed, "mask"), kernel)
    assert fixed.sum() == w_asym.num_frozen(kernel)
    return np.asarray(fixed).reshape(-1, shape[-1]).T


@pytest.mark.parametrize(
    ("shape", "num_fixed"),
    [((5, 10), 2), ((8, 56), 3), ((4, 4), 1), ((1, 1), 1), ((3, 3, 2, 7), 9)],
    ids=str,
)
def test_masks_have_equal_counts_and_distinct_rows_even_when_every_subset_is_needed(shape, num_fixed):
    fixed = draw_fixed(shape, num_fixed)
    assert np.all(fixed.sum(axis=1) == num_fixed)
    assert len(np.unique(fixed, axis=0)) == shape[-1]


@pytest.mark.parametrize(
    ("shape", "num_fixed", "mask_kind"),
    [
        ((16, 2), 8, "random_subsets"),
        ((16, 3), 8, "random_subsets"),
        ((3, 3, 5, 3), 43, "random_subsets"),
        ((3, 3, 5, 4), 3, "filter_subsets"),
    ],
    ids=str,
)
def test_where_fixed_weights_are_zero_every_input_is_read_and_masks_that_read_all_stay(shape, num_fixed, mask_kind):
    drawn, pruned = (
        jax.jit(jax.vmap(partial(w_asym.is_fixed, kernel=kernel_of(shape, num_fixed, mask_kind, scale))))(KEYS)
        for scale in (0.5, 0.0)
    )

    def reads(fixed):
        return ~np.all(np.asarray(fixed), axis=(*range(1, fixed.ndim - 2), -1))  # [key, input]

    is_whole = reads(drawn).all(axis=1)
    assert not is_whole.all()
    assert is_whole.any() or shape == (16, 2)  # Of two halves only such that add up read all.
    np.testing.assert_array_equal(pruned[is_whole], drawn[is_whole])
    assert reads(pruned).all()
    for fixed in np.asarray(pruned).reshape(len(KEYS), -1, shape[-1]):
        np.testing.assert_array_equal(fixed.sum(axis=0), num_fixed * (9 if mask_kind == "filter_subsets" else 1))
        assert len(np.unique(fixed, axis=1).T) == shape[-1]


def test_where_too_few_weights_are_left_to_read_all_units_a_pruned_model_says_so():
    message = r"output/kernel \(16, 1\): 8 of 16 inputs have no outgoing weight, since num_fixed = 8 makes 8 of the 16"
    with pytest.warns(UserWarning, match=message):
        settled_network(Pruned(), MLP((16, 16)), (10,), 1)
    with pytest.warns(UserWarning, match=message):
        settled_network(WAsym(fixed_scale=(0.0,)), MLP((16, 16)), (10,), 1)
    for method, num_outputs in ((Pruned(), 2), (Pruned(num_fixed=(2, 2, 0)), 1), (WAsym(), 1)):
        settled_network(method, MLP((16, 16)), (10,), num_outputs)


def test_masks_are_uniform():
    # Each of 64 columns is fixed in 500 of 1000 rows on average; the bound is 5 standard deviations, 4e-5 in all.
    assert abs(draw_fixed((64, 1000), 32).sum(axis=0) - 500).max() < 5 * math.sqrt(250)


def test_densest_masks_start_at_nothing_and_go_on_by_size():
    sizes = draw_fixed((4, 12), 0, "densest").sum(axis=1)
    np.testing.assert_array_equal(sizes, [0, *[1] * 4, *[2] * 6, 3])


def test_filter_subsets_fix_whole_channels_and_leave_dense_layers_to_single_inputs():
    fixed = draw_fixed((3, 3, 6, 8), 2, "filter_subsets").reshape(8, 9, 6)
    assert np.all(fixed.all(axis=1) == fixed.any(axis=1))
    assert np.all(fixed.all(axis=1).sum(axis=1) == 2)
    config = model_of("w_asym", "cnn", widths=(4, 4), mask_kind="filter_subsets", num_fixed=(1, 2, 2))
    with pytest.warns(UserWarning, match=r"conv_0/kernel \(3, 3, 1, 4\): num_fixed = 1 is the whole fan-in"):
        kernels = settled_network(config.method, config.backbone, (8, 8, 1), 3).kernels
    assert [kernel.mask_kind for kernel in kernels.values()] == ["filter_subsets", "filter_subsets", "random_subsets"]


@pytest.mark.filterwarnings("ignore:.*is the whole fan-in")
def test_a_kernel_without_a_free_entry_has_no_leaf():
    model = model_of("w_asym", widths=(5, 5), num_fixed=(4, 2, 2)).build((4,), 3)
    frozen = jax.eval_shape(model.freeze, jax.random.key(0))
    position = jax.eval_shape(model.init, jax.random.key(0), frozen)
    params = jax.eval_shape(model.merge, position, frozen)
    assert set(position["dense_0"]) == {"bias"}
    assert params == model.params_shape
    assert jax.eval_shape(model.split, params, frozen) == position


def test_counts_are_inputs_or_fractions_and_the_default_is_the_least_that_tells_units_apart():
    def counts(**settings):
        kernels = settled_network(WAsym(**settings), MLP((64, 16)), (8,), 3).kernels
        return [kernel.num_fixed for kernel in kernels.values()]

    assert counts(num_fixed=(4,)) == counts(num_fixed=4) == [4, 4, 4]
    assert counts(num_fixed=[0.5]) == [4, 32, 8]
    assert counts(num_fixed=(0.5, 8, 0.25)) == [4, 8, 4]
    assert counts() == [4, 8, 8]  # 1/8 of 8 would be 1, but only 4 of 8 make 64 distinct masks: C(8, 4) = 70


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_fixed": (9,)}, r"dense_0/kernel \(8, 60\): num_fixed is 9; each unit has 8 inputs that can be fixed"),
        ({"num_fixed": (-1,)}, "num_fixed is -1"),
        ({"num_fixed": (1.5,)}, r"num_fixed = 1.5 for dense_0/kernel: a fraction of the fan-in lies in \[0, 1\]"),
        ({"num_fixed": (2,)}, "60 units need distinct masks, but 8 inputs have only 28 subsets of num_fixed = 2"),
        ({"num_fixed": (3, 3)}, "num_fixed has 2 values; give 1, or one for each of 3 layers: dense_0/kernel, "),
        ({"mask_kind": "densest", "widths": (300,)}, "300 units need distinct masks, 8 inputs have only 256"),
    ],
)
def test_what_cannot_be_met_is_refused_with_the_numbers(settings, message):
    with pytest.raises(ValueError, match=message):
        model_of("w_asym", **{"widths": (60, 60)} | settings).build((8,), 3)
