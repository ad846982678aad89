"""The baseline is plain Flax, and the two data layouts of the perceptron are one function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from model_of import model_of
from random_graphs import random_graph

from asymjax.models.backbones import BACKBONES
from asymjax.models.backbones.backbone import bias_init, kernel_init
from asymjax.models.backbones.mlp import UNIT_FIRST_WIDTH, MLPModule

WIDTHS = (UNIT_FIRST_WIDTH + 4, UNIT_FIRST_WIDTH + 2)
INPUTS = np.random.default_rng(1).standard_normal((9, 4, 4, 1), "float32")


class PlainMLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(WIDTHS):
            x = nn.gelu(nn.LayerNorm(name=f"norm_{i}")(nn.Dense(width, name=f"dense_{i}")(x)))
        return nn.Dense(3, name="output")(x)


class PlainCNN(nn.Module):
    strides: int = 1

    @nn.compact
    def __call__(self, x):
        for i, width in enumerate(WIDTHS):
            x = nn.Conv(width, (3, 3), self.strides, name=f"conv_{i}")(x)
            x = nn.gelu(nn.GroupNorm(1, name=f"norm_{i}")(x))
            x = nn.avg_pool(x, (2, 2), (2, 2)) if self.strides == 1 else x
        return nn.Dense(3, name="output")(x.mean((1, 2)))


def inputs_of(backbone):
    return random_graph(9, 16) if backbone == "gcn" else INPUTS


def network_of(arch, backbone, num_fixed=(), **settings):
    config = model_of(arch, backbone, widths=WIDTHS, depth=8, norm="layer", num_fixed=num_fixed, **settings)
    return config.build(inputs_of(backbone).shape[1:], 3)


def random_position(model):
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: 0.2 * generator.standard_normal(leaf.shape, "float32"), model.params_shape)


@pytest.mark.parametrize(
    ("backbone", "downsampling", "plain"),
    [("mlp", "pool", PlainMLP()), ("cnn", "pool", PlainCNN()), ("cnn", "stride", PlainCNN(2))],
    ids=["mlp", "cnn", "cnn of strides"],
)
def test_standard_is_plain_flax(backbone, downsampling, plain):
    model = network_of("standard", backbone, downsampling=downsampling)
    position = random_position(model)
    outputs = jax.jit(model.apply)(position, {}, INPUTS)
    expected = jax.jit(plain.apply)({"params": position}, INPUTS)
    # Two programs, which may sum in another order each.
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_with_nothing_fixed_w_asym_is_standard_program_by_program(backbone):
    standard, w_asym = network_of("standard", backbone), network_of("w_asym", backbone, num_fixed=(0,))
    key, position, inputs = jax.random.key(0), random_position(standard), inputs_of(backbone)
    assert standard.freeze(key) == w_asym.freeze(key) == {}
    for name, arguments in (("init", (key, {})), ("merge", (position, {})), ("apply", (position, {}, inputs))):
        programs = [str(jax.make_jaxpr(getattr(model, name))(*arguments)) for model in (standard, w_asym)]
        assert programs[0] == programs[1]


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_units_first_is_the_same_function(norm):
    rows_first, units_first = (
        MLPModule((7, 5), 3, norm, layout, lambda site, x, axis: jnp.tanh(x)) for layout in (False, True)
    )
    params = jax.jit(rows_first.init)(jax.random.key(0), INPUTS)
    jax.tree.map(np.testing.assert_array_equal, params, jax.jit(units_first.init)(jax.random.key(0), INPUTS))
    outputs = jax.jit(units_first.apply)(params, INPUTS)
    np.testing.assert_allclose(outputs, jax.jit(rows_first.apply)(params, INPUTS), rtol=1e-5, atol=1e-5)


def test_initial_kernels_and_biases_are_uniform_within_one_over_root_fan_in():
    kernel = kernel_init(jax.random.key(0), (3, 3, 20, 18))
    bias = bias_init(180)(jax.random.key(0), (3240,))
    np.testing.assert_array_equal(kernel.reshape(-1), bias)
    assert np.abs(bias).max() <= 180**-0.5
    # 3240 draws: the standard deviation is good to 0.8 %.
    np.testing.assert_allclose(np.std(bias), (3 * 180) ** -0.5, rtol=0.04)
