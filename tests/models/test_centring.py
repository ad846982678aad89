"""Biases counted from the mean: which, and that nothing but the parametrisation changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from model_of import model_of

import asymjax
from asymjax import trees
from asymjax.models import draw_frozen
from asymjax.models.centring import centred_biases, take_means
from asymjax.types import Graph

ROWS = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
IMAGES = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
GRAPH = Graph(ROWS, np.array([1, 0, 2, 1], np.int32), np.array([0, 1, 1, 2], np.int32), np.arange(7, dtype=np.int32))


def from_linen(module, inputs=ROWS):
    return asymjax.from_flax(module, inputs), inputs


def own(arch="standard", backbone="mlp", inputs=ROWS, **settings):
    shape = inputs.features.shape[1:] if isinstance(inputs, Graph) else inputs.shape[1:]
    return model_of(arch, backbone, **settings).build(shape, 3), inputs


class Twice(nn.Module):
    """A bias that is added in two places, and one under a name that is compiled by itself."""

    @nn.compact
    def __call__(self, x):
        bias = self.param("bias", nn.initializers.normal(), (4,))
        x = jnp.tanh(nn.Dense(4, use_bias=False)(x) + bias[None])
        x = jnp.tanh(nn.Dense(4, use_bias=False)(x) + bias[None])
        return nn.Dense(2)(jnp.tanh(nn.jit(nn.Dense)(4)(x)))


HIDDEN = ("dense_0/bias", "dense_1/bias")
NETWORKS = {
    "mlp": (lambda: own(widths=(4, 4)), HIDDEN),
    "wide mlp": (lambda: own(widths=(70, 4)), HIDDEN),
    "no norm": (lambda: own(widths=(4, 4), norm="none"), HIDDEN),
    "sigma_asym": (lambda: own("sigma_asym", widths=(4, 4)), HIDDEN),
    "w_asym": (lambda: own("w_asym", widths=(4, 4), num_fixed=(1,)), HIDDEN),
    "syre": (lambda: own("syre", widths=(4, 4)), HIDDEN),
    "fixed biases": (lambda: own("fixed_bias", widths=(4, 4)), ()),
    "pixels": (lambda: own(backbone="cnn", inputs=IMAGES, widths=(3,)), ("conv_0/bias",)),
    "batch norm": (lambda: own(backbone="gcn", inputs=GRAPH, widths=(4,), norm="batch"), ()),
    "graph": (lambda: own(backbone="gcn", inputs=GRAPH, widths=(4,), norm="none"), ("dense_0/bias",)),
    "twice": (lambda: from_linen(Twice()), ("JitDense_0/bias",)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_stay_and_the_way_back_is_the_way(name):
    make, expected = NETWORKS[name]
    model, inputs = make()
    frozen = draw_frozen(model, 0)
    paths = centred_biases(model, frozen, inputs)
    assert paths == expected
    position = model.init(jax.random.key(0), frozen)
    outputs, moved = take_means(model, position, frozen, inputs, paths, is_centred=False)
    again, back = take_means(model, moved, frozen, inputs, paths, is_centred=True)
    plain = model.apply(position, frozen, inputs)
    np.testing.assert_allclose(outputs, plain, atol=1e-5)
    np.testing.assert_allclose(again, plain, atol=1e-5)
    changed = {path for path, leaf in trees.flatten(moved).items() if np.any(leaf != trees.flatten(position)[path])}
    assert changed == set(paths)
    for path, leaf in trees.flatten(back).items():
        np.testing.assert_allclose(leaf, trees.flatten(position)[path], atol=1e-6, err_msg=path)


def test_a_centred_bias_is_the_mean_of_what_enters_the_norm():
    model, inputs = NETWORKS["w_asym"][0]()
    frozen = draw_frozen(model, 0)
    position = model.init(jax.random.key(0), frozen)
    params = model.merge(position, frozen)
    _, moved = take_means(model, position, frozen, inputs, HIDDEN, is_centred=False)
    entering = model.layer_inputs(params, frozen, inputs)
    for layer in ("dense_0", "dense_1"):
        sums = entering[f"{layer}/kernel"] @ params[layer]["kernel"] + params[layer]["bias"][None]
        np.testing.assert_allclose(moved[layer]["bias"], sums.mean(0), atol=1e-6)


def test_volumes_stay():
    model, inputs = own(widths=(3, 2))
    with jax.enable_x64(True):
        frozen = draw_frozen(model, 0)
        position = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), model.init(jax.random.key(0), frozen))
        flat, unravel = jax.flatten_util.ravel_pytree(position)

        def enter(flat):
            _, moved = take_means(model, unravel(flat), frozen, inputs, HIDDEN, is_centred=False)
            return jax.flatten_util.ravel_pytree(moved)[0]

        jacobian = np.asarray(jax.jacfwd(enter)(flat))
    assert np.abs(jacobian - np.eye(len(jacobian))).max() > 0.1
    sign, logarithm = np.linalg.slogdet(jacobian)
    assert sign == 1 and abs(logarithm) < 1e-10
