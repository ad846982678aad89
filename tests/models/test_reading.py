"""Networks read from their jaxprs: exact permutations and roles, and no wrong claim in random networks."""

import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from model_of import model_of

from asymjax import trees
from asymjax.axes import atoms_of, perms_of
from asymjax.errors import InputError, ReadingError
from asymjax.models.reading import Layer, Symmetries, find_symmetries, rules
from asymjax.symmetry import (
    compose,
    identity,
    invert,
    log_group_order,
    permute,
    random_permutations,
    weight_matching,
)
from asymjax.types import Fixed, Perm, Product, Sum

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from random_graphs import random_graph  # noqa: E402
from random_networks import random_network  # noqa: E402

ROWS = np.ones((3, 4), "float32")
IMAGES = np.ones((2, 4, 4, 3), "float32")
SEQUENCES = np.ones((2, 5, 4), "float32")
TOKENS = np.array([[1, 2, 3], [4, 5, 0]], "int32")


def text(axis):
    """An axis in short: units, units|what they are within, 5, 3=name, (a x b), (a + b)."""
    if isinstance(axis, Perm):
        return "|".join([axis.name, ",".join(axis.within)]) if axis.within else axis.name
    if isinstance(axis, Fixed):
        return f"{axis.size}={axis.name}" if axis.name else str(axis.size)
    return "(" + (" x " if isinstance(axis, Product) else " + ").join(map(text, axis.parts)) + ")"


def texts(found):
    return {path: ", ".join(map(text, axes)) for path, axes in found.spec.items()}


def roles(found):
    return {path: (layer.role, layer.in_axes, layer.out_axes) for path, layer in found.layers.items()}


def read_linen(module, *inputs, **options):
    """Read a Linen module from shapes alone."""
    params = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return find_symmetries(lambda params, x: module.apply({"params": params}, *x), params, inputs, **options)


def draw(shapes):
    """Random parameters, biases included."""
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, "float32") / 3, shapes)


def linen(call):
    """The Linen module of a function."""
    return type("Net", (nn.Module,), {"__call__": nn.compact(lambda self, *inputs: call(*inputs))})()


def read_call(call, *inputs, **options):
    return read_linen(linen(call), *inputs, **options)


def read_nnx(make, x, **options):
    """Read an NNX module of a constructor, as a pure function of a dictionary."""
    graph, params, rest = nnx.split(make(nnx.Rngs(0)), nnx.Param, ...)

    def apply(pure, x):
        state = jax.tree.map(lambda leaf: leaf, params)
        nnx.replace_by_pure_dict(state, pure)
        module = nnx.merge(graph, state, rest, copy=True)
        module.eval()
        return module(x)

    return find_symmetries(apply, nnx.to_pure_dict(params), x, **options)


# Exact specifications.


def test_mlp_with_norm():
    def call(x):
        x = nn.relu(nn.LayerNorm(name="norm")(nn.Dense(12, name="dense_0")(x)))
        return nn.Dense(4, name="output")(nn.tanh(nn.Dense(9, name="dense_1")(x)))

    found = read_call(call, jnp.ones((3, 5)))
    assert texts(found) == {
        "dense_0/bias": "dense_0",
        "dense_0/kernel": "5, dense_0",
        "dense_1/bias": "dense_1",
        "dense_1/kernel": "dense_0, dense_1",
        "norm/bias": "dense_0",
        "norm/scale": "dense_0",
        "output/bias": "4",
        "output/kernel": "dense_1, 4",
    }
    assert found.layers["dense_1/kernel"] == Layer("dense_1/kernel", (12, 9), (0,), (1,), (), (), "kernel")
    assert found.layers["norm/scale"] == Layer("norm/scale", (12,), (), (0,), (), (), "scale", is_norm=True)
    assert found.layers["norm/bias"].role == "bias"
    assert found.joint_error < 1e-5
    assert (found.unknown, found.several_roles, found.dead, found.loose) == ((), (), (), {})


