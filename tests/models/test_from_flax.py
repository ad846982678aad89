"""Flax networks of any kind under every method."""

import json
import math
import zlib
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from model_of import drawn_constants

from asymjax import trees
from asymjax.errors import InputError
from asymjax.inference.posterior import leaf_scales, make_posterior
from asymjax.models import build_model, draw_frozen
from asymjax.models.backbones import BACKBONES
from asymjax.models.from_flax import from_flax
from asymjax.models.methods import METHODS, FixedBias, Method, SigmaAsym, Standard, Syre, WAsym
from asymjax.models.network import Activation
from asymjax.models.symmetry_description import describe_symmetries
from asymjax.priors import NormalPrior
from asymjax.symmetry import log_group_order, permute, permute_frozen, random_permutations

ROWS = np.ones((3, 6), "float32")
IMAGES = np.ones((2, 4, 4, 3), "float32")
SEQUENCES = np.ones((2, 5, 16), "float32")
TOKENS = np.array([[1, 2, 3], [4, 5, 0]], "int32")
QUERY = "MultiHeadDotProductAttention_0/query/kernel"


def linen(call):
    """The Linen module of a function."""
    return type("Net", (nn.Module,), {"__call__": nn.compact(lambda self, *inputs: call(*inputs))})()


class Blocks(nnx.Module):
    """An MLP of blocks in a list."""

    def __init__(self, rngs):
        self.blocks = nnx.List([nnx.Linear(6, 6, rngs=rngs) for _ in range(2)])
        self.norm = nnx.LayerNorm(6, rngs=rngs)
        self.act = Activation(nnx.gelu)
        self.readout = nnx.Linear(6, 4, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = self.act(block(x))
        return self.readout(self.norm(x))


def residual(x):
    x = nn.Conv(6, (3, 3))(x)
    x = x + nn.Conv(6, (3, 3))(nn.relu(nn.GroupNorm(1)(nn.Conv(7, (3, 3))(x))))
    return nn.Dense(4)(x.mean((1, 2)))


def transformer(x):
    h = nn.LayerNorm()(x)
    x = x + nn.MultiHeadDotProductAttention(2)(h)
    h = nn.LayerNorm()(x)
    x = x + nn.Dense(16)(nn.gelu(nn.Dense(20)(h)))
    return nn.Dense(4, name="head")(x.mean(1))


def words(tokens):
    x = nn.Embed(8, 6)(tokens).mean(1)
    return nn.Dense(4)(nn.silu(nn.Dense(7)(x)))


def two_inputs(x, y):
    return nn.Dense(4)(nn.tanh(nn.Dense(8)(x) + nn.Dense(8)(y)))


class Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return x + jnp.sin(nn.Dense(6, name="dense")(x)), None


def scanned(x):
    loop = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)(name="steps")
    return nn.Dense(4)(nn.gelu(loop(nn.Dense(6)(x), None)[0]))


NETWORKS = {
    "nnx": (Blocks, ROWS),
    "residual": (linen(residual), IMAGES),
    "transformer": (linen(transformer), SEQUENCES),
    "words": (linen(words), TOKENS),
    "two_inputs": (linen(two_inputs), (ROWS, 2 * ROWS)),
    "scanned": (linen(scanned), ROWS),
}
SHORT = [("transformer", "w_asym"), ("transformer", "sigma_asym"), ("residual", "fixed_bias"), ("words", "syre")]
SHORT += [("two_inputs", "w_sigma_asym"), ("scanned", "w_asym"), *(("nnx", method) for method in METHODS)]
CASES = [
    pytest.param(name, method, marks=[] if (name, method) in SHORT else [pytest.mark.long], id=f"{name}-{method}")
    for name in NETWORKS
    for method in METHODS
]


@cache
def symmetries(name):
    return from_flax(*NETWORKS[name])


@cache
def under(name, method):
    return from_flax(*NETWORKS[name], METHODS[method](), check=method.endswith("sigma_asym"))


def draw(shapes, seed=0):
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: 0.5 * generator.standard_normal(leaf.shape).astype(leaf.dtype), shapes)


def rows_like(example):
    generator = np.random.default_rng(5)
    return jax.tree.map(
        lambda leaf: generator.standard_normal(leaf.shape, "float32") if leaf.dtype.kind == "f" else leaf,
        jax.tree.map(np.asarray, example),
    )


