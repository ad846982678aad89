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
from jax.test_util import check_grads
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
from asymjax.symmetry import permute, permute_frozen, unit_counts

INPUT_SHAPE, NUM_FEATURES, NUM_OUTPUTS = (4, 4, 1), 6, 3
# Residual and recurrent networks take long to compile; these methods are made of parts that others try on all.
TRIED_ON = {"w_sigma_asym": ("mlp", "cnn", "gcn"), "fixed_bias": ("mlp", "cnn", "resnet")}
CASES = [(arch, backbone) for arch in METHODS for backbone in BACKBONES if backbone in TRIED_ON.get(arch, BACKBONES)]
# Each kernel with a mask takes a second to compile, so of many kernels of a kind some have none.
NUM_FIXED = {"resnet": (2, 2, 0, 0, 0, 2, 0, 0, 0, 2), "rnn": (2, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 2)}
MASKED, GATED = ("w_asym", "pruned", "w_sigma_asym"), ("sigma_asym", "w_sigma_asym")
CHANGED_BY_PERMUTING = 0.1
MASK_KEYS = jnp.stack([rng.role_key(seed, "mask") for seed in (0, 1, 1)])


class Case(NamedTuple):
    """A model, and three networks of it that differ in mask key, scale and position."""

    arch: str
    backbone: str
    model: Any
    frozen: Any
    position: Any
    inputs: Any


def make_model(arch, backbone):
    num_fixed = NUM_FIXED.get(backbone, (2,)) if arch in MASKED else ()
    sizes = {"widths": (6, 5), "depth": 8, "width_multiplier": 0.5}
    norm, input_shape = ("batch", (NUM_FEATURES,)) if backbone == "gcn" else ("layer", INPUT_SHAPE)
    config = model_of(arch, backbone, **sizes, norm=norm, activation="relu", num_fixed=num_fixed)
    return config.build(input_shape, NUM_OUTPUTS)


@cache
def networks(arch, backbone):
    model, generator = make_model(arch, backbone), np.random.default_rng(0)
    frozen = jax.jit(jax.vmap(model.freeze))(MASK_KEYS, np.float32([1, 1, 3]))
    shapes = jax.eval_shape(model.init, MASK_KEYS[0], member(frozen, 0))
    position = jax.tree.map(lambda leaf: generator.standard_normal((3, *leaf.shape), "float32"), shapes)
    jitted = {name: jax.jit(getattr(model, name)) for name in ("merge", "split", "forward", "apply")}
    inputs = generator.standard_normal((7, *INPUT_SHAPE), "float32")
    inputs = random_graph(9, NUM_FEATURES, num_rows=7) if backbone == "gcn" else inputs
    return Case(arch, backbone, model._replace(**jitted), frozen, position, inputs)


@pytest.fixture(params=CASES, ids="-".join)
def several(request):
    return networks(*request.param)


@pytest.fixture
def case(several):
    return several._replace(frozen=member(several.frozen, 0), position=member(several.position, 0))


def member(tree, index):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def assert_close(left, right):
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def test_position_holds_what_is_free_and_nothing_else(case):
    params = case.model.merge(case.position, case.frozen)
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda leaf: leaf.shape, case.model.params_shape)
    if case.model.free_mask is None:
        assert trees.num_entries(case.position) == trees.num_entries(params)
        return
    is_free = case.model.free_mask(case.frozen)
    assert trees.num_entries(case.position) == sum(np.sum(leaf) for leaf in jax.tree.leaves(is_free))
    moved = case.model.merge(jax.tree.map(lambda leaf: leaf + 1, case.position), case.frozen)
    assert_equal(jax.tree.map(np.not_equal, moved, params), is_free)


def test_split_undoes_merge(case):
    params = case.model.merge(case.position, case.frozen)
    back = case.model.split(params, case.frozen)
    if case.model.free_mask is not None:
        assert_equal(back, case.position)
        return
    offsets = case.model.merge(jax.tree.map(np.zeros_like, case.position), case.frozen)
    for leaf, again, offset in zip(*map(jax.tree.leaves, (case.position, back, offsets)), strict=True):
        assert np.all(np.abs(again - leaf) <= np.spacing(np.maximum(np.abs(leaf), np.abs(offset))))


def test_position_starts_at_the_plain_initialisation(case):
    position = jax.eval_shape(case.model.init, MASK_KEYS[0], case.frozen)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), position) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), case.position
    )


