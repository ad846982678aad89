"""Null directions of networks whose numbers are known (He initialisation, biases of spread .5, inputs of spread 3)."""

import jax
import numpy as np
import pytest
from flax import linen as nn

import asymjax
from asymjax import trees
from asymjax.errors import InputError
from asymjax.models.backbones import MLP
from asymjax.models.build import build_model, draw_frozen
from asymjax.models.methods import METHODS
from asymjax.paths import null_space
from asymjax.paths.metric import jacobian
from asymjax.paths.null_space import leading_eigenvalues, split_null_space
from asymjax.symmetry.continuous import find_group

CASES = [
    # (widths, norm, activation, inputs, outputs), parameters, architectural, hidden in most draws
    (((6,), "none", "relu", 4, 3), 51, 6, 0),
    (((4,), "none", "relu", 2, 1), 17, 4, 0),
    (((6,), "none", "tanh", 4, 3), 51, 0, 0),
    (((6,), "layer", "gelu", 4, 3), 63, 6, 0),
]
LARGER = [(((6, 6), "layer", "gelu", 4, 3), 117, 14, 0), (((6,), "layer", "relu", 4, 3), 63, 12, 0)]
DEEP = [
    # widths, inputs, parameters, architectural, least and most of hidden and data
    ((4, 4), 2, 37, 8, (0, 7)),
    pytest.param((5, 5, 5), 3, 86, 15, (2, 23), marks=pytest.mark.long),
    pytest.param((8, 8, 8), 5, 201, 24, (0, 21), marks=pytest.mark.long),
]


def build(widths, norm, activation, num_inputs, num_outputs, arch="standard"):
    model = build_model(METHODS[arch](), MLP(widths, norm=norm, activation=activation), (num_inputs,), num_outputs)
    return model, draw_frozen(model, 0)


def drawn(model, frozen, seed):
    """Draw weights as He et al. do, and biases beside them."""
    numbers, position = np.random.default_rng(seed), model.init(jax.random.key(seed), frozen)

    def draw(path, leaf):
        if path.endswith("kernel"):
            return numbers.normal(size=leaf.shape) * np.sqrt(2 / model.layers[path].fan_in)
        return (1.0 if path.endswith("scale") else 0.0) + 0.5 * numbers.normal(size=leaf.shape)

    return trees.unflatten({path: draw(path, leaf) for path, leaf in trees.flatten(position).items()})


@pytest.mark.parametrize(
    ("network", "num_parameters", "architectural", "hidden"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.long) for case in LARGER)],
)
def test_null_directions_of_shallow_networks(network, num_parameters, architectural, hidden):
    model, frozen = build(*network)
    group, x = find_group(model, frozen), 3 * np.random.default_rng(0).normal(size=(200, network[3]))
    found = [split_null_space(model, frozen, drawn(model, frozen, seed), x, group) for seed in range(3)]
    assert {one.num_parameters for one in found} == {num_parameters}
    assert {one.architectural for one in found} == {architectural}
    assert np.median([one.hidden for one in found]) == hidden
    assert max(one.residual for one in found) < 1e-5
    for one in found:
        assert one.rank == num_parameters - architectural - one.hidden - one.data


@pytest.mark.parametrize(("widths", "num_inputs", "num_parameters", "architectural", "extra"), DEEP)
def test_deep_relu_networks_have_hidden_directions_too(widths, num_inputs, num_parameters, architectural, extra):
    model, frozen = build(widths, "none", "relu", num_inputs, 1)
    group, x = find_group(model, frozen), 3 * np.random.default_rng(0).normal(size=(2000, num_inputs))
    found = [split_null_space(model, frozen, drawn(model, frozen, seed), x, group) for seed in range(6)]
    assert {one.num_parameters for one in found} == {num_parameters}
    assert {one.architectural for one in found} == {architectural}
    more = np.array([one.hidden + one.data for one in found])
    # Ranges are those of ten other draws, and the numbers have long tails.
    assert np.mean((more >= extra[0]) & (more <= extra[1])) > 0.8
    assert min(one.hidden for one in found) >= 0 and min(one.data for one in found) >= 0
    assert sum(one.hidden for one in found) > sum(one.data for one in found)