@pytest.mark.parametrize(("name", "method"), CASES)
def test_every_network_keeps_the_contract_of_every_method(name, method):
    model, x = under(name, method), rows_like(NETWORKS[name][1])
    frozen = drawn_constants(model, scale=float(method != "pruned"))
    position = draw(jax.eval_shape(model.init, jax.random.key(0), frozen))

    def loss(position):
        outputs = model.apply(position, frozen, x)
        return jnp.sum(jnp.sin(outputs)), outputs

    @jax.jit
    def run(position, direction):
        params = model.merge(position, frozen)
        grad, outputs = jax.grad(loss, has_aux=True)(position)
        tangent = jax.jvp(loss, (position,), (direction,))[1][0]
        both = jax.vmap(lambda p: model.apply(p, frozen, x))(jax.tree.map(lambda a: jnp.stack([a, a + 1]), position))
        return params, model.split(params, frozen), grad, tangent, both, outputs, model.forward(params, {}, x)

    direction = draw(position, 1)
    params, back, grad, tangent, both, outputs, plain = trees.to_host(run(position, direction))
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda leaf: leaf.shape, model.params_shape)
    compare = np.testing.assert_allclose if method == "syre" else np.testing.assert_array_equal
    jax.tree.map(lambda a, b: compare(a, b, **({"atol": 1e-6} if method == "syre" else {})), back, position)
    terms = [np.float64(g) * d for g, d in zip(*map(jax.tree.leaves, (grad, direction)), strict=True)]
    # Rounded are the terms, which may cancel.
    size = sum(np.abs(term).sum() for term in terms)
    np.testing.assert_allclose(tangent, sum(term.sum() for term in terms), rtol=0, atol=1e-4 * size)
    np.testing.assert_allclose(both[0], outputs, rtol=1e-4, atol=1e-4)
    assert outputs.shape == (len(jax.tree.leaves(x)[0]), 4)
    assert (np.abs(outputs - plain).max() > 1e-3) == method.endswith("sigma_asym")
    free = trees.num_entries(position)
    if model.free_mask is not None:
        assert free == sum(int(np.sum(leaf)) for leaf in jax.tree.leaves(trees.to_host(model.free_mask(frozen))))


def test_positions_in_lists_are_names():
    model = symmetries("nnx")
    assert set(trees.flatten(model.params_shape)) >= {"blocks/0/kernel", "blocks/1/bias", "norm/scale"}
    x = rows_like(ROWS)

    @jax.jit
    def run(key):
        params = model.init(key, {})
        return params, model.apply(params, {}, x), Blocks(nnx.Rngs(key))(x)

    params, outputs, expected = trees.to_host(run(jax.random.key(0)))
    assert trees.checksum(params) == trees.checksum(trees.unflatten(trees.flatten(params)))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


def test_what_enters_the_sites_of_nnx_networks_can_be_read():
    model, x = symmetries("nnx"), rows_like(ROWS)
    params = draw(model.params_shape)
    seen = jax.jit(model.site_inputs)(params, {}, x)["act"]
    first = params["blocks"]["0"]
    np.testing.assert_allclose(seen[:3], x @ first["kernel"] + first["bias"], rtol=1e-4, atol=1e-5)
    assert model.layer_inputs(params, {}, x) == {}


def test_a_network_of_lists_has_a_posterior():
    model = symmetries("nnx")
    data = rows_like(ROWS), np.array([0, 1, 3])
    posterior = make_posterior(model, data)
    position = draw(model.params_shape)
    grad = jax.jit(jax.grad(posterior.logdensity))(position, posterior.frozen, posterior.data)
    assert trees.flatten(grad).keys() == trees.flatten(position).keys()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad))


def test_linen_networks_are_their_modules():
    module, x = NETWORKS["transformer"][0], rows_like(SEQUENCES)
    model = symmetries("transformer")
    params = draw(model.params_shape)
    outputs, expected = jax.jit(lambda p: (model.forward(p, {}, x), module.apply({"params": p}, x)))(params)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_attention_has_its_fan_in_its_units_and_its_prior():
    model = symmetries("transformer")
    query, out = model.layers[QUERY], model.layers[QUERY.replace("query", "out")]
    assert (query.shape, query.fan_in, query.num_units) == ((16, 2, 8), 16, 16)
    assert (out.shape, out.fan_in, out.num_units) == ((2, 8, 16), 16, 16)
    mean, scale = leaf_scales(model, NormalPrior(output_scale=20.0), model.params_shape)
    mean, scale = trees.flatten(mean), trees.flatten(scale)
    assert scale[QUERY] == 0.25
    assert (mean["LayerNorm_0/scale"], scale["LayerNorm_0/scale"], scale["LayerNorm_0/bias"]) == (1.0, 0.2, 0.2)
    assert (mean["LayerNorm_0/bias"], scale["Dense_0/bias"]) == (0.0, 1.0)
    assert scale["head/kernel"] == 20 / 4
    assert [path for path, layer in model.layers.items() if layer.is_output] == ["head/kernel"]


