"""Alignment finds planted permutations, never loses, and says when it leaves a model's set."""

from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import drawn_constants, drawn_position, model_of
from random_graphs import random_graph

from asymjax import trees
from asymjax.axes import as_trees, permute_leaf
from asymjax.errors import InputError
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
    """Model, constants, effective parameters of three independent networks, inputs."""
    config = model_of(arch, backbone, widths=widths, depth=8, norm=norm, activation="relu", num_fixed=(5, 0, 0))
    model = config.build(shape, 4)
    model = model._replace(forward=jax.jit(model.forward))
    frozen = drawn_constants(model, scale=float(arch != "pruned"))
    merge = model.merge if arch == "standard" else jax.jit(model.merge)
    members = [trees.to_host(merge(drawn_position(model, frozen, seed), frozen)) for seed in range(3)]
    x = np.random.default_rng(6).standard_normal((50, *shape), "float32")
    return model, frozen, members, random_graph(50, *shape) if backbone == "gcn" else x


@cache
def action(case):
    """The action of an element of the group on parameters, compiled."""
    spec = networks(*case)[0].permutation_spec
    return jax.jit(lambda params, element: permute(params, spec, element))


def random_element(case, seed):
    generator = np.random.default_rng(seed)
    neutral = identity(networks(*case)[2][0], networks(*case)[0].permutation_spec)
    return {name: generator.permutation(units) for name, units in neutral.items()}


@cache
def planted(case, seed):
    """A random element of the group of the first network, and that network permuted by it."""
    element = random_element(case, seed)
    return element, trees.to_host(action(case)(networks(*case)[2][0], element))


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
    aligned = action(case)(params, found.permutations)
    outputs = model.forward(params, frozen, x)
    np.testing.assert_allclose(model.forward(aligned, frozen, x), outputs, rtol=1e-4, atol=1e-4)
    gain = inner_product(reference, aligned) - inner_product(reference, params)
    np.testing.assert_allclose(found.objectives[-1] - found.objectives[0], gain, rtol=1e-4)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_no_single_permutation_improves_on_what_was_found(case):
    model, _, (reference, params, _), _ = networks(*case)
    spec = model.permutation_spec
    aligned = action(case)(params, weight_matching(spec, reference, params).permutations)
    again = weight_matching(spec, reference, aligned, seed=1, num_starts=1)
    assert_equal(again.permutations, identity(params, spec))
    assert len(again.objectives) == 2


def test_all_permutations_of_one_hidden_layer_agree():
    case = "mlp", "none", (4,), (3,)
    model, _, (reference, params, _), _ = networks(*case)
    act, candidates = action(case), all_permutations(4)
    products = [inner_product(reference, act(params, {"units_0": candidate})) for candidate in candidates]
    found = weight_matching(model.permutation_spec, reference, params).permutations["units_0"]
    np.testing.assert_array_equal(found, candidates[np.argmax(products)])


def dense(sizes, generator):
    """A specification of a perceptron, and parameters of one that is drawn."""
    names = [None, *(f"units_{i}" for i in range(len(sizes) - 2)), None]
    spec, params = {}, {}
    for i, (shape, axes) in enumerate(zip(pairwise(sizes), pairwise(names), strict=True)):
        spec |= {f"{i}/kernel": axes, f"{i}/bias": axes[1:]}
        params[f"{i}/kernel"] = shape[0] ** -0.5 * generator.standard_normal(shape, "float32")
        params[f"{i}/bias"] = shape[0] ** -0.5 * generator.standard_normal(shape[1], "float32")
    return spec, params


