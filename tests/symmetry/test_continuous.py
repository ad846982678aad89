"""Continuous groups that are found from a function alone, against counts from what is fixed and from formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree

import asymjax
from asymjax.errors import InputError
from asymjax.models.backbones import CNN, MLP
from asymjax.models.build import build_model, draw_frozen
from asymjax.models.config import ModelConfig
from asymjax.models.describe import describe
from asymjax.models.methods import METHODS
from asymjax.models.symmetries import CONTINUOUS
from asymjax.symmetry import continuous

RELU, NORMED = MLP((5, 5), norm="none", activation="relu"), MLP((6, 6), norm="layer", activation="relu")
SMALL = [(RELU, "standard"), (NORMED, "w_asym")]
LARGE = [
    *((backbone, arch) for backbone in (RELU, NORMED) for arch in METHODS if (backbone, arch) not in SMALL),
    (MLP((6, 5), norm="layer", activation="gelu"), "w_asym"),
    (MLP((6,), norm="none", activation="tanh"), "standard"),
    *(
        (CNN((3, 4), norm=norm, activation="relu"), arch)
        for norm in ("none", "layer")
        for arch in ("standard", "w_asym")
    ),
]


def built(backbone, arch):
    shape = (8, 8, 1) if isinstance(backbone, CNN) else (4,)
    model = build_model(METHODS[arch](), backbone, shape, 3)
    return model, draw_frozen(model, 0), shape


@pytest.mark.parametrize(
    ("backbone", "arch"), [*SMALL, *(pytest.param(*case, marks=pytest.mark.long) for case in LARGE)]
)
def test_what_the_function_tells_is_what_is_counted_from_fixed_entries(backbone, arch):
    model, frozen, shape = built(backbone, arch)
    counts = describe(ModelConfig(backbone=backbone, method=METHODS[arch]()), shape, 3)["symmetries"]
    group = continuous.find_group(model, frozen)
    assert group.dimension == sum(counts[family]["remaining"] for family in CONTINUOUS)


def test_elements_move_weights_and_leave_the_function():
    model, frozen, _ = built(NORMED, "standard")
    group = continuous.find_group(model, frozen)
    position, x = model.init(jax.random.key(0), frozen), np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    keys = jax.random.split(jax.random.key(1))
    element = {
        name: 0.5 * jax.random.normal(key, (len(getattr(group, name)),))
        for name, key in zip(("linear", "shifts"), keys, strict=True)
    }
    moved = continuous.move(group, model, position, frozen, element)
    assert np.max(np.abs(ravel_pytree(moved)[0] - ravel_pytree(position)[0])) > 0.1
    before, after = model.apply(position, frozen, x), model.apply(moved, frozen, x)
    assert np.max(np.abs(after - before)) < 1e-4 * np.max(np.abs(before))
    stayed = continuous.move(group, model, position, frozen, group.identity)
    assert all(map(np.array_equal, jax.tree.leaves(stayed), jax.tree.leaves(position)))


def test_linear_units_with_biases_mix_by_the_general_linear_group():
    """A bias is a single vector at given weights: it takes many weights to tell which matrices mix it."""
    model, frozen, _ = built(MLP((4,), norm="none", activation="identity"), "standard")
    group = continuous.find_group(model, frozen)
    assert (len(group.linear), len(group.shifts)) == (16, 4)
    element = group.identity | {"linear": 0.3 * jax.random.normal(jax.random.key(1), (16,))}
    position, x = model.init(jax.random.key(0), frozen), np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    moved = continuous.move(group, model, position, frozen, element)
    assert np.max(np.abs(ravel_pytree(moved)[0] - ravel_pytree(position)[0])) > 0.1
    np.testing.assert_allclose(*(model.apply(at, frozen, x) for at in (position, moved)), atol=1e-5)


def test_directions_are_null_directions_of_the_jacobian_and_independent():
    model, frozen, _ = built(RELU, "standard")
    group = continuous.find_group(model, frozen)
    with jax.enable_x64(True):
        position = jax.tree.map(lambda leaf: jnp.asarray(leaf, float) + 0.1, model.init(jax.random.key(0), frozen))
        x = np.random.default_rng(0).normal(size=(30, 4))
        flat, unravel = ravel_pytree(position)
        jacobian = jax.jacobian(lambda flat: model.apply(unravel(flat), frozen, x))(flat).reshape(-1, flat.size)
        moves = continuous.directions(group, model, position, frozen)
        assert moves.shape == (flat.size, 10)
        assert np.max(np.abs(jacobian @ moves)) < 1e-12
        assert np.linalg.matrix_rank(moves) == 10


class Attention(nn.Module):
    heads: int
    bias: bool

    @nn.compact
    def __call__(self, x):
        y = nn.MultiHeadDotProductAttention(self.heads, qkv_features=3 * self.heads, use_bias=self.bias)(x)
        return y.reshape(y.shape[0], -1)


@pytest.mark.parametrize(
    ("bias", "expected"), [(False, 2 * (9 + 9)), pytest.param(True, 2 * (9 + 9) + 2 * (3 + 3), marks=pytest.mark.long)]
)
def test_attention_has_the_linear_groups_of_its_heads_and_shifts_of_its_biases(bias, expected):
    x = np.random.default_rng(0).normal(size=(24, 5, 6)).astype("float32")
    model = asymjax.from_flax(Attention(2, bias), x)
    frozen = draw_frozen(model, 0)
    group = continuous.find_group(model, frozen)
    assert group.dimension == expected
    params = model.merge(model.init(jax.random.key(0), frozen), frozen)
    element = {"linear": jnp.full(len(group.linear), 0.2), "shifts": jnp.full(len(group.shifts), 0.3)}
    moved = continuous.act(group, params, element)
    before, after = model.forward(params, frozen, x), model.forward(moved, frozen, x)
    assert np.max(np.abs(after - before)) < 1e-4 * np.max(np.abs(before))
    query = "MultiHeadDotProductAttention_0"
    assert np.max(np.abs(moved[query]["query"]["kernel"] - params[query]["query"]["kernel"])) > 0.01


def test_too_many_moves_are_refused(monkeypatch):
    model, frozen, _ = built(RELU, "standard")
    monkeypatch.setattr(continuous, "MOST_COEFFICIENTS", 10)
    with pytest.raises(InputError, match="10 at most"):
        continuous.find_group(model, frozen)


def test_outputs_that_are_not_finite_are_refused():
    x = np.zeros((2, 3), np.float32)
    model = asymjax.from_flax(nn.Sequential([nn.Dense(2), jnp.log]), x, check=False)
    with pytest.raises(InputError, match="not finite"):
        continuous.find_group(model, draw_frozen(model, 0))