def test_masks_of_attention_fix_inputs_of_every_unit():
    kernels = [path for path, layer in symmetries("transformer").layers.items() if layer.role == "kernel"]
    # Each kernel with a mask takes long to compile.
    num_fixed = tuple(
        3 if path.startswith(("MultiHeadDotProductAttention_0/query", "MultiHeadDotProductAttention_0/out")) else 0
        for path in kernels
    )
    model = from_flax(*NETWORKS["transformer"], WAsym(num_fixed=num_fixed), check=False)
    is_free = trees.flatten(model.free_mask(jax.jit(model.freeze)(jax.random.key(0))))
    assert np.all((~is_free[QUERY]).sum(0) == 3)
    assert np.all((~is_free[QUERY.replace("query", "out")]).sum((0, 1)) == 3)
    assert len(np.unique(np.asarray(is_free[QUERY]).reshape(16, 16).T, axis=0)) == 16


def test_masks_of_scanned_layers_are_their_own():
    kernels = [path for path, layer in symmetries("scanned").layers.items() if layer.role == "kernel"]
    num_fixed = tuple(2 if path == "steps/dense/kernel" else 0 for path in kernels)
    model = from_flax(*NETWORKS["scanned"], WAsym(num_fixed=num_fixed), check=False)
    layer = model.layers["steps/dense/kernel"]
    assert (layer.shape, layer.batch_axes, layer.fan_in, layer.num_units) == ((3, 6, 6), (0,), 6, 6)
    fixed = ~np.asarray(trees.flatten(model.free_mask(jax.jit(model.freeze)(jax.random.key(0))))["steps/dense/kernel"])
    assert np.all(fixed.sum(1) == 2)
    assert all(len(np.unique(masks.T, axis=0)) == 6 for masks in fixed)
    assert (fixed[0] != fixed[1]).any()


@pytest.mark.parametrize(
    ("layer", "fan_in", "num_units"),
    [
        (lambda: nn.ConvTranspose(5, (3, 3), transpose_kernel=True, name="conv"), 27, 5),
        (lambda: nn.Conv(6, (3, 3), feature_group_count=3, name="conv"), 9, 6),
    ],
    ids=["transposed", "grouped"],
)
def test_convolutions_have_units_on_the_axis_that_makes_them(layer, fan_in, num_units):
    model = from_flax(linen(lambda x: layer()(x).mean((1, 2))), IMAGES, WAsym(), check=False)
    found = model.layers["conv/kernel"]
    assert (found.fan_in, found.num_units, found.is_output) == (fan_in, num_units, True)
    is_free = trees.flatten(model.free_mask(jax.jit(model.freeze)(jax.random.key(0))))["conv/kernel"]
    num_fixed = np.moveaxis(~np.asarray(is_free), found.out_axes[0], 0).reshape(num_units, -1).sum(1)
    assert np.all(num_fixed == round(fan_in / 2))


def test_permutations_of_a_transformer_act_on_gates_too():
    plain, model, x = symmetries("transformer"), under("transformer", "sigma_asym"), rows_like(SEQUENCES)
    order = sum(map(math.lgamma, (21, 3))) + 4 * math.lgamma(9)
    assert log_group_order(plain.params_shape, plain.permutation_spec) == pytest.approx(order)
    frozen, params, spec = drawn_constants(model), draw(model.params_shape), model.permutation_spec
    forward = jax.jit(model.forward)

    @jax.jit
    def move(key):
        moved = random_permutations(key, params, spec)
        return permute(params, spec, moved), permute_frozen(frozen, spec, moved)

    permuted, conjugated = move(jax.random.key(1))
    outputs = forward(params, frozen, x)
    assert np.abs(forward(permuted, frozen, x) - outputs).max() > 1e-2
    np.testing.assert_allclose(forward(permuted, conjugated, x), outputs, rtol=1e-3, atol=1e-3)


