"""Wider networks are the same function, and what cannot be widened is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from model_of import drawn_position, model_of

import asymjax
from asymjax import trees
from asymjax.errors import InputError
from asymjax.models import draw_frozen
from asymjax.symmetry import idle_units, split_units, widening_of
from asymjax.symmetry.widening import copies, duplicated

TOLERANCE = 1e-5  # Of the largest output: float32, and sums of shares instead of one product.
INPUT_SHAPES = {"mlp": (5,), "cnn": (4, 4, 2), "rnn": (3, 2)}
CASES = {
    "mlp": ("mlp", {"widths": (4, 3), "activation": "relu"}, {"widths": (7, 8)}),
    "cnn": ("cnn", {"widths": (4, 3)}, {"widths": (6, 9)}),
    "recurrent": ("rnn", {"widths": (3,), "activation": "tanh"}, {"widths": (5,)}),
}


def build(backbone, arch="standard", norm="none", **settings):
    return model_of(arch, backbone, norm=norm, **settings).build(INPUT_SHAPES[backbone], 3)


def both(backbone, narrow, wide, **settings):
    """Return a model, the same at other widths, and their constants."""
    models = [build(backbone, **narrow | more | settings) for more in ({}, wide)]
    return *models, draw_frozen(models[0], 0)


def inputs_of(model, rows=4):
    return np.random.default_rng(1).normal(size=(rows, *model.example.shape[1:])).astype(np.float32)


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.max(np.abs(expected)))


@pytest.mark.parametrize("case", ["mlp", "cnn"])
def test_a_wider_network_is_the_same_function(case):
    model, wide, frozen = both(*CASES[case])
    widening, x = widening_of(model, wide, frozen), inputs_of(model)

    @jax.jit
    def outputs(params):
        made = [way(jax.random.key(1), params, widening) for way in (split_units, idle_units)]
        return model.forward(params, frozen, x), [wide.forward(one, frozen, x) for one in made], made

    expected, found, made = outputs(model.merge(drawn_position(model, frozen), frozen))
    shapes = jax.tree.map(lambda leaf: leaf.shape, wide.params_shape)
    for other, params in zip(found, made, strict=True):
        assert jax.tree.map(jnp.shape, params) == shapes
        assert_same(other, expected)


def test_without_dividing_it_is_another_one():
    model, wide, frozen = both(*CASES["mlp"])
    widening, x = widening_of(model, wide, frozen), inputs_of(model)
    params = model.merge(drawn_position(model, frozen), frozen)
    made = {name: copies(jax.random.key(2), *sizes) for name, sizes in widening.sizes.items()}
    sources, shares = ({name: pair[i] for name, pair in made.items()} for i in range(2))
    expected = model.forward(params, frozen, x)
    assert_same(wide.forward(duplicated(params, widening, sources, shares), frozen, x), expected)
    undivided = duplicated(
        params, widening, sources, {name: jnp.ones(pair[1]) for name, pair in widening.sizes.items()}
    )
    assert np.max(np.abs(wide.forward(undivided, frozen, x) - expected)) > 0.1 * np.max(np.abs(expected))


def test_copies_are_of_all_units_and_their_shares_add_up():
    sources, shares = jax.vmap(lambda key: copies(key, 3, 8))(jax.random.split(jax.random.key(0), 200))
    np.testing.assert_array_equal(sources[:, :3], np.tile(np.arange(3), (200, 1)))
    sums = np.stack([np.where(sources == unit, shares, 0).sum(1) for unit in range(3)])
    np.testing.assert_allclose(sums, 1, atol=1e-6)
    assert np.min(shares) > 0
    counts = np.bincount(np.asarray(sources)[:, 3:].ravel(), minlength=3)
    assert np.all(np.abs(counts - 1000 / 3) < 5 * np.sqrt(1000 * 2 / 9))


def test_idle_units_read_what_others_read_and_feed_nothing():
    model, wide, frozen = both(*CASES["mlp"])
    params = model.merge(drawn_position(model, frozen), frozen)
    leaves = trees.flatten(params)
    made = trees.flatten(idle_units(jax.random.key(0), params, widening_of(model, wide, frozen)))
    first, second = made["dense_0/kernel"], made["dense_1/kernel"]
    np.testing.assert_array_equal(first[:, :4], leaves["dense_0/kernel"])
    for row, known in zip(first[:, 4:], leaves["dense_0/kernel"], strict=True):
        assert set(np.asarray(row).tolist()) <= set(known.tolist())
    np.testing.assert_array_equal(second[:4, :3], leaves["dense_1/kernel"])
    assert not np.any(second[4:]) and np.all(second[:4])


def test_a_width_that_stays_leaves_the_network_as_it_is():
    model, _, frozen = both(*CASES["mlp"])
    params = model.merge(drawn_position(model, frozen), frozen)
    for way in (split_units, idle_units):
        made = way(jax.random.key(0), params, widening_of(model, model, frozen))
        jax.tree.map(np.testing.assert_array_equal, made, params)


def test_a_norm_over_units_is_refused():
    with pytest.raises(InputError, match=r"the function changes where units are made more by .* without a norm over"):
        widening_of(*both(*CASES["mlp"], norm="layer"))


def test_recurrent_units_are_widened_on_both_sides_of_their_kernel():
    widening = widening_of(*both(*CASES["recurrent"]))  # Tried there, as a norm is.
    assert list(widening.sizes.values()) == [(3, 5)]


class Residual(nn.Module):
    """A stream that a block of inner units writes into."""

    width: int
    inner: int

    @nn.compact
    def __call__(self, x):
        stream = nn.Dense(self.width)(x)
        return nn.Dense(2)(stream + nn.Dense(self.width)(nn.relu(nn.Dense(self.inner)(stream))))


class Flattened(nn.Module):
    """A convolution whose pixels and channels become one axis."""

    width: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.relu(nn.Conv(self.width, (2, 2))(x)).reshape(len(x), -1))


def test_what_writes_into_a_residual_stream_is_widened_as_one():
    example = np.zeros((1, 3), np.float32)
    model, wide = (asymjax.from_flax(Residual(*size), example) for size in ((3, 4), (5, 6)))
    assert set(widening_of(model, wide, draw_frozen(model, 0)).sizes.values()) == {(3, 5), (4, 6)}


def test_units_that_are_parts_of_axes_are_refused():
    example = np.zeros((1, 2, 2, 1), np.float32)
    model, wide = (asymjax.from_flax(Flattened(width), example) for width in (2, 4))
    with pytest.raises(InputError, match=r"would grow from 8 to 16 along an axis .* units are whole axes"):
        widening_of(model, wide, draw_frozen(model, 0))


@pytest.mark.parametrize("arch", ["w_asym", "sigma_asym", "syre"])
def test_units_that_may_not_be_permuted_are_refused(arch):
    case = "mlp", {"widths": (4, 4)}, {"widths": (5, 5)}
    with pytest.raises(InputError, match=r"dense_0/.* would grow from 4 to 5 along an axis .* give networks whose"):
        widening_of(*both(*case, arch=arch, num_fixed=1))


def test_fewer_units_and_other_layers_are_refused():
    model, wide, frozen = both(*CASES["mlp"])
    with pytest.raises(InputError, match="units_0 has 7 units, and 4 in the wide model; give at least as many"):
        widening_of(wide, model, frozen)
    with pytest.raises(InputError, match=r"the wide one has .*dense_2/kernel.*: give the same layers"):
        widening_of(model, build("mlp", widths=(4, 3, 3)), frozen)
