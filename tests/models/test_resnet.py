"""Residual networks: the papers' parameter counts, the formula in NumPy, sizes that make no network."""

import math
from dataclasses import replace

import jax
import numpy as np
import pytest
from model_of import drawn_constants, model_of

from asymjax import trees
from asymjax.models.backbones.resnet import BASE_WIDTHS
from asymjax.models.config import Models, each_method
from asymjax.models.presets import MODEL_PRESETS
from asymjax.priors import NormalPrior

RESNET20, RESNET8 = MODEL_PRESETS["paper_resnet20_w1"], MODEL_PRESETS["paper_resnet8_metanet"]
# The masks of the paper's ResNet110: as those of ResNet20, with 18 blocks a stage.
NUM_FIXED110 = (12, *(36,) * 36, 54, 54, 6, *(54,) * 34, 72, 72, 8, *(72,) * 34, 8)
RESNET110 = Models(each_method(num_fixed=NUM_FIXED110, fixed_scale=2.0), replace(RESNET20.backbone, depth=110))


def of_width_2(models):
    """With the same counts of fixed entries, and none in the last layer."""
    methods = each_method(num_fixed=(*models.methods["w_asym"].num_fixed[:-1], 0), fixed_scale=2.0)
    return Models(methods, replace(models.backbone, width_multiplier=2.0))


def num_trainable(models, arch, num_outputs=10):
    model = models.of(arch).build((32, 32, 3), num_outputs)
    position = jax.eval_shape(lambda key: model.init(key, model.freeze(key)), jax.random.key(0))
    in_norms = sum(leaf.size for path, leaf in trees.flatten(position).items() if "norm" in path)
    return trees.num_entries(position), in_norms


@pytest.mark.filterwarnings("ignore:conv_stem.*is the whole fan-in")
@pytest.mark.parametrize(
    ("config", "standard", "w_asym"),
    [
        (RESNET20, 272_474, 230_026),
        (MODEL_PRESETS["paper_resnet20_w8"], 17_289_866, 16_273_946),
        (RESNET8, 78_042, 60_634),
    ],
    ids=["resnet20", "resnet20 w=8", "resnet8"],
)
def test_parameter_counts_of_the_papers_networks(config, standard, w_asym):
    assert num_trainable(config, "standard")[0] == standard
    assert num_trainable(config, "w_asym")[0] == w_asym


@pytest.mark.filterwarnings("ignore:conv_stem.*is the whole fan-in")
@pytest.mark.filterwarnings("ignore:conv_stem.*have no outgoing weight")
def test_gates_are_not_counted_and_zeros_are_not_trained():
    counts = {arch: num_trainable(RESNET8, arch) for arch in ("standard", "sigma_asym", "w_asym", "pruned")}
    assert counts["sigma_asym"] == counts["standard"] and counts["pruned"] == counts["w_asym"]


def test_parameter_count_of_the_narrow_control():
    assert num_trainable(replace(RESNET8, backbone=RESNET8.backbone.narrowed(0.875)), "standard")[0] == 59_944


@pytest.mark.parametrize(
    ("config", "arch", "num_outputs", "expected"),
    [
        (RESNET20, "standard", 10, 1_356_098),
        (RESNET20, "w_asym", 10, 1_143_858),
        pytest.param(RESNET110, "standard", 10, 8_620_418, marks=pytest.mark.long),
        pytest.param(RESNET110, "w_asym", 10, 7_371_378, marks=pytest.mark.long),
        (of_width_2(RESNET20), "standard", 100, 5_468_436),
        (of_width_2(RESNET20), "w_asym", 100, 5_044_756),
        pytest.param(of_width_2(RESNET110), "standard", 100, 34_512_276, marks=pytest.mark.long),
        pytest.param(of_width_2(RESNET110), "w_asym", 100, 32_014_996, marks=pytest.mark.long),
    ],
)
def test_parameter_counts_of_the_papers_variational_networks(config, arch, num_outputs, expected):
    """Five numbers describe each weight and bias there, its mean and four low-rank factors, and one a norm's."""
    total, in_norms = num_trainable(config, arch, num_outputs)
    assert 5 * (total - in_norms) + in_norms == expected