def test_calls_of_activations_are_found_and_told_apart():
    def call(x):
        for i, fn in enumerate((nn.relu, nn.silu, nn.tanh, nn.gelu, lambda x: nn.gelu(x, approximate=False), nn.gelu)):
            x = nn.Dense(6, name=f"dense_{i}")(fn(x))
        return x

    model = from_flax(linen(call), ROWS, SigmaAsym(), check=False)
    x = rows_like(ROWS)
    params = draw(model.params_shape)
    sites = ["gelu_0", "gelu_1", "gelu_exact_0", "relu_0", "silu_0", "tanh_0"]
    assert sorted(jax.eval_shape(model.site_inputs, params, {}, x)) == sites
    frozen = jax.eval_shape(model.freeze, jax.random.key(0))
    assert sorted(frozen) == sites
    some = from_flax(linen(call), ROWS, SigmaAsym(), sites=["tanh_0"], check=False)
    assert list(jax.eval_shape(some.freeze, jax.random.key(0))) == ["tanh_0"]
    with pytest.raises(InputError, match=r"unknown activation site 'gelu_7', choose from .*gelu_exact_0"):
        from_flax(linen(call), ROWS, SigmaAsym(), sites=["gelu_7"])


def test_calls_in_compiled_and_recomputed_parts_are_found_and_those_in_softmax_are_not():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.gelu(nn.Dense(6)(x))

    def call(x):
        x = jax.jit(nn.relu)(nn.remat(Block)(name="block")(x))
        return nn.Dense(4)(nn.softmax(x))

    model = from_flax(linen(call), ROWS, SigmaAsym())
    assert sorted(jax.eval_shape(model.freeze, jax.random.key(0))) == ["gelu_0", "relu_0"]
    frozen = drawn_constants(model)
    grad = jax.jit(jax.grad(lambda p: model.apply(p, frozen, ROWS)[0, 0]))(draw(model.params_shape))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad))


def test_activations_of_ones_own_are_modules_or_given_by_name():
    def mine(x):
        return x / (1 + jnp.abs(x))

    net = linen(lambda x: nn.Dense(4)(mine(nn.Dense(6)(x))))
    with pytest.raises(
        InputError, match=r"SigmaAsym needs activations and found none outside scans in Net. Write asymjax"
    ):
        from_flax(net, ROWS, SigmaAsym())
    given = from_flax(net, ROWS, SigmaAsym(), activations={"mine": mine})
    assert list(jax.eval_shape(given.freeze, jax.random.key(0))) == ["mine_0"]
    # With a module of ours, calls beside it are no sites.
    module = linen(lambda x: nn.gelu(nn.Dense(4)(Activation(mine, name="act")(nn.Dense(6)(x)))))
    hooked = from_flax(module, ROWS, SigmaAsym())
    assert list(jax.eval_shape(hooked.freeze, jax.random.key(0))) == ["act"]
    assert hooked.permutation_spec["act"] == ("Dense_1",)


class Stateful(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(6, use_running_average=False, rngs=rngs)
        self.use_batch = True
        self.readout = nnx.Linear(6, 4, rngs=rngs)

    def __call__(self, x):
        return self.readout(self.norm(x, use_running_average=not self.use_batch))


class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.normal(), (6, 6))
        return nn.Dense(4)(jnp.sin(x @ kernel) @ kernel.T)