def test_networks_map_over_positions_mask_keys_and_traced_scales(several):
    apply = jax.vmap(several.model.apply, (0, 0 if several.frozen else None, None))
    outputs = jax.jit(apply)(several.position, several.frozen, several.inputs)
    assert outputs.shape == (3, 7, NUM_OUTPUTS)
    for index in range(3):
        position, frozen = member(several.position, index), member(several.frozen, index)
        # Norms over few pixels divide by small deviations, which enlarges what rounding leaves.
        tolerance = 1e-4 if several.backbone == "resnet" else 1e-5
        alone = several.model.apply(position, frozen, several.inputs)
        np.testing.assert_allclose(outputs[index], alone, rtol=tolerance, atol=tolerance)
    for path, leaf in trees.flatten(several.frozen).items():
        np.testing.assert_allclose(leaf[2], (1 if path.endswith("index") else 3) * leaf[1], rtol=1e-6)
        assert np.any(leaf[0] != leaf[1]) or (several.arch == "pruned" and path.endswith("value"))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_pruned_networks_have_the_masks_of_w_asymmetric_ones_and_zeros(backbone):
    pruned, w_asym = (trees.flatten(networks(arch, backbone).frozen) for arch in ("pruned", "w_asym"))
    for path, leaf in pruned.items():
        np.testing.assert_array_equal(leaf, 0 * w_asym[path] if path.endswith("value") else w_asym[path])


@pytest.mark.parametrize("arch", [arch for arch in METHODS if METHODS[arch].merge_kernel != Method.merge_kernel])
def test_merge_has_the_right_gradient(arch):
    _, _, model, frozen, position, _ = networks(arch, "mlp")
    flat, unravel = ravel_pytree(member(position, 0))

    @jax.jit
    def value(flat):
        return jnp.sum(jnp.sin(ravel_pytree(model.merge(unravel(flat), member(frozen, 0)))[0]))

    check_grads(value, (flat,), order=1, modes=["rev"], atol=0.02, rtol=0.02)


def test_wrong_inputs_are_refused(case):
    if case.backbone == "gcn":
        inputs = case.inputs._replace(features=case.inputs.features[:, :3])
        message = r"inputs have shape \(9, 3\); this model expects \[rows, 6,\]"
    else:
        inputs, message = case.inputs[:, :3], r"shape \(7, 3, 4, 1\); this model expects \[rows, 4, 4, 1\]"
    with pytest.raises(ValueError, match=message):
        case.model.apply(case.position, case.frozen, inputs)


def test_permuting_units_keeps_standard_networks_and_changes_asymmetric_ones(case):
    params = case.model.merge(case.position, case.frozen)
    spec = case.model.permutation_spec
    generator = np.random.default_rng(2)
    turn = {name: generator.permutation(count) for name, count in unit_counts(params, spec).items()}
    permuted = jax.jit(lambda params: permute(params, spec, turn))(params)
    inside = case.model.merge(case.model.split(permuted, case.frozen), case.frozen)
    outputs, moved, projected = (case.model.forward(p, case.frozen, case.inputs) for p in (params, permuted, inside))
    if case.arch in GATED:
        assert np.abs(moved - outputs).max() > CHANGED_BY_PERMUTING
        conjugated = permute_frozen(case.frozen, spec, turn)
        assert_close(case.model.forward(permuted, conjugated, case.inputs), outputs)
    else:
        assert_close(moved, outputs)
    is_changed = np.abs(projected - outputs).max() > CHANGED_BY_PERMUTING
    assert is_changed == (case.arch in (*MASKED, *GATED, "fixed_bias"))


CHECKSUMS_OF_ALL = """
from test_contract import CASES, make_model
from asymjax import trees
from asymjax.models import draw_frozen
for case in CASES:
    print(trees.checksum(trees.to_host(draw_frozen(make_model(*case), 0))))
"""


@pytest.fixture(scope="module", autouse=True)
def other_process():
    env = {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path), "JAX_ENABLE_X64": "1"}
    words = [sys.executable, "-c", CHECKSUMS_OF_ALL]
    with subprocess.Popen(words, env=os.environ | env, stdout=subprocess.PIPE, text=True) as process:
        yield process


def test_frozen_is_the_same_in_every_process_under_x64_and_in_a_sweep(other_process):
    checksums = [trees.checksum(member(networks(*case).frozen, 0)) for case in CASES]
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
        ({"widths": (8, 0)}, (4,), r"widths is \(8, 0\); every size must be at least 1"),
        ({}, (0,), r"input_shape is \(0,\)"),
        ({"arch": "w_asym", "fixed_scale": (-1.0,)}, (4,), r"fixed_scale is \(-1.0,\)"),
        ({"backbone": "cnn"}, (4,), "the cnn backbone takes images"),
        ({"arch": "syre", "fixed_scale": (1.0, 2.0)}, (4,), "fixed_scale has 2 values; give 1, or one for each of 3"),
    ],
)
def test_sizes_and_scales_that_make_no_network_are_refused(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        model_of(**settings).build(shape, NUM_OUTPUTS)
