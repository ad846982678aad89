"""What every method promises on every backbone."""

import os
import subprocess
import sys
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from model_of import model_of
from random_graphs import random_graph

from asymjax import rng, trees
from asymjax.data import DATASETS
from asymjax.experiments.train_sweep.config import Config
from asymjax.lab import command_line
from asymjax.models.backbones import BACKBONES
from asymjax.models.backbones.backbone import ACTIVATIONS
from asymjax.models.config import ModelConfig
from asymjax.models.methods import METHODS, Method
from asymjax.symmetry import gates_of, permute, permute_frozen, unit_counts, with_gates

INPUT_SHAPE, NUM_FEATURES, NUM_OUTPUTS = (4, 4, 1), 6, 3
# Every method on perceptrons, every backbone under a method of each kind; the others are made of parts of these.
SHORT = {("pruned", "cnn"), ("syre", "gcn"), ("fixed_bias", "resnet"), ("w_sigma_asym", "gcn")}
SHORT |= {(arch, "mlp") for arch in METHODS} | {(a, b) for a in ("standard", "w_asym", "sigma_asym") for b in BACKBONES}
CASES = [(arch, backbone) for arch in METHODS for backbone in BACKBONES]
MARKED = [pytest.param(case, marks=[] if case in SHORT else pytest.mark.long, id="-".join(case)) for case in CASES]
# Each kernel with a mask takes a second to compile, so of many kernels of a kind some have none.
NUM_FIXED = {"resnet": (2, 2, 0, 0, 0, 2, 0, 0, 0, 2), "rnn": (2, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 2)}
MASKED, GATED = ("w_asym", "pruned", "w_sigma_asym"), ("sigma_asym", "w_sigma_asym")
CHANGED_BY_PERMUTING = 0.1
MASK_KEYS = jnp.stack([rng.role_key(seed, "mask") for seed in (0, 1, 1)])


class Case(NamedTuple):
    """A model, and three networks of it that differ in mask key, scale and position, in float64.

    Programs, each compiled once: ``merge`` of all three, and ``project`` of one network's parameters, their position
    and what is merged of it.
    """

    arch: str
    backbone: str
    model: Any
    drawn: Any
    frozen: Any
    position: Any
    params: Any
    inputs: Any
    merge: Any
    project: Any

    def forward(self, params, frozen):
        """Return one network's outputs: a function of parameters and gates, whatever else the method does."""
        gates = with_gates({}, gates_of(frozen))
        return forward_of("sigma_asym" if gates else "standard", self.backbone)(params, gates, self.inputs)


def make_model(arch, backbone):
    num_fixed = NUM_FIXED.get(backbone, (2,)) if arch in MASKED else ()
    sizes = {"widths": (6, 5), "depth": 8, "width_multiplier": 0.5}
    norm, input_shape = ("batch", (NUM_FEATURES,)) if backbone == "gcn" else ("layer", INPUT_SHAPE)
    config = model_of(arch, backbone, **sizes, norm=norm, activation="relu", num_fixed=num_fixed)
    return config.build(input_shape, NUM_OUTPUTS)


def exactly(function):
    """Compile a function, and run it in float64, where other orders of sums are no concern."""
    jitted = jax.jit(function)

    def run(*args):
        with jax.enable_x64(True):
            return trees.to_host(jitted(*args))

    return run


@cache
def forward_of(arch, backbone):
    return exactly(make_model(arch, backbone).forward)


@cache
def permuting(backbone):
    spec = make_model("standard", backbone).permutation_spec
    return exactly(lambda params, element: permute(params, spec, element))


@cache
def networks(arch, backbone):
    model, generator = make_model(arch, backbone), np.random.default_rng(0)
    drawn = trees.to_host(jax.jit(jax.vmap(model.freeze))(MASK_KEYS, np.float32([1, 1, 3])))
    frozen = jax.tree.map(lambda leaf: leaf.astype(float) if leaf.dtype == np.float32 else leaf, drawn)
    shapes = jax.eval_shape(model.init, MASK_KEYS[0], member(frozen, 0))
    position = jax.tree.map(lambda leaf: generator.standard_normal((3, *leaf.shape)), shapes)
    inputs = generator.standard_normal((7, *INPUT_SHAPE))
    inputs = random_graph(9, NUM_FEATURES, num_rows=7) if backbone == "gcn" else inputs
    merge = exactly(jax.vmap(model.merge, (0, 0 if frozen else None)))

    def project(params, frozen):
        position = model.split(params, frozen)
        return position, model.merge(position, frozen)

    params = merge(position, frozen)
    return Case(arch, backbone, model, drawn, frozen, position, params, inputs, merge, exactly(project))