def test_residual_convolutions():
    def call(x):
        x = nn.Conv(6, (3, 3), name="stem")(x)
        for i, width in enumerate((6, 10)):
            if width == 10:
                x = nn.Conv(10, (1, 1), strides=2, name="project")(x)
            h = nn.relu(nn.GroupNorm(1, name=f"norm_{i}")(nn.Conv(7, (3, 3), name=f"in_{i}")(x)))
            x = x + nn.Conv(width, (3, 3), use_bias=False, name=f"out_{i}")(h)
        return nn.Dense(3, name="head")(x.mean((1, 2)))

    assert texts(read_call(call, IMAGES)) == {
        "head/bias": "3",
        "head/kernel": "project, 3",
        "in_0/bias": "in_0",
        "in_0/kernel": "3, 3, stem, in_0",
        "in_1/bias": "in_1",
        "in_1/kernel": "3, 3, project, in_1",
        "norm_0/bias": "in_0",
        "norm_0/scale": "in_0",
        "norm_1/bias": "in_1",
        "norm_1/scale": "in_1",
        "out_0/kernel": "3, 3, in_0, stem",
        "out_1/kernel": "3, 3, in_1, project",
        "project/bias": "project",
        "project/kernel": "1, 1, stem, project",
        "stem/bias": "stem",
        "stem/kernel": "3, 3, 3, stem",
    }


# A transformer's five permutations: stream, units, heads, and within each head the dimensions of q and k, and of v.
TRANSFORMER = {
    "attention/key/bias": "attention/query.0, attention/query.1|attention/query.0",
    "attention/key/kernel": "embed, attention/query.0, attention/query.1|attention/query.0",
    "attention/out/bias": "embed",
    "attention/out/kernel": "attention/query.0, attention/value.1|attention/query.0, embed",
    "attention/query/bias": "attention/query.0, attention/query.1|attention/query.0",
    "attention/query/kernel": "embed, attention/query.0, attention/query.1|attention/query.0",
    "attention/value/bias": "attention/query.0, attention/value.1|attention/query.0",
    "attention/value/kernel": "embed, attention/query.0, attention/value.1|attention/query.0",
    "down/bias": "embed",
    "down/kernel": "up, embed",
    "embed/bias": "embed",
    "embed/kernel": "4, embed",
    "head/bias": "3",
    "head/kernel": "embed, 3",
    "up/bias": "up",
    "up/kernel": "embed, up",
}
NORMS = {f"{norm}/{leaf}": "embed" for norm in ("norm_0", "norm_1") for leaf in ("bias", "scale")}


def transformer_call(x):
    x = nn.Dense(12, name="embed")(x)
    x = x + nn.MultiHeadDotProductAttention(3, name="attention")(nn.LayerNorm(name="norm_0")(x))
    x = x + nn.Dense(12, name="down")(nn.gelu(nn.Dense(20, name="up")(nn.LayerNorm(name="norm_1")(x))))
    return nn.Dense(3, name="head")(x.mean(1))


@pytest.fixture(scope="module")
def transformer():
    """Parameters, function and symmetries of a transformer block."""
    module = linen(transformer_call)
    params = draw(jax.eval_shape(module.init, jax.random.key(0), SEQUENCES)["params"])
    return params, jax.jit(lambda params, x: module.apply({"params": params}, x)), read_linen(module, SEQUENCES)


@pytest.fixture(scope="module")
def moving(transformer):
    """Two functions of its group, compiled: a random element of a key, and the action of an element."""
    params, _, found = transformer
    return (
        jax.jit(lambda key: random_permutations(key, params, found.spec)),
        jax.jit(lambda params, element: permute(params, found.spec, element)),
    )


def test_transformer(transformer):
    found = transformer[2]
    assert texts(found) == TRANSFORMER | NORMS
    assert found.dead == ("attention/key/bias",)
    assert found.joint_error < 1e-5
    query, out = (found.layers[f"attention/{name}/kernel"] for name in ("query", "out"))
    assert (query.in_axes, query.out_axes, query.fan_in, query.num_units) == ((0,), (1, 2), 12, 12)
    assert (out.in_axes, out.out_axes, out.fan_in, out.num_units) == ((0, 1), (2,), 12, 12)


