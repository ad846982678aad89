"""The baseline is plain Flax, and the two data layouts of the perceptron are one function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from asymjax.config import ModelConfig
from asymjax.models import build_model, draw_frozen
from asymjax.models.backbones.mlp import MLP, UNIT_FIRST_WIDTH

WIDTHS = (UNIT_FIRST_WIDTH + 4, UNIT_FIRST_WIDTH + 2)
INPUTS = jax.random.normal(jax.random.key(1), (9, 4, 4, 1))


class PlainMLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(WIDTHS):
            x = nn.gelu(nn.LayerNorm(name=f"norm_{i}")(nn.Dense(width, name=f"dense_{i}")(x)))
        return nn.Dense(3, name="output")(x)


class PlainCNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i, width in enumerate(WIDTHS):
            x = nn.gelu(nn.GroupNorm(1, name=f"norm_{i}")(nn.Conv(width, (3, 3), name=f"conv_{i}")(x)))
            x = nn.avg_pool(x, (2, 2), (2, 2))
        return nn.Dense(3, name="output")(x.mean((1, 2)))


def network(arch, backbone, num_fixed=()):
    config = ModelConfig(arch, backbone, widths=WIDTHS, norm="layer", num_fixed=num_fixed)
    model = build_model(config, INPUTS.shape[1:], 3)
    frozen = draw_frozen(model, 0)
    position = jax.jit(model.init)(jax.random.key(0), frozen)
    return position, jax.jit(model.apply)(position, frozen, INPUTS)


@pytest.mark.parametrize(("backbone", "plain"), [("mlp", PlainMLP()), ("cnn", PlainCNN())])
def test_standard_is_plain_flax_and_nothing_fixed_is_standard_to_the_bit(backbone, plain):
    position, outputs = network("standard", backbone)
    np.testing.assert_array_equal(jax.jit(plain.apply)({"params": position}, INPUTS), outputs)
    same_position, same_outputs = network("w_asym", backbone, num_fixed=(0,))
    jax.tree.map(np.testing.assert_array_equal, same_position, position)
    np.testing.assert_array_equal(same_outputs, outputs)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_units_first_is_the_same_function(norm):
    rows_first, units_first = (
        MLP((7, 5), 3, norm, layout, lambda site, x, axis: jnp.tanh(x)) for layout in (False, True)
    )
    params = jax.jit(rows_first.init)(jax.random.key(0), INPUTS)
    jax.tree.map(np.testing.assert_array_equal, params, jax.jit(units_first.init)(jax.random.key(0), INPUTS))
    outputs = jax.jit(units_first.apply)(params, INPUTS)
    np.testing.assert_allclose(outputs, jax.jit(rows_first.apply)(params, INPUTS), rtol=1e-6, atol=1e-6)


def test_initial_kernels_and_biases_are_uniform_within_one_over_root_fan_in():
    model = build_model(ModelConfig(backbone="cnn", widths=WIDTHS), INPUTS.shape[1:], 3)
    position = jax.jit(model.init)(jax.random.key(0), {})
    for name, fan_in in (("conv_1", 9 * WIDTHS[0]), ("output", WIDTHS[1])):
        kernel, bias = position[name]["kernel"], position[name]["bias"]
        assert max(jnp.max(jnp.abs(kernel)), jnp.max(jnp.abs(bias))) <= fan_in**-0.5
        assert abs(float(jnp.std(kernel)) * (3 * fan_in) ** 0.5 - 1) < 0.2