@pytest.mark.parametrize("widths", [(32, 4, 32), (64, 64), (4, 32)], ids=str)
def test_a_bottleneck_does_not_hide_a_planted_permutation(widths):
    found_from = np.zeros(2, int)
    for seed in range(50):
        generator = np.random.default_rng(seed)
        spec, params = dense((64, *widths, 10), generator)
        element = {f"units_{i}": generator.permutation(width) for i, width in enumerate(widths)}
        axes = {path: as_trees(spec[path], leaf.shape) for path, leaf in params.items()}
        reference = {path: permute_leaf(leaf, axes[path], element, np) for path, leaf in params.items()}
        for start in range(2):
            found = weight_matching(spec, reference, params, seed, num_starts=start + 1)
            found_from[start] += all(np.array_equal(found.permutations[name], units) for name, units in element.items())
    assert found_from[1] >= 49
    assert found_from[0] < 49 or widths == (64, 64)


def test_more_starts_never_lose_and_repeat_the_ones_before():
    for widths in ((12, 3, 12), (16, 16)):
        spec, reference = dense((8, *widths, 4), np.random.default_rng(1))
        _, params = dense((8, *widths, 4), np.random.default_rng(2))
        one, two, many = (weight_matching(spec, reference, params, 5, count) for count in (1, 2, 6))
        np.testing.assert_array_equal(many.starts[:2], two.starts)
        assert two.starts[0] == one.starts[0] == pytest.approx(one.objectives[-1], rel=1e-6)
        assert many.objectives[-1] == pytest.approx(many.starts.max(), rel=1e-6)
        assert many.objectives[0] == one.objectives[0]
        assert many.starts.max() >= two.starts.max() >= one.starts.max()
        assert len(set(many.starts)) > 1
        assert_equal(many.permutations, weight_matching(spec, reference, params, 5, 6).permutations)


def recurrent(generator, num_units=16):
    """A specification with a permutation on both axes of a kernel, and parameters."""
    spec = {"in": (None, "units"), "recurrent": ("units", "units"), "bias": ("units",), "out": ("units", None)}
    shapes = {"in": (5, num_units), "recurrent": (num_units, num_units), "bias": (num_units,), "out": (num_units, 3)}
    return spec, {path: generator.standard_normal(shape, "float32") for path, shape in shapes.items()}


def test_a_permutation_of_both_axes_of_a_kernel_is_found_and_never_loses():
    generator = np.random.default_rng(0)
    act = jax.jit(lambda params, element: permute(params, recurrent(generator)[0], element))
    for seed in range(10):
        spec, params = recurrent(generator)
        element = {"units": generator.permutation(16)}
        found = weight_matching(spec, act(params, element), params, seed)
        assert_equal(found.permutations, element)
        _, other = recurrent(generator)
        found = weight_matching(spec, other, params, seed)
        assert np.all(np.diff(found.objectives) >= 0)
        product = inner_product(other, act(params, found.permutations))
        np.testing.assert_allclose(found.objectives[-1], product, rtol=1e-5)


def test_independent_gaussians_match_by_their_wasserstein_distance():
    """|mean_1 - P mean_2|^2 + |scale_1 - P scale_2|^2 is what trees side by side match by (Rossi et al. 2023).

    Scales tell units apart whose means are alike, as where a fit has put all units in one place.
    """
    spec, mean = dense((8, 9, 7, 4), np.random.default_rng(0))
    both = {f"{part}/{path}": axes for part in ("mean", "scale") for path, axes in spec.items()}
    generator = np.random.default_rng(1)

    def gaussians(mean):
        scale = {path: np.exp(generator.standard_normal(leaf.shape, "float32") / 4) for path, leaf in mean.items()}
        return {"mean": mean, "scale": scale}

    def distance(one, other):
        return sum(np.sum(np.square(a - b)) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))

    element = {"units_0": generator.permutation(9), "units_1": generator.permutation(7)}
    alike = {path: np.full_like(leaf, 0.3) for path, leaf in mean.items()}
    for means in (mean, alike):
        params = gaussians(means)
        reference = permute(params, both, element)
        found = weight_matching(both, reference, params)
        assert_equal(found.permutations, element)
        assert distance(reference, permute(params, both, found.permutations)) == 0
    assert_equal(weight_matching(spec, alike, alike).permutations, identity(alike, spec))
    other = gaussians(dense((8, 9, 7, 4), generator)[1])
    found = weight_matching(both, reference, other)
    gain = distance(reference, other) - distance(reference, permute(other, both, found.permutations))
    np.testing.assert_allclose(2 * (found.objectives[-1] - found.objectives[0]), gain, rtol=1e-4)
    assert gain > 0