def convolve(x, kernel, stride):
    size = len(kernel)
    before = size // 2
    padded = np.pad(x, [(0, 0), (before, before), (before, before), (0, 0)])
    height, width = x.shape[1:3]
    taps = ((i, j) for i in range(size) for j in range(size))
    return sum(padded[:, i : i + height : stride, j : j + width : stride] @ kernel[i, j] for i, j in taps)


def group_norm(x, norm):
    centred = x - x.mean((1, 2, 3), keepdims=True)
    return centred / np.sqrt((centred**2).mean((1, 2, 3), keepdims=True) + 1e-6) * norm["scale"] + norm["bias"]


def resnet(params, activation, x, num_blocks):
    """The network that the papers describe."""

    def conv_norm(layer, name, x, stride):
        return group_norm(convolve(x, layer[f"conv_{name}"]["kernel"], stride), layer[f"norm_{name}"])

    x = activation("act_stem", conv_norm(params, "stem", x, 1))
    for stage in range(3):
        for i in range(num_blocks):
            name, stride = f"block_{stage}_{i}", 2 if stage > 0 and i == 0 else 1
            block = params[name]
            inner = activation(f"{name}/act_0", conv_norm(block, "0", x, stride))
            shortcut = conv_norm(block, "shortcut", x, 2) if stride == 2 else x
            x = activation(f"{name}/act_1", conv_norm(block, "1", inner, 1) + shortcut)
    return x.mean((1, 2)) @ params["output"]["kernel"] + params["output"]["bias"]


@pytest.mark.parametrize("arch", ["standard", "sigma_asym"])
def test_forward_is_the_papers_network(arch):
    config = model_of(arch, "resnet", depth=14, width_multiplier=0.25, activation="relu", gate_scale="inv_sqrt")
    model, generator = config.build((9, 8, 2), 3), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, "float32"), model.params_shape)
    frozen = drawn_constants(model)
    gates = {path.removesuffix("/gate"): np.asarray(gate) for path, gate in trees.flatten(frozen).items()}
    assert {site: len(gate) for site, gate in gates.items()} == (
        {"act_stem": 4}
        | {
            f"block_{stage}_{i}/act_{j}": base // 4
            for stage, base in enumerate(BASE_WIDTHS)
            for i in (0, 1)
            for j in (0, 1)
        }
        if arch == "sigma_asym"
        else {}
    )

    def activation(site, x):
        return x / (1 + np.exp(-x @ gates[site])) if gates else np.maximum(x, 0)

    inputs = generator.standard_normal((5, 9, 8, 2), "float32")
    expected = resnet(params, activation, inputs.astype(np.float64), 2)
    np.testing.assert_allclose(jax.jit(model.forward)(params, frozen, inputs), expected, rtol=1e-3, atol=1e-3)


def test_without_norms_convolutions_have_biases():
    model = model_of(backbone="resnet", depth=8, norm="none").build((8, 8, 1), 3)
    names = {path.rpartition("/")[2] for path in trees.flatten(model.params_shape)}
    assert names == {"kernel", "bias"}
    assert model.params_shape["block_1_0"]["conv_shortcut"]["bias"].shape == (32,)


def test_norms_within_blocks_have_the_prior_of_norms():
    layers = model_of(backbone="resnet", depth=8).build((8, 8, 1), 3).layers
    prior = NormalPrior(norm_scale=0.3)
    assert prior.scale_of(layers["block_1_0/norm_shortcut/scale"]) == prior.scale_of(layers["norm_stem/bias"]) == 0.3
    assert prior.scale_of(layers["block_1_0/conv_1/kernel"]) == pytest.approx(1 / math.sqrt(9 * 32))
    assert layers["block_1_0/conv_1/kernel"].window_axes == (0, 1)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"depth": 18}, (8, 8, 1), "depth is 18; a resnet has 6 n \\+ 2 layers: 8, 14, 20, "),
        ({"depth": 2}, (8, 8, 1), "depth is 2; "),
        ({"width_multiplier": 0.02}, (8, 8, 1), r"width_multiplier is 0.02, .* stages of \(0, 1, 1\) channels"),
        ({}, (64,), r"the resnet backbone takes images \[rows, height, width, channels\], not inputs \(1, 64\)"),
    ],
)
def test_sizes_that_make_no_network_are_refused(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        model_of(backbone="resnet", **settings).build(shape, 3)