@pytest.mark.parametrize(
    ("make", "method", "message"),
    [
        (lambda: linen(lambda x: nn.Dense(4)(nn.BatchNorm(use_running_average=False)(x))), Standard(),
         "a call of Net changes its state, batch_stats/BatchNorm_0/mean, batch_stats/BatchNorm_0/var"),
        (lambda: linen(lambda x: nn.Dense(4)(nn.Dropout(0.5, deterministic=False)(x))), Standard(),
         "a call of Net draws random numbers"),
        (lambda: Stateful, Standard(), "a call of Stateful changes its state, norm/mean, norm/var"),
        (lambda: Blocks(nnx.Rngs(0)), Standard(), "this Blocks is one initialised network.* lambda rngs: Blocks"),
        (lambda: nn.Dense, Standard(), "Dense is a class; give a module"),
        (lambda: 3, Standard(), "3 is no network"),
        (lambda: linen(lambda x: nn.Dense(4)(x - x.mean(0, keepdims=True))), Standard(), "rows of Net depend"),
        (lambda: linen(lambda x: (nn.Dense(4)(x), x)), Standard(), r"Net returns \(\(3, 4\), \(3, 6\)\)"),
        (lambda: linen(lambda x: nn.LayerNorm()(x)), WAsym(),
         r"WAsym acts on the role kernel, which no leaf of Net has: LayerNorm_0/scale \(scale\)"),
        (lambda: linen(lambda x: nn.Dense(4, use_bias=False)(x)), FixedBias(), "FixedBias acts on the role bias"),
        (Twice, Syre(), "Syre acts on leaves of the role kernel, but kernel of Twice is used in several ways"),
    ],
    ids=lambda value: None if callable(value) or isinstance(value, Method) else value[:30],
)  # fmt: skip
def test_what_is_no_pure_function_of_rows_or_has_nothing_to_act_on_is_refused(make, method, message):
    with pytest.raises(InputError, match=message):
        from_flax(make(), ROWS, method)


class Recurrent(nnx.Module):
    def __init__(self, rngs):
        self.rnn = nnx.RNN(nnx.GRUCell(7, 7, rngs=rngs))
        self.readout = nnx.Linear(7, 4, rngs=rngs)

    def __call__(self, x):
        return self.readout(self.rnn(x)[:, -1])


@pytest.mark.parametrize(
    ("make", "path", "fan_in", "num_units"),
    [
        (Recurrent, "rnn/cell/dense_h/kernel", 7, 21),
        (linen(lambda x: nn.Dense(4)(nn.relu(nn.WeightNorm(nn.Dense(7))(x)[:, 0]))), "Dense_0/kernel", 7, 4),
    ],
    ids=["random numbers that are not used", "names with slashes"],
)
def test_cells_and_weight_norms_are_networks(make, path, fan_in, num_units):
    model = from_flax(make, jnp.ones((2, 3, 7)), WAsym())
    assert (model.layers[path].fan_in, model.layers[path].num_units) == (fan_in, num_units)
    frozen = drawn_constants(model)
    position = draw(jax.eval_shape(model.init, jax.random.key(0), frozen))
    assert np.isfinite(jax.jit(model.apply)(position, frozen, np.ones((2, 3, 7), "float32"))).all()


def test_inputs_unlike_the_example_are_refused():
    model = symmetries("two_inputs")
    params = draw(model.params_shape)
    with pytest.raises(InputError, match="Net takes inputs like its example"):
        model.apply(params, {}, ROWS)
    with pytest.raises(InputError, match=r"inputs have shape \(3, 5\); this model expects \[rows, 6,\]"):
        model.apply(params, {}, (ROWS, ROWS[:, :5]))
    one = jax.ShapeDtypeStruct((1, 6), "float32")
    assert jax.eval_shape(model.apply, params, {}, (one, one)).shape == (1, 4)


def test_running_averages_are_constants():
    net = linen(lambda x: nn.Dense(4)(nn.BatchNorm(use_running_average=True, name="norm")(x)))
    model = from_flax(net, ROWS)
    assert set(model.layers) == {"norm/scale", "norm/bias", "Dense_0/kernel", "Dense_0/bias"}
    assert model.layers["norm/bias"].is_norm


def test_symmetries_of_a_transformer_are_described():
    found = describe_symmetries(symmetries("transformer"), rows_like(SEQUENCES))
    attention = "MultiHeadDotProductAttention_0/"
    sizes = sorted((entry["num_units"], entry["copies"]) for entry in found["permutations"].values())
    assert sizes == [(2, 1), (8, 2), (8, 2), (20, 1)]
    assert sorted(found["linear_groups"].values()) == [128, 128]
    assert all(name.startswith(attention) for name in found["linear_groups"])
    assert found["dead"] == [attention + "key/bias"]
    assert json.loads(json.dumps(found)) == found


def test_operations_that_were_not_understood_are_named():
    model = from_flax(linen(lambda x: nn.Dense(4)(jnp.sort(nn.Dense(6)(x)))), ROWS)
    found = describe_symmetries(model, rows_like(ROWS))
    assert (found["permutations"], found["linear_groups"]) == ({}, {})
    assert "no permutations through sort" in found["notes"]