def test_pairs_at_once_are_as_pairs_alone():
    model, _, (first, second, third), _ = networks(*NETWORKS[1])
    pairs = [(first, second), (second, third), (first, third)]
    together = match_pairs(model.permutation_spec, pairs, seed=4)
    for pair, found in zip(pairs, together, strict=True):
        alone = weight_matching(model.permutation_spec, *pair, seed=4)
        assert_equal(found.permutations, alone.permutations)
        np.testing.assert_array_equal(found.objectives, alone.objectives)


LEAVES_ITS_SET = {"standard": 0, "w_asym": 1, "w_sigma_asym": 1, "syre": 0, "pruned": 1, "sigma_asym": 0}
LONG = ("pruned", "sigma_asym")
ARCHS = [pytest.param(arch, marks=[pytest.mark.long] if arch in LONG else []) for arch in LEAVES_ITS_SET]


@pytest.mark.parametrize("arch", ARCHS)
def test_aligning_a_w_asymmetric_network_leaves_its_set_and_a_gated_one_takes_its_gates_along(arch):
    case = ("mlp", "layer", (16, 17), (12,), arch)
    model, frozen, (params, *_), x = networks(*case)
    to = jax.jit(lambda params, element: align(model, params, frozen, element))
    assert to(params, identity(params, model.permutation_spec)).departure < 1e-6
    aligned = to(params, random_element(case, 0))
    assert (aligned.departure > 0.01) == LEAVES_ITS_SET[arch]
    outputs = model.forward(params, frozen, x)
    np.testing.assert_allclose(model.forward(aligned.params, aligned.frozen, x), outputs, rtol=1e-4, atol=1e-5)


def test_copies_of_one_network_merge_into_it():
    spec = networks(*NETWORKS[1])[0].permutation_spec
    copies = [planted(NETWORKS[1], seed)[1] for seed in range(3)]
    merged = merge_many(spec, copies)
    assert merged.distances[-1] < 1e-8
    expected = action(NETWORKS[1])(copies[0], merged.permutations[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), merged.params, expected)


def test_merging_never_moves_networks_apart():
    model, _, members, _ = networks(*NETWORKS[1])
    merged = merge_many(model.permutation_spec, members)
    assert np.all(np.diff(merged.distances) < 1e-6 * merged.distances[0])
    assert merged.distances[-1] < merged.distances[0]
    act = action(NETWORKS[1])
    moved = [trees.to_host(act(*pair)) for pair in zip(members, merged.permutations, strict=True)]
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
    start = weight_matching(model.permutation_spec, reference, params).permutations

    def uphill(params, target):
        """The loss, with a gradient that leads away from its minimum."""
        loss = distance_loss(params, target)
        return 2 * jax.lax.stop_gradient(loss) - loss

    args = model.permutation_spec, reference, params, target, jax.random.key(1), start
    found, losses = sinkhorn_matching(uphill, *args, num_steps=8, learning_rate=1.0)
    assert losses[-1] > losses[0]
    assert_equal(found, start)


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
    with pytest.raises(ValueError, match="num_starts is 0; give 1 at least"):
        weight_matching(model.permutation_spec, params, params, num_starts=0)
    with pytest.raises(ValueError, match="1 networks cannot be merged; give 2 at least"):
        merge_many(model.permutation_spec, [params])
    without = {path: axes for path, axes in model.permutation_spec.items() if path != "act_1"} | {"act_1": (None,)}
    with pytest.raises(ValueError, match="no activation is fed by the units of units_1"):
        activation_matching(model._replace(permutation_spec=without), params, params, frozen, x)