@pytest.fixture(params=MARKED)
def case(request):
    return networks(*request.param)


def member(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def assert_close(left, right):
    np.testing.assert_allclose(left, right, rtol=1e-8, atol=1e-8)


def test_position_holds_what_is_free_and_nothing_else(case):
    position, params = member(case.position, 0), member(case.params, 0)
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda leaf: leaf.shape, case.model.params_shape)
    if case.model.free_mask is None:
        assert trees.num_entries(position) == trees.num_entries(params)
        return
    is_free = trees.to_host(jax.jit(case.model.free_mask)(member(case.frozen, 0)))
    assert trees.num_entries(position) == sum(np.sum(leaf) for leaf in jax.tree.leaves(is_free))
    for path, values in trees.flatten(member(case.frozen, 0)).items():
        if path.endswith("/fixed_value"):
            kernel, free = (trees.flatten(tree)[path.removesuffix("/fixed_value")] for tree in (params, is_free))
            np.testing.assert_array_equal(kernel[~free], values[~free])
    moved = case.merge(jax.tree.map(lambda leaf: leaf + 1, case.position), case.frozen)
    assert_equal(jax.tree.map(np.not_equal, member(moved, 0), params), is_free)


def test_split_undoes_merge(case):
    position = member(case.position, 0)
    back, _ = case.project(member(case.params, 0), member(case.frozen, 0))
    if case.model.free_mask is not None:
        assert_equal(back, position)
        return
    offsets = member(case.merge(jax.tree.map(np.zeros_like, case.position), case.frozen), 0)
    for leaf, again, offset in zip(*map(jax.tree.leaves, (position, back, offsets)), strict=True):
        assert np.all(np.abs(again - leaf) <= np.spacing(np.maximum(np.abs(leaf), np.abs(offset))))


def test_position_starts_at_the_plain_initialisation(case):
    position = jax.eval_shape(case.model.init, MASK_KEYS[0], member(case.drawn, 0))
    shapes = jax.tree.map(lambda leaf: (leaf.shape[1:], np.dtype("float32")), case.position)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), position) == shapes


def test_networks_map_over_positions_mask_keys_and_traced_scales(case):
    apply = exactly(jax.vmap(case.model.apply, (0, 0 if case.frozen else None, None)))
    outputs = apply(case.position, case.frozen, case.inputs)
    assert outputs.shape == (3, 7, NUM_OUTPUTS)
    for index in range(3):
        params, frozen = member(case.params, index), member(case.frozen, index)
        assert_close(outputs[index], case.forward(params, frozen))
    for path, leaf in trees.flatten(case.drawn).items():
        np.testing.assert_allclose(leaf[2], (1 if path.endswith("index") else 3) * leaf[1], rtol=1e-6)
        assert np.any(leaf[0] != leaf[1]) or (case.arch == "pruned" and path.endswith("value"))


@pytest.mark.parametrize(
    "backbone", [pytest.param(b, marks=[] if ("pruned", b) in SHORT else pytest.mark.long) for b in BACKBONES]
)
def test_pruned_networks_have_the_masks_of_w_asymmetric_ones_and_zeros(backbone):
    pruned, w_asym = (trees.flatten(networks(arch, backbone).drawn) for arch in ("pruned", "w_asym"))
    for path, leaf in pruned.items():
        np.testing.assert_array_equal(leaf, 0 * w_asym[path] if path.endswith("value") else w_asym[path])


@pytest.mark.parametrize("arch", [arch for arch in METHODS if METHODS[arch].merge_kernel != Method.merge_kernel])
def test_merge_has_the_right_gradient(arch):
    case = networks(arch, "mlp")
    frozen = member(case.frozen, 0)
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(member(case.position, 0))

    @exactly
    def value_and_gradient(flat):
        return jax.value_and_grad(
            lambda flat: jnp.sum(jnp.sin(ravel_pytree(case.model.merge(unravel(flat), frozen))[0]))
        )(flat)

    way, step = np.random.default_rng(3).standard_normal(flat.shape), 1e-5
    (after, _), (before, _) = (value_and_gradient(np.asarray(flat) + sign * step * way) for sign in (1, -1))
    slope = value_and_gradient(np.asarray(flat))[1] @ way
    np.testing.assert_allclose((after - before) / (2 * step), slope, rtol=1e-6, atol=1e-6)


