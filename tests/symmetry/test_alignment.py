"""Alignment finds planted permutations, never loses, and says when it leaves a model's set."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import model_of
from random_graphs import random_graph

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.models import draw_frozen
from asymjax.symmetry import (
    activation_matching,
    align,
    all_permutations,
    identity,
    match_pairs,
    merge_many,
    permute,
    sinkhorn_matching,
    weight_matching,
)

# Backbone, norm, widths, input shape. The first has its units first in memory.
NETWORKS = [
    ("mlp", "none", (16, 17), (12,)),
    ("mlp", "layer", (70, 71), (12,)),
    ("cnn", "none", (12, 13), (8, 8, 3)),
    ("cnn", "layer", (12, 13), (8, 8, 3)),
    ("resnet", "layer", (), (8, 8, 3)),
    ("rnn", "layer", (12, 13), (6, 5)),
    ("gcn", "batch", (16, 17), (12,)),
]


@cache
def networks(backbone, norm, widths, shape, arch="standard"):
    """Model, constants, three independent networks, inputs, outputs of the first. Norms have scales of their own."""
    config = model_of(arch, backbone, widths=widths, depth=8, norm=norm, activation="relu", num_fixed=(5,))
    model = config.build(shape, 4)
    model = model._replace(forward=jax.jit(model.forward))
    frozen = draw_frozen(model, 0)
    position = jax.vmap(lambda key: model.init(key, frozen))(rng.member_keys(rng.role_key(0, "init"), 3))
    for name in (name for name in position if name.startswith("norm")):
        generator = np.random.default_rng(1)
        position[name] = {k: v + generator.standard_normal(v.shape, "float32") / 3 for k, v in position[name].items()}
    members = [model.merge(jax.tree.map(lambda leaf, i=i: leaf[i], position), frozen) for i in range(3)]
    x = random_graph(50, *shape) if backbone == "gcn" else jax.random.normal(jax.random.key(6), (50, *shape))
    return model, frozen, members, x


@cache
def planted(case, seed):
    """A random element of the group of the first network, and that network permuted by it."""
    spec, params = networks(*case)[0].permutation_spec, networks(*case)[2][0]
    generator = np.random.default_rng(seed)
    element = {name: generator.permutation(units) for name, units in identity(params, spec).items()}
    return element, trees.to_host(permute(params, spec, element))


def inner_product(one, other):
    return sum(np.vdot(np.float64(a), np.float64(b)) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, dict(one), dict(other))


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_a_planted_permutation_is_recovered(case):
    model, frozen, (params, *_), x = networks(*case)
    for seed in range(5):
        element, reference = planted(case, seed)
        assert_equal(weight_matching(model.permutation_spec, reference, params, seed).permutations, element)
        if case[0] != "rnn":
            assert_equal(activation_matching(model, reference, params, frozen, x).permutations, element)


def test_activations_in_a_scan_cannot_be_matched():
    model, frozen, (reference, params, _), x = networks("rnn", "layer", (12, 13), (6, 5))
    with pytest.raises(InputError, match="RNN has its activations in a scan"):
        activation_matching(model, reference, params, frozen, x)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_a_network_matches_itself_as_it_is(case):
    model, frozen, (params, *_), x = networks(*case)
    neutral = identity(params, model.permutation_spec)
    assert_equal(weight_matching(model.permutation_spec, params, params).permutations, neutral)
    if case[0] != "rnn":
        assert_equal(activation_matching(model, params, params, frozen, x).permutations, neutral)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_an_aligned_network_is_the_same_function_and_the_objective_is_its_inner_product(case):
    model, frozen, (reference, params, _), x = networks(*case)
    spec = model.permutation_spec
    found = weight_matching(spec, reference, params)
    assert np.all(np.diff(found.objectives) >= 0)
    assert found.objectives[-1] > found.objectives[0]
    aligned = align(model, params, frozen, found.permutations)
    assert aligned.departure == 0
    outputs = model.forward(params, frozen, x)
    np.testing.assert_allclose(model.forward(aligned.params, frozen, x), outputs, rtol=1e-5, atol=1e-5)
    gain = inner_product(reference, aligned.params) - inner_product(reference, params)
    np.testing.assert_allclose(found.objectives[-1] - found.objectives[0], gain, rtol=1e-4)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_no_single_permutation_improves_on_what_was_found(case):
    model, _, (reference, params, _), _ = networks(*case)
    spec = model.permutation_spec
    aligned = permute(params, spec, weight_matching(spec, reference, params).permutations)
    again = weight_matching(spec, reference, aligned, seed=1)
    assert_equal(again.permutations, identity(params, spec))
    assert len(again.objectives) == 2


def test_all_permutations_of_one_hidden_layer_agree():
    model, _, (reference, params, _), _ = networks("mlp", "none", (4,), (3,))
    spec = model.permutation_spec
    products = [
        inner_product(reference, permute(params, spec, {"units_0": candidate})) for candidate in all_permutations(4)
    ]
    found = weight_matching(spec, reference, params).permutations["units_0"]
    np.testing.assert_array_equal(found, all_permutations(4)[np.argmax(products)])


def recurrent(generator, num_units=16):
    """A specification with a permutation on both axes of a kernel, and parameters."""
    spec = {"in": (None, "units"), "recurrent": ("units", "units"), "bias": ("units",), "out": ("units", None)}
    shapes = {"in": (5, num_units), "recurrent": (num_units, num_units), "bias": (num_units,), "out": (num_units, 3)}
    return spec, {path: generator.standard_normal(shape, "float32") for path, shape in shapes.items()}


def test_a_permutation_of_both_axes_of_a_kernel_is_found_and_never_loses():
    generator = np.random.default_rng(0)
    for seed in range(10):
        spec, params = recurrent(generator)
        element = {"units": generator.permutation(16)}
        found = weight_matching(spec, permute(params, spec, element), params, seed)
        assert_equal(found.permutations, element)
        _, other = recurrent(generator)
        found = weight_matching(spec, other, params, seed)
        assert np.all(np.diff(found.objectives) >= 0)
        product = inner_product(other, permute(params, spec, found.permutations))
        np.testing.assert_allclose(found.objectives[-1], product, rtol=1e-5)


def test_pairs_at_once_are_as_pairs_alone():
    model, _, (first, second, third), _ = networks(*NETWORKS[1])
    pairs = [(first, second), (second, third), (first, third)]
    together = match_pairs(model.permutation_spec, pairs, seed=4)
    for pair, found in zip(pairs, together, strict=True):
        alone = weight_matching(model.permutation_spec, *pair, seed=4)
        assert_equal(found.permutations, alone.permutations)
        np.testing.assert_array_equal(found.objectives, alone.objectives)


@pytest.mark.parametrize("arch", ["standard", "w_asym", "pruned", "sigma_asym", "w_sigma_asym", "syre"])
def test_aligning_a_w_asymmetric_network_leaves_its_set_and_a_gated_one_takes_its_gates_along(arch):
    case = ("mlp", "layer", (16, 17), (12,))
    model, frozen, (params, *_), x = networks(*case, arch)
    assert align(model, params, frozen, identity(params, model.permutation_spec)).departure < 1e-6
    aligned = align(model, params, frozen, planted((*case, arch), 0)[0])
    assert (aligned.departure > 0.01) == (arch in ("w_asym", "pruned", "w_sigma_asym"))
    outputs = model.forward(params, frozen, x)
    np.testing.assert_allclose(model.forward(aligned.params, aligned.frozen, x), outputs, rtol=1e-4, atol=1e-5)


def test_copies_of_one_network_merge_into_it():
    spec = networks(*NETWORKS[1])[0].permutation_spec
    copies = [planted(NETWORKS[1], seed)[1] for seed in range(3)]
    merged = merge_many(spec, copies)
    assert merged.distances[-1] < 1e-8
    expected = permute(copies[0], spec, merged.permutations[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), merged.params, expected)


def test_merging_never_moves_networks_apart():
    model, _, members, _ = networks(*NETWORKS[1])
    spec = model.permutation_spec
    merged = merge_many(spec, members)
    assert np.all(np.diff(merged.distances) < 1e-6 * merged.distances[0])
    assert merged.distances[-1] < merged.distances[0]
    moved = [permute(params, spec, found) for params, found in zip(members, merged.permutations, strict=True)]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *moved)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), merged.params, mean)


def distance_loss(params, target):
    return trees.norm(jax.tree.map(jnp.subtract, params, target)) ** 2


def test_sinkhorn_descends_to_a_planted_permutation():
    model, _, (params, *_), _ = networks(*NETWORKS[0])
    spec = model.permutation_spec
    element, reference = planted(NETWORKS[0], 0)
    found, losses = sinkhorn_matching(distance_loss, spec, reference, params, reference, jax.random.key(1))
    assert losses.shape == (200,)
    assert_equal(found, element)


def test_sinkhorn_returns_its_start_rather_than_a_worse_matching():
    model, _, (reference, params, target), _ = networks(*NETWORKS[0])
    spec, key = model.permutation_spec, jax.random.key(1)
    start = weight_matching(spec, reference, params).permutations

    def mean_loss(permutations):
        aligned = permute(params, spec, permutations)
        points = [jax.tree.map(lambda a, b, t=t: a + t * (b - a), reference, aligned) for t in random_points]
        return np.mean([distance_loss(point, target) for point in points])

    random_points = jax.random.uniform(key, (8,))
    for learning_rate in (0.1, 1.0, 10.0):
        found, _ = sinkhorn_matching(
            distance_loss, spec, reference, params, target, key, start, num_steps=8, learning_rate=learning_rate
        )
        assert mean_loss(found) <= mean_loss(start) * (1 + 1e-6)


def test_what_enters_an_activation_has_its_features_last():
    for case in (case for case in NETWORKS if case[0] in ("mlp", "cnn")):
        model, frozen, (params, *_), x = networks(*case)
        if case[:2] == ("mlp", "none"):
            sites = model.site_inputs(params, frozen, x)
            first = x @ params["dense_0"]["kernel"] + params["dense_0"]["bias"][None]
            np.testing.assert_allclose(sites["act_0"], first, rtol=1e-5, atol=1e-5)
        shapes = jax.eval_shape(model.site_inputs, params, frozen, x)
        assert [shape.shape[-1] for shape in shapes.values()] == list(case[2])


def test_what_cannot_be_matched_is_refused():
    model, frozen, (params, *_), x = networks(*NETWORKS[0])
    smaller = networks("mlp", "none", (16, 16), (12,))[2][0]
    with pytest.raises(ValueError, match="two networks match only with the same parameters"):
        weight_matching(model.permutation_spec, smaller, params)
    with pytest.raises(ValueError, match="1 networks cannot be merged; give 2 at least"):
        merge_many(model.permutation_spec, [params])
    without = {path: axes for path, axes in model.permutation_spec.items() if path != "act_1"} | {"act_1": (None,)}
    with pytest.raises(ValueError, match="no activation is fed by the units of units_1"):
        activation_matching(model._replace(permutation_spec=without), params, params, frozen, x)