def test_transformer_of_nnx():
    class Transformer(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Linear(4, 12, rngs=rngs)
            self.norms = nnx.List([nnx.LayerNorm(12, rngs=rngs) for _ in range(2)])
            self.attention = nnx.MultiHeadAttention(3, 12, decode=False, rngs=rngs)
            self.up, self.down = nnx.Linear(12, 20, rngs=rngs), nnx.Linear(20, 12, rngs=rngs)
            self.head = nnx.Linear(12, 3, rngs=rngs)

        def __call__(self, x):
            x = self.embed(x)
            x = x + self.attention(self.norms[0](x))
            x = x + self.down(nnx.gelu(self.up(self.norms[1](x))))
            return self.head(x.mean(1))

    found = read_nnx(Transformer, SEQUENCES)
    norms = {path.replace("norm_", "norms/"): axes for path, axes in NORMS.items()}
    assert texts(found) == TRANSFORMER | norms
    assert found.dead == ("attention/key/bias",)


def test_gru():
    found = read_call(lambda x: nn.Dense(2, name="head")(nn.RNN(nn.GRUCell(9, name="cell"))(x)[:, -1]), SEQUENCES)
    gates = {f"cell/i{gate}/kernel": "4, cell/ir" for gate in "rzn"}
    gates |= {f"cell/h{gate}/kernel": "cell/ir, cell/ir" for gate in "rzn"}
    gates |= {f"cell/{gate}/bias": "cell/ir" for gate in ("ir", "iz", "in", "hn")}
    assert texts(found) == gates | {"head/bias": "2", "head/kernel": "cell/ir, 2"}
    assert {layer.role for path, layer in found.layers.items() if path.endswith("kernel")} == {"kernel"}


def test_gru_of_nnx_has_gates_in_one_kernel():
    class Recurrent(nnx.Module):
        def __init__(self, rngs):
            self.rnn, self.head = nnx.RNN(nnx.GRUCell(4, 9, rngs=rngs)), nnx.Linear(9, 2, rngs=rngs)

        def __call__(self, x):
            return self.head(self.rnn(x)[:, -1])

    units = "rnn/cell/dense_i"
    found = read_nnx(Recurrent, SEQUENCES)
    assert texts(found) == {
        "head/bias": "2",
        "head/kernel": f"{units}, 2",
        "rnn/cell/dense_h/kernel": f"{units}, ({units} + {units} + {units})",
        "rnn/cell/dense_i/bias": f"({units} + {units} + {units})",
        "rnn/cell/dense_i/kernel": f"4, ({units} + {units} + {units})",
    }
    assert found.spec["rnn/cell/dense_i/bias"] == (Sum((Perm(units, 9),) * 3),)


OWN = {
    "mlp": (model_of("standard", "mlp", widths=(5, 6), norm="layer"), jnp.ones((3, 7))),
    "cnn": (model_of("standard", "cnn", widths=(5, 6), norm="layer"), jnp.ones((3, 4, 4, 2))),
    "resnet8": (model_of("standard", "resnet", depth=8, width_multiplier=1, norm="layer"), jnp.ones((1, 4, 4, 3))),
    "rnn": (model_of("standard", "rnn", widths=(5, 6), norm="layer"), jnp.ones((3, 4, 5))),
    "gcn": (model_of("standard", "gcn", widths=(5, 6), norm="layer"), random_graph(6, 3)),
    "gcn_batch": (model_of("standard", "gcn", widths=(5, 6), norm="batch"), random_graph(6, 3)),
}


@pytest.mark.parametrize("name", OWN)
def test_own_backbones_are_as_written_by_hand(name):
    config, x = OWN[name]
    model = config.build(x.shape[1:], 3)
    found = find_symmetries(lambda params, x: model.forward(params, {}, x), model.params_shape, x)
    written = {path: model.permutation_spec[path] for path in found.spec}
    pairs = {
        (axis.name, name) for path, axes in found.spec.items() for axis, name in zip(axes, written[path], strict=True)
    }
    # One to one, and fixed where nothing is permuted.
    assert len(pairs) == len({own for own, _ in pairs}) == len({name for _, name in pairs})
    assert (None, None) in pairs
    # A norm over nodes undoes what a bias adds to a unit.
    assert found.dead == (("dense_0/bias", "dense_1/bias") if name == "gcn_batch" else ())
    assert found.unknown == ()


# Operations one by one: call, inputs, the kernels' axes, their (in, out, batch, window) axes.


def grouped(x):
    x = nn.relu(nn.Conv(6, (3, 3), use_bias=False, name="a")(x))
    x = nn.relu(nn.Conv(8, (3, 3), feature_group_count=2, use_bias=False, name="b")(x))
    return nn.Dense(3, use_bias=False, name="c")(x.mean((1, 2)))


def transposed(x):
    x = nn.relu(nn.ConvTranspose(6, (3, 3), use_bias=False, name="a")(x))
    x = nn.relu(nn.ConvTranspose(5, (3, 3), transpose_kernel=True, use_bias=False, name="b")(x))
    return nn.Dense(3, use_bias=False, name="c")(x.mean((1, 2)))


def dense_net(x):
    for name, width in (("a", 4), ("b", 5)):
        x = jnp.concatenate([x, nn.relu(nn.Conv(width, (3, 3), use_bias=False, name=name)(x))], -1)
    return nn.Dense(3, use_bias=False, name="c")(x.mean((1, 2)))


def flattened(x):
    x = nn.relu(nn.Conv(6, (3, 3), use_bias=False, name="a")(x))
    return nn.Dense(3, use_bias=False, name="c")(x.reshape(x.shape[0], -1))


def patches(x):
    x = nn.relu(nn.Conv(6, (2, 2), (2, 2), use_bias=False, name="a")(x)).reshape(x.shape[0], 4, 6)
    return nn.Dense(3, use_bias=False, name="c")(jnp.concatenate([x[:, i] for i in range(4)], -1))


def group_norm(x):
    x = nn.GroupNorm(2, use_bias=False, use_scale=False)(nn.Conv(6, (3, 3), use_bias=False, name="a")(x))
    return nn.Dense(3, use_bias=False, name="c")(nn.relu(x).mean((1, 2)))


def gated(x):
    return nn.Dense(3, use_bias=False, name="c")(nn.glu(nn.Dense(8, use_bias=False, name="a")(x)))


def rotated(x):
    # Turned with constants, the dimensions of q and k are fixed; heads and the dimensions of v are not.
    q, k, v = (nn.DenseGeneral((2, 4), use_bias=False, name=name)(x) for name in "qkv")
    angles = jnp.arange(x.shape[1])[:, None, None] * jnp.array([1.0, 0.1])[None, None]
    cos, sin = jnp.cos(angles)[None], jnp.sin(angles)[None]

    def turn(x):
        return jnp.concatenate([x[..., :2] * cos - x[..., 2:] * sin, x[..., 2:] * cos + x[..., :2] * sin], -1)

    x = nn.dot_product_attention(turn(q), turn(k), v)
    return nn.DenseGeneral(3, axis=(-2, -1), use_bias=False, name="o")(x).mean(1)


def grouped_queries(x):
    q = nn.DenseGeneral((2, 3, 4), use_bias=False, name="q")(x)
    k, v = (nn.DenseGeneral((2, size), use_bias=False, name=name)(x) for name, size in (("k", 4), ("v", 5)))
    weights = nn.softmax(jnp.einsum("rqghd,rkgd->rghqk", q, k))
    x = jnp.einsum("rghqk,rkgd->rqghd", weights, v)
    return nn.DenseGeneral(3, axis=(-3, -2, -1), use_bias=False, name="o")(x).mean(1)


def mixture(x):
    many = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=3)
    gates = nn.softmax(nn.Dense(3, use_bias=False, name="g")(x))
    return jnp.einsum("erd,re->rd", many(4, use_bias=False, name="e")(x), gates)