def test_few_inputs_leave_directions_of_the_data_and_rank_is_at_most_their_outputs():
    model, frozen = build((6,), "none", "relu", 4, 3)
    position, x = drawn(model, frozen, 0), 3 * np.random.default_rng(0).normal(size=(5, 4))
    group = find_group(model, frozen)
    found = split_null_space(model, frozen, position, x, group)
    assert (found.rank, found.data) == (15, 51 - 6 - 15)
    fisher = split_null_space(model, frozen, position, x, metric="fisher")
    # A constant added to all logits is no change: that of each hidden unit, and of the biases.
    assert (fisher.rank, fisher.architectural, fisher.hidden) == (10, 6 + 7, 0)


def test_a_unit_that_is_off_makes_hidden_directions():
    model, frozen = build((6,), "none", "relu", 4, 3)
    position, x = drawn(model, frozen, 0), 3 * np.random.default_rng(0).normal(size=(200, 4))
    position["dense_0"]["bias"][0] = -1e3
    found = split_null_space(model, frozen, position, x)
    # All its weights are free, of which the rescaling is counted before.
    assert (found.architectural, found.hidden, found.data) == (6, 4 + 1 + 3 - 1, 0)


@pytest.mark.parametrize(("arch", "expected"), [("w_asym", 0), ("sigma_asym", 0), ("syre", 6)])
def test_asymmetric_networks_lose_what_is_architectural(arch, expected):
    model, frozen = build((6,), "none", "relu", 4, 3, arch)
    x = 3 * np.random.default_rng(0).normal(size=(200, 4))
    found = split_null_space(model, frozen, model.init(jax.random.key(0), frozen), x)
    assert (found.architectural, found.hidden) == (expected, 0)


class Attention(nn.Module):
    bias: bool

    @nn.compact
    def __call__(self, x):
        y = nn.MultiHeadDotProductAttention(2, qkv_features=6, use_bias=self.bias)(x)
        return y.reshape(y.shape[0], -1)


@pytest.mark.long
@pytest.mark.parametrize(("bias", "size", "expected"), [(False, 144, 36), (True, 168, 48)])
def test_attention(bias, size, expected):
    x = 3 * np.random.default_rng(0).normal(size=(30, 5, 6))
    model = asymjax.from_flax(Attention(bias), x.astype("float32"))
    frozen = draw_frozen(model, 0)
    position = jax.tree.map(lambda leaf: leaf + 0.1, model.init(jax.random.key(0), frozen))
    found = split_null_space(model, frozen, position, x)
    assert (found.num_parameters, found.architectural, found.hidden, found.data) == (size, expected, 0, 0)


def test_the_largest_eigenvalues_are_those_of_the_matrix():
    model, frozen = build((6,), "none", "relu", 4, 3)
    position, x = model.init(jax.random.key(0), frozen), np.random.default_rng(0).normal(size=(20, 4)).astype("f4")

    def outputs_of(position, inputs):
        return model.apply(position, frozen, inputs)

    values = np.linalg.svd(jacobian(outputs_of, position, x), compute_uv=False)
    found = leading_eigenvalues(outputs_of, position, x, jax.random.key(1), 4)
    assert np.allclose(found, values[:4] ** 2, rtol=1e-4)
    with pytest.raises(InputError, match="give 1 to 10"):
        leading_eigenvalues(outputs_of, position, x, jax.random.key(1), 20)


def test_large_networks_are_refused_with_the_numbers(monkeypatch):
    model, frozen = build((6,), "none", "relu", 4, 3)
    monkeypatch.setattr(null_space, "MOST_PARAMETERS", 50)
    with pytest.raises(InputError, match="51 trainable parameters; null directions are counted up to 50"):
        split_null_space(model, frozen, model.init(jax.random.key(0), frozen), np.zeros((3, 4)))