# What is drawn of each name, from the keys that names had from the start.
MASK_KEY = 2138030896  # CRC-32 of "mask".


def key_of(name):
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(3), MASK_KEY), zlib.crc32(name.encode()))


def normal_of(key, shape):
    return np.asarray(jax.random.normal(key, (math.prod(shape),))).reshape(shape)


def constants_of(arch, backbone, norm):
    shape = {"mlp": (8,), "cnn": (8, 8, 2), "rnn": (6, 4)}[backbone]
    settings = {"widths": (12, 8), "norm": norm, "activation": "gelu"}
    model = build_model(METHODS[arch](), BACKBONES[backbone](**settings), shape, 3)
    return trees.to_host(draw_frozen(model, 3))


def assert_rounded(found, expected):
    """The logarithm and the root in a normal draw are rounded by each processor in its way, by a few units."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_constants_are_drawn_from_the_keys_of_their_names():
    offsets = constants_of("syre", "mlp", "none")
    for name, layer in offsets.items():
        offset = layer["kernel"]["offset"]
        drawn = normal_of(key_of(f"{name}/kernel"), offset.shape)
        assert_rounded(offset, drawn * len(offset) ** -0.5)
    for name, layer in constants_of("sigma_asym", "cnn", "layer").items():
        shape = layer["gate"].shape
        assert_rounded(layer["gate"], normal_of(key_of(name), shape) * shape[0] ** -0.5)
    biases = constants_of("fixed_bias", "rnn", "layer")["gru_0"]["norm"]["bias"]["fixed_value"]
    expected = jax.random.uniform(key_of("gru_0/norm/bias"), biases.shape, minval=-1.0, maxval=1.0)
    assert_rounded(biases, expected)


# SHA-256 of where the entries of masked kernels are free. These are integers, the same on every processor.
MASKS = "42836d2aabf22780ae8669e0271d631650a67babddd5731666bdee8865a84072"


def test_masks_are_those_of_old_with_values_from_the_keys_of_their_names():
    constants = constants_of("w_asym", "cnn", "none")
    for name, layer in constants.items():
        one = layer["kernel"]
        is_fixed = one["source_index"] == one["free_index"].size
        drawn = normal_of(jax.random.split(key_of(f"{name}/kernel"))[1], is_fixed.shape)
        assert_rounded(one["fixed_value"], np.where(is_fixed, 0.5 * drawn, 0))
    masks = {name: {"free_index": layer["kernel"]["free_index"]} for name, layer in constants.items()}
    assert trees.checksum(masks) == MASKS


class PlainMLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i, width in enumerate((12, 8)):
            x = nn.LayerNorm(name=f"norm_{i}")(nn.Dense(width, name=f"dense_{i}")(x))
            x = Activation(nn.gelu, name=f"act_{i}")(x)
        return nn.Dense(3, name="output")(x)


@pytest.mark.parametrize("arch", METHODS)
def test_constants_of_a_flax_network_are_those_of_the_backbone_of_the_same_names(arch):
    own = build_model(METHODS[arch](), BACKBONES["mlp"](widths=(12, 8), norm="layer"), (8,), 3)
    read = from_flax(PlainMLP(), np.zeros((1, 8), np.float32), METHODS[arch](), check=False)
    programs = [str(jax.make_jaxpr(model.freeze)(jax.random.key(3))) for model in (own, read)]
    assert programs[0] == programs[1]


class Placed(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4)(x) + self.param("place", nn.initializers.normal(0.1), (1, 4))
        return nn.Dense(2)(nn.LayerNorm()(nn.gelu(x)))


def test_a_parameter_of_ones_own_beside_an_activation_is_of_no_norm():
    model = from_flax(Placed(), np.ones((2, 3), np.float32))
    assert {path for path, layer in model.layers.items() if layer.is_norm} == {"LayerNorm_0/bias", "LayerNorm_0/scale"}


@pytest.mark.parametrize("method", ["w_asym", WAsym])
def test_what_is_no_method_is_refused(method):
    with pytest.raises(InputError, match=r"give one with its settings, as asymjax\.WAsym\(\)"):
        from_flax(nn.Dense(2), np.ones((2, 3), np.float32), method)


def test_rows_in_lists_are_arrays():
    assert from_flax(nn.Dense(2), [[1.0, 2.0], [3.0, 4.0]]).layers["kernel"].fan_in == 2