def test_wrong_inputs_are_refused(case):
    if case.backbone == "gcn":
        inputs = case.inputs._replace(features=case.inputs.features[:, :3])
        message = r"inputs have shape \(9, 3\); this model expects \[rows, 6,\]"
    else:
        inputs, message = case.inputs[:, :3], r"shape \(7, 3, 4, 1\); this model expects \[rows, 4, 4, 1\]"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(case.model.apply, member(case.position, 0), member(case.frozen, 0), inputs)


def test_permuting_units_keeps_standard_networks_and_changes_asymmetric_ones(case):
    params, frozen = member(case.params, 0), member(case.frozen, 0)
    spec, generator = case.model.permutation_spec, np.random.default_rng(2)
    turn = {name: generator.permutation(count) for name, count in unit_counts(params, spec).items()}
    permuted = permuting(case.backbone)(params, turn)
    _, inside = case.project(permuted, frozen)
    outputs, moved, projected = (case.forward(p, frozen) for p in (params, permuted, inside))
    if case.arch in GATED:
        assert np.abs(moved - outputs).max() > CHANGED_BY_PERMUTING
        with jax.enable_x64(True):
            conjugated = trees.to_host(permute_frozen(frozen, spec, turn))
        assert_close(case.forward(permuted, conjugated), outputs)
    else:
        assert_close(moved, outputs)
    is_changed = np.abs(projected - outputs).max() > CHANGED_BY_PERMUTING
    assert is_changed == (case.arch in (*MASKED, *GATED, "fixed_bias"))


# Kernels that are masked or offset, biases and gates, each drawn by one function whatever the network.
DRAWN_TWICE = [("w_asym", "mlp"), ("w_asym", "cnn"), ("syre", "mlp"), ("fixed_bias", "resnet"), ("sigma_asym", "rnn")]
CHECKSUMS_OF_ALL = """
from test_contract import DRAWN_TWICE, make_model
from asymjax import trees
from asymjax.models import draw_frozen
for case in DRAWN_TWICE:
    print(trees.checksum(trees.to_host(draw_frozen(make_model(*case), 0))))
"""


@pytest.fixture(scope="module", autouse=True)
def other_process():
    env = {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path), "JAX_ENABLE_X64": "1"}
    words = [sys.executable, "-c", CHECKSUMS_OF_ALL]
    with subprocess.Popen(words, env=os.environ | env, stdout=subprocess.PIPE, text=True) as process:
        yield process


def test_frozen_is_the_same_in_every_process_under_x64_and_in_a_sweep(other_process):
    checksums = [trees.checksum(member(networks(*case).drawn, 0)) for case in DRAWN_TWICE]
    assert other_process.communicate()[0].split() == checksums


def test_help_names_every_entry_of_the_registries(capsys):
    with pytest.raises(SystemExit):
        command_line.parse({"default": Config()}, "", ["--help"])
    words = capsys.readouterr().out
    for name in [*METHODS, *BACKBONES, *ACTIVATIONS, *DATASETS]:
        assert name in words


@pytest.mark.parametrize("name", ["arch", "backbone", "activation"])
def test_unknown_names_are_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"unknown {name} 'wasym', choose from .*, "):
        ModelConfig.of(**{name: "wasym"}).build(INPUT_SHAPE, NUM_OUTPUTS)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"widths": (8, 0)}, (4,), r"widths is 0; give a number in \[1, 1e\+09\]"),
        ({"widths": (10**9,)}, (4,), r"dense_0/kernel would have the shape \(4, 1000000000\); give layers of"),
        ({}, (0,), r"input_shape is \(0,\)"),
        ({"arch": "w_asym", "fixed_scale": (-1.0,)}, (4,), r"fixed_scale is -1.0; give a number in \[0, 1e\+15\]"),
        ({"backbone": "cnn"}, (4,), "the cnn backbone takes images"),
        ({"arch": "syre", "fixed_scale": (1.0, 2.0)}, (4,), "fixed_scale has 2 values; give 1, or one for each of 3"),
    ],
)
def test_sizes_and_scales_that_make_no_network_are_refused(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        model_of(**settings).build(shape, NUM_OUTPUTS)