CASES = {
    "grouped": (
        *(grouped, IMAGES),
        {"a": "3, 3, 3, (a.0 x a.1|a.0)", "b": "3, 3, a.1|a.0, (a.0 x b.1|a.0)", "c": "(a.0 x b.1|a.0), 3"},
        {"b": ((2,), (3,), (), (0, 1), 27)},
    ),
    "transposed": (
        *(transposed, IMAGES),
        {"a": "3, 3, 3, a", "b": "3, 3, b, a", "c": "b, 3"},
        {"a": ((2,), (3,), (), (0, 1), 27), "b": ((3,), (2,), (), (0, 1), 54)},
    ),
    "dense_net": (dense_net, IMAGES, {"a": "3, 3, 3, a", "b": "3, 3, (3 + a), b", "c": "(3 + a + b), 3"}, {}),
    "flattened": (flattened, IMAGES, {"a": "3, 3, 3, a", "c": "(16 x a), 3"}, {}),
    "patches": (patches, IMAGES, {"a": "2, 2, 3, a", "c": "(a + a + a + a), 3"}, {}),
    "group_norm": (group_norm, IMAGES, {"a": "3, 3, 3, (a.0 x a.1|a.0)", "c": "(a.0 x a.1|a.0), 3"}, {}),
    "gated": (gated, ROWS, {"a": "4, (a + a)", "c": "a, 3"}, {}),
    "rotated": (
        *(rotated, SEQUENCES),
        {"q": "4, q, 4", "k": "4, q, 4", "v": "4, q, v.1|q", "o": "q, v.1|q, 3"},
        {"o": ((0, 1), (2,), (), (), 8)},
    ),
    "grouped_queries": (
        *(grouped_queries, SEQUENCES),
        {
            "q": "4, q.0, q.1|q.0, q.2|q.0",
            "k": "4, q.0, q.2|q.0",
            "v": "4, q.0, v.1|q.0",
            "o": "q.0, q.1|q.0, v.1|q.0, 3",
        },
        {"q": ((0,), (1, 2, 3), (), (), 4), "o": ((0, 1, 2), (3,), (), (), 30)},
    ),
    "mixture": (mixture, ROWS, {"e": "g, 4, 4", "g": "4, g"}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_operations(name):
    call, x, spec, layers = CASES[name]
    found = read_call(call, x)
    assert texts(found) == {f"{path}/kernel": axes for path, axes in spec.items()}
    assert {layer.role for layer in found.layers.values()} == {"kernel"}
    for path, (in_axes, out_axes, batch_axes, window_axes, fan_in) in layers.items():
        layer = found.layers[f"{path}/kernel"]
        assert layer[2:6] == (in_axes, out_axes, batch_axes, window_axes)
        assert layer.fan_in == fan_in


def test_fan_in_of_attention():
    found = read_call(lambda x: nn.MultiHeadDotProductAttention(2)(x), jnp.ones((1, 3, 16)))
    query = found.layers["MultiHeadDotProductAttention_0/query/kernel"]
    assert query.shape == (16, 2, 8)
    assert (query.fan_in, query.num_units) == (16, 16)
    assert found.layers["MultiHeadDotProductAttention_0/out/kernel"].fan_in == 16


class Mlp(nn.Module):
    """A residual block, as the body of a scan."""

    @nn.compact
    def __call__(self, x, _=None):
        return x + nn.Dense(6, name="down")(nn.gelu(nn.Dense(9, name="up")(x))), None


def test_scanned_layers_have_permutations_of_their_own():
    def call(x):
        x = nn.Dense(6, name="stem")(x)
        many = nn.scan(nn.remat(Mlp), variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return nn.Dense(2, name="head")(many(name="blocks")(x, None)[0])

    found = read_call(call, ROWS)
    layers, units = "3=blocks/up.fixed", "blocks/up|blocks/up.fixed"
    assert texts(found) == {
        "blocks/down/bias": f"{layers}, stem",
        "blocks/down/kernel": f"{layers}, {units}, stem",
        "blocks/up/bias": f"{layers}, {units}",
        "blocks/up/kernel": f"{layers}, stem, {units}",
        "head/bias": "2",
        "head/kernel": "stem, 2",
        "stem/bias": "stem",
        "stem/kernel": "4, stem",
    }
    assert found.layers["blocks/down/kernel"][2:6] == ((1,), (2,), (0,), ())
    assert found.layers["blocks/up/bias"][2:6] == ((), (1,), (0,), ())


def test_embedding_of_tokens():
    def call(tokens):
        x = nn.Embed(11, 6, name="words")(tokens) + nn.Embed(9, 6, name="places")(jnp.arange(tokens.shape[1]))[None]
        return nn.Dense(2, name="head")(nn.tanh(x).mean(1))

    found = read_call(call, TOKENS)
    assert texts(found) == {
        "head/bias": "2",
        "head/kernel": "words, 2",
        "places/embedding": "9, words",
        "words/embedding": "11, words",
    }
    for path in ("words/embedding", "places/embedding"):
        assert found.layers[path][2:7] == ((), (1,), (0,), (), "embedding")
        assert found.layers[path].fan_in == 1
    assert found.several_roles == ()


def test_tied_embedding_has_several_roles():
    def call(tokens):
        embed = nn.Embed(11, 6, name="words")
        return embed.attend(nn.tanh(nn.Dense(6, name="dense")(embed(tokens))))

    found = read_call(call, TOKENS)
    assert texts(found) == {"dense/bias": "words", "dense/kernel": "words, words", "words/embedding": "11, words"}
    assert found.layers["words/embedding"].role == "embedding"
    assert found.several_roles == ("words/embedding",)


def test_weight_norm_keeps_the_role_of_its_kernel():
    found = read_call(lambda x: nn.Dense(2)(nn.tanh(nn.WeightNorm(nn.Dense(6, name="dense"))(x))), ROWS)
    assert roles(found)["dense/kernel"] == ("kernel", (0,), (1,))
    assert found.layers["WeightNorm_0/dense/kernel/scale"].role is None
    assert texts(found)["WeightNorm_0/dense/kernel/scale"] == "dense"


def test_cells_that_concatenate_their_kernels():
    found = read_call(lambda x: nn.RNN(nn.OptimizedLSTMCell(5, name="cell"))(x)[:, -1].sum(-1), SEQUENCES)
    assert {text(found.spec[f"cell/i{gate}/kernel"][1]) for gate in "ifgo"} == {"cell/hf"}
    assert all(roles(found)[f"cell/{name}/kernel"] == ("kernel", (0,), (1,)) for name in ("if", "hf", "io", "ho"))
    assert found.unknown == ()


def test_equinox():
    equinox = pytest.importorskip("equinox")
    net = equinox.filter_eval_shape(equinox.nn.MLP, 4, 3, 8, 2, key=jax.random.key(0))
    shapes, static = equinox.partition(net, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    arrays = draw(shapes)
    found = find_symmetries(lambda arrays, x: jax.vmap(equinox.combine(arrays, static))(x), arrays, ROWS)
    assert texts(found) == {
        "layers/0/bias": "layers/0",
        "layers/0/weight": "layers/0, 4",
        "layers/1/bias": "layers/1",
        "layers/1/weight": "layers/1, layers/0",
        "layers/2/bias": "3",
        "layers/2/weight": "3, layers/1",
    }
    assert roles(found)["layers/1/weight"] == ("kernel", (1,), (0,))

    @jax.jit
    def run(key, x):
        permuted = permute(arrays, found.spec, random_permutations(key, arrays, found.spec))
        return permuted, [jax.vmap(equinox.combine(tree, static))(x) for tree in (arrays, permuted)]

    permuted, outputs = run(jax.random.key(1), np.random.default_rng(2).standard_normal((3, 4), "float32"))
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-5)
    assert not np.array_equal(permuted.layers[0].weight, arrays.layers[0].weight)


def test_plain_function_of_two_inputs():
    def apply(params, inputs):
        x, y = inputs["x"], inputs["y"]
        h = jnp.tanh(x @ params["a"] + params["shift"][None]) * (y @ params["b"])
        return {"main": h @ params["c"], "unused": x.sum()}

    shapes = {"a": (4, 5), "shift": (5,), "b": (6, 5), "c": (5, 2), "spare": (3,)}
    params = {name: jnp.ones(shape) for name, shape in shapes.items()}
    found = find_symmetries(apply, params, {"x": ROWS, "y": jnp.ones((3, 6))})
    assert texts(found) == {"a": "4, a", "b": "6, a", "c": "a, 2", "shift": "a", "spare": "spare"}
    assert roles(found)["shift"] == ("bias", (), (0,))
    assert roles(found)["spare"] == (None, (), ())
    assert found.dead == ("spare",)


def test_shapes_are_enough_and_without_a_check_nothing_runs():
    def apply(params, x):
        return jnp.tanh(x @ params["a"]) @ params["b"]

    params = {"a": jax.ShapeDtypeStruct((4, 5), jnp.float32), "b": jax.ShapeDtypeStruct((5, 2), jnp.float32)}
    found = find_symmetries(apply, params, jax.ShapeDtypeStruct((3, 4), jnp.float32), check=False)
    assert found.spec == {"a": (Fixed(4), Perm("a", 5)), "b": (Perm("a", 5), Fixed(2))}
    assert isinstance(found, Symmetries)
    assert np.isnan(found.joint_error)


def test_unknown_operations_are_named():
    found = read_call(lambda x: nn.Dense(2, name="b")(jnp.sort(nn.Dense(5, name="a")(x), -1)), ROWS)
    assert found.unknown == ("sort",)
    assert perms_of([axis for axes in found.spec.values() for axis in axes]) == {}


def test_low_precision_and_integers():
    def apply(params, x):
        h = jnp.tanh(x.astype(jnp.bfloat16) @ params["a"].astype(jnp.bfloat16))
        return h @ params["b"].astype(jnp.bfloat16) * params["count"]

    params = {"a": jnp.ones((4, 5)), "b": jnp.ones((5, 2)), "count": jnp.int32(2)}
    assert texts(find_symmetries(apply, params, ROWS)) == {"a": "4, a", "b": "a, 2", "count": ""}


def test_parameters_that_have_to_be_positive():
    def apply(params, x):
        return (x @ params["a"] / jnp.sqrt(params["variance"])[None]) @ params["b"]

    params = {"a": jnp.ones((4, 5)), "variance": jnp.ones(5), "b": jnp.ones((5, 2))}
    assert texts(find_symmetries(apply, params, ROWS)) == {"a": "4, a", "b": "a, 2", "variance": "a"}
    with pytest.raises(InputError, match="outputs are not numbers"):
        find_symmetries(lambda params, x: apply(params, x) * jnp.nan, params, ROWS)


def test_leaves_of_one_path():
    with pytest.raises(InputError, match="several leaves have the path a/b"):
        find_symmetries(lambda params, x: x, {"a": {"b": jnp.ones(2)}, "a/b": jnp.ones(2)}, ROWS)


# No wrong claim.


@pytest.mark.parametrize("seed", [*range(20), *(pytest.param(i, marks=pytest.mark.long) for i in range(20, 100))])
def test_random_networks(seed):
    found = find_symmetries(*random_network(seed))
    assert found.joint_error < 1e-4


@pytest.mark.parametrize("operation", [jnp.cumsum, jnp.sort])
def test_a_broken_walk_is_caught(operation, monkeypatch):
    def apply(params, x):
        return jnp.tanh(operation(x @ params["a"], -1)) @ params["b"]

    params = {"a": jnp.ones((4, 5)), "b": jnp.ones((5, 2))}
    find_symmetries(apply, params, ROWS)
    monkeypatch.setitem(rules.RULES, "cumsum", rules.elementwise)
    monkeypatch.setitem(rules.RULES, "sort", rules.elementwise)
    with pytest.raises(ReadingError, match=r"change its outputs, relative to their spread: a \("):
        find_symmetries(apply, params, ROWS)


def test_a_broken_walk_is_caught_in_random_networks(monkeypatch):
    monkeypatch.setitem(rules.RULES, "cumsum", rules.elementwise)
    monkeypatch.setitem(rules.RULES, "sort", rules.elementwise)
    for seed in (5, 6):
        with pytest.raises(ReadingError):
            find_symmetries(*random_network(seed))


def test_six_blocks_are_read_in_seconds():
    def call(x):
        x = nn.Dense(12)(x)
        for _ in range(6):
            x = x + nn.MultiHeadDotProductAttention(3)(nn.LayerNorm()(x))
            x = x + nn.Dense(12)(nn.gelu(nn.Dense(20)(nn.LayerNorm()(x))))
        return nn.Dense(3)(x.mean(1))

    start = time.process_time()
    found = read_call(call, SEQUENCES)
    assert len(perms_of([axis for axes in found.spec.values() for axis in axes])) == 1 + 6 * 4
    assert time.process_time() - start < 30


# The group of a specification with trees.


def test_group_of_a_transformer(transformer, moving):
    params, apply, found = transformer
    spec, (element, move) = found.spec, moving
    x = np.random.default_rng(3).standard_normal(SEQUENCES.shape, "float32")
    first, second = (trees.to_host(element(jax.random.key(i))) for i in range(2))
    assert {name: drawn.shape for name, drawn in first.items()} == {
        "attention/query.0": (3,),
        "attention/query.1": (3, 4),
        "attention/value.1": (3, 4),
        "embed": (12,),
        "up": (20,),
    }
    once = trees.to_host(move(params, first))
    np.testing.assert_allclose(apply(once, x), apply(params, x), rtol=1e-4, atol=1e-5)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), once, params)
    assert min(trees.flatten(moved["attention"]).values()) > 0.01

    def assert_equal(one, other):
        jax.tree.map(np.testing.assert_array_equal, one, other)

    heads = {"attention/query.0": first["attention/query.0"]}

    @jax.jit
    def combine(first, second):
        back = invert(first, spec)
        pairs = (first, second), (first, back), (back, first), (first, heads)
        return back, *(compose(*pair, spec) for pair in pairs)

    back, both, there, here, then_heads = combine(first, second)
    assert_equal(move(params, identity(params, spec)), params)
    assert_equal(move(once, back), params)
    assert_equal(move(once, second), move(params, both))
    assert_equal(there, identity(params, spec))
    assert_equal(here, identity(params, spec))
    assert_equal(move(once, heads), move(params, then_heads))
    sizes = (12, 20, 3) + (4,) * 6
    assert log_group_order(params, spec) == pytest.approx(sum(np.log(np.arange(1, size + 1)).sum() for size in sizes))
    with pytest.raises(InputError, match="permute within others; give spec="):
        invert(first)


def test_aligning_a_transformer_recovers_its_permutation(transformer, moving):
    params, _, found = transformer
    element, move = moving
    drawn = element(jax.random.key(5))
    matching = weight_matching(found.spec, move(params, drawn), params)
    jax.tree.map(np.testing.assert_array_equal, matching.permutations, drawn)


def test_permute_is_traceable(transformer, moving):
    params, _, found = transformer
    element, move = moving
    keys = jax.random.split(jax.random.key(4), 2)

    @jax.jit
    @jax.vmap
    def all_at_once(key):
        return permute(params, found.spec, random_permutations(key, params, found.spec))

    alone = move(params, element(keys[1]))
    jax.tree.map(lambda many, one: np.testing.assert_array_equal(many[1], one), trees.to_host(all_at_once(keys)), alone)


def test_units_within_scanned_attention():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            return x + nn.MultiHeadDotProductAttention(3, name="attention")(x), None

    def call(x):
        many = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
        return nn.Dense(2)(many(name="blocks")(nn.Dense(12, name="stem")(x), None)[0].mean(1))

    module = linen(call)
    params = draw(jax.eval_shape(module.init, jax.random.key(0), SEQUENCES)["params"])
    spec = read_linen(module, SEQUENCES).spec
    atoms = {atom.name: atom for axes in spec.values() for axis in axes for atom in atoms_of(axis)}
    layers, heads, dims = (f"blocks/attention/query{tail}" for tail in (".fixed", ".0", ".1"))
    assert atoms[heads].within == (layers,)
    assert atoms[dims].within == (layers, heads)

    @jax.jit
    def run(key, x):
        drawn = random_permutations(key, params, spec)
        permuted = permute(params, spec, drawn)
        outputs = [module.apply({"params": tree}, x) for tree in (params, permuted)]
        return drawn, permuted, permute(permuted, spec, invert(drawn, spec)), outputs

    x = np.random.default_rng(2).standard_normal((2, 5, 4), "float32")
    drawn, permuted, back, outputs = trees.to_host(run(jax.random.key(1), x))
    assert drawn[dims].shape == (2, 3, 4)
    jax.tree.map(np.testing.assert_array_equal, weight_matching(spec, permuted, params).permutations, drawn)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)


def test_loops_and_branches():
    def apply(params, x):
        h = lax.fori_loop(0, 2, lambda i, h: jnp.tanh(h @ params["loop"]), x @ params["a"])
        h = lax.cond(h.sum() > 0, lambda h: h * params["s"][None], lambda h: h - params["s"][None], h)
        return lax.while_loop(lambda h: h.sum() > 100, lambda h: h / 2, h) @ params["b"]

    params = {"a": jnp.ones((4, 5)), "loop": jnp.ones((5, 5)), "s": jnp.ones(5), "b": jnp.ones((5, 2))}
    assert texts(find_symmetries(apply, params, ROWS)) == {"a": "4, a", "b": "a, 2", "loop": "a, a", "s": "a"}


def test_calls_of_every_kind():
    bent = jax.custom_vjp(jnp.tanh)
    bent.defvjp(lambda x: (bent(x), x), lambda x, g: (g,))
    mesh = Mesh(np.array(jax.devices()[:1]), ("rows",))

    def apply(params, x):
        h = bent(x @ params["a"])
        h = jax.shard_map(
            lambda h, w: jnp.tanh(h @ w),
            mesh=mesh,
            in_specs=(PartitionSpec("rows"), None),
            out_specs=PartitionSpec("rows"),
        )(h, params["b"])
        h = lax.stop_gradient(lax.optimization_barrier(h))
        h = jax.checkpoint(lambda h: jnp.where(h > 0, h, params["slope"][None] * h))(h)
        h = jax.jit(jax.vmap(jax.nn.silu))(h)
        return h / jnp.linalg.norm(h, axis=-1, keepdims=True) @ params["c"]

    shapes = {"a": (4, 5), "b": (5, 6), "slope": (6,), "c": (6, 2)}
    found = find_symmetries(apply, {name: jnp.ones(shape) for name, shape in shapes.items()}, ROWS)
    assert texts(found) == {"a": "4, a", "b": "a, b", "c": "b, 2", "slope": "b"}
    assert roles(found)["slope"] == ("scale", (), (0,))
    assert found.unknown == ()


def test_masks_drawn_inside_break_permutations():
    def apply(params, x):
        h = jnp.tanh(x @ params["a"])
        return jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, h.shape), h, -jnp.inf).max(-1) + params["b"]

    found = find_symmetries(apply, {"a": jnp.ones((4, 5)), "b": jnp.ones(())}, jnp.ones((20, 4)))
    assert texts(found) == {"a": "4, 5", "b": ""}
    assert found.unknown[-1:] == ("random_bits",)
