"""Positive scalings of units: one canonical form, the same function, and predictions that do not see the scale."""

from functools import cache

import jax
import numpy as np
import pytest
from model_of import drawn_position, model_of

from asymjax import trees
from asymjax.errors import InputError
from asymjax.metanets import METANETS, Read
from asymjax.metanets.scales import ScaleHNP, canonical, scale_units, scaling_of
from asymjax.symmetry.groups import position_spec, whole_units

ROUNDING = 1e-5  # Relative, of float32 through some layers.
CHANGED = 1e-2
LARGEST = 64.0
NETWORKS = {
    "mlp": ("mlp", {"widths": (5, 4)}, (6,)),
    "cnn": ("cnn", {"widths": (4, 5)}, (8, 8, 3)),
    "resnet": ("resnet", {"depth": 8, "width_multiplier": 0.25}, (8, 8, 3)),
}


def network(backbone, settings, input_shape, norm="none", activation="relu", arch="standard"):
    model = model_of(arch, backbone, norm=norm, activation=activation, **settings).build(input_shape, 3)
    return Read(model.params_shape, model.params_shape, position_spec(model, {}), model, {})


@cache
def case(name):
    read = network(*NETWORKS[name])
    return read, scaling_of(read.model, read.spec)


def drawn(read, count=8):
    """Networks whose layers differ in size."""
    one = [drawn_position(read.model, {}, seed) for seed in range(count)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *one)


def scaled(networks, scaling, seed=0):
    """Scale each unit of each network by a number between 1 / LARGEST and LARGEST, both included."""
    numbers, count = np.random.default_rng(seed), len(jax.tree.leaves(networks)[0])
    factors = {}
    for name, size in whole_units(scaling.spec).items():
        logs = numbers.uniform(-1, 1, (count, size))
        logs[:, 0], logs[:, 1] = -1, 1
        factors[name] = np.float32(LARGEST**logs)
    return on_trees(jax.vmap(lambda leaves, factors: scale_units(leaves, scaling, factors)))(networks, factors)


def on_trees(change):
    return lambda networks, *others: trees.unflatten(jax.jit(change)(trees.flatten(networks), *others))


def canonical_of(networks, scaling):
    return on_trees(jax.vmap(lambda leaves: canonical(leaves, scaling)))(networks)


def distance(one, other):
    return max(
        np.max(np.abs(a - b)) / np.max(np.abs(a)) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_all_scalings_of_a_network_have_one_canonical_form_of_its_function(name):
    read, scaling = case(name)
    inputs = np.random.default_rng(1).standard_normal((20, *NETWORKS[name][2]), "float32")
    networks = drawn(read)
    other = scaled(networks, scaling)

    @jax.jit
    @jax.vmap
    def outputs_and_form(params):
        leaves = trees.flatten(params)
        ways = {"itself": leaves, "form": canonical(leaves, scaling)}
        return {way: read.model.forward(trees.unflatten(ways[way]), {}, inputs) for way in ways}, ways["form"]

    (before, form), (after, other_form) = outputs_and_form(networks), outputs_and_form(other)
    assert distance(networks, other) > 1  # A control: they are other weights.
    for outputs in (before["form"], after["itself"], after["form"]):
        assert distance(before["itself"], outputs) < ROUNDING
    assert distance(form, other_form) < ROUNDING


def test_what_leads_into_a_unit_has_the_root_mean_square_one_and_the_output_layer_has_the_scale():
    read, scaling = case("mlp")
    networks = drawn(read)
    found = canonical_of(networks, scaling)
    for layer in ("dense_0", "dense_1"):
        into = np.concatenate([found[layer]["kernel"], found[layer]["bias"][:, None]], axis=1)
        np.testing.assert_allclose(np.sqrt(np.mean(into**2, axis=1)), 1, rtol=ROUNDING)
    doubled = networks | {"dense_0": jax.tree.map(lambda leaf: 2 * leaf, networks["dense_0"])}
    doubled |= {"dense_1": {"kernel": networks["dense_1"]["kernel"], "bias": 2 * networks["dense_1"]["bias"]}}
    expected = found | {"output": {"kernel": 2 * found["output"]["kernel"], "bias": found["output"]["bias"]}}
    assert distance(expected, canonical_of(doubled, scaling)) < ROUNDING


def test_a_unit_of_zeros_keeps_its_scale_and_makes_no_nan():
    read, scaling = case("mlp")
    networks = drawn(read)
    networks["dense_0"] = jax.tree.map(lambda leaf: np.where(np.arange(5) == 2, 0, leaf), networks["dense_0"])
    found = canonical_of(networks, scaling)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))
    np.testing.assert_array_equal(found["dense_0"]["kernel"][:, :, 2], 0)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_predictions_do_not_depend_on_scales_and_those_of_hnp_do(name):
    read, scaling = case(name)
    networks = drawn(read)
    departures = {}
    for kind in ("scale_hnp", "hnp"):
        metanet = METANETS[kind](channels=8).make(read)
        params, apply = metanet.init(jax.random.key(0)), jax.jit(metanet.apply)
        before, after = apply(params, networks), apply(params, scaled(networks, scaling))
        assert np.std(before) > 1e-3
        departures[kind] = np.max(np.abs(after - before) / np.maximum(1, np.abs(before)))
    assert departures["scale_hnp"] < ROUNDING
    assert departures["hnp"] > CHANGED


def test_what_changes_the_function_changes_predictions():
    """The scale of the output layer, and of one unit on its way in alone."""
    read, _ = case("mlp")
    networks, metanet = drawn(read), ScaleHNP().make(read)
    params, apply = metanet.init(jax.random.key(0)), jax.jit(metanet.apply)
    before = apply(params, networks)
    for path in ("output/kernel", "dense_0/bias"):
        leaves = trees.flatten(networks)
        changed = trees.unflatten(leaves | {path: 3 * leaves[path]})
        assert np.max(np.abs(apply(params, changed) - before)) > CHANGED
    assert ScaleHNP().note(read).endswith("They are the same for all positive scalings of these.")


@pytest.mark.parametrize(
    ("backbone", "settings", "input_shape", "norm", "activation"),
    [
        ("mlp", {"widths": (5, 4)}, (6,), "none", "tanh"),
        ("mlp", {"widths": (5, 4)}, (6,), "none", "gelu"),
        ("mlp", {"widths": (5, 4)}, (6,), "layer", "relu"),
        ("cnn", {"widths": (4, 5)}, (8, 8, 3), "layer", "relu"),
        ("rnn", {"widths": (5,)}, (6, 4), "none", "relu"),
    ],
)
def test_units_that_may_not_be_scaled_are_refused(backbone, settings, input_shape, norm, activation):
    read = network(backbone, settings, input_shape, norm, activation)
    with pytest.raises(InputError, match=r"units .*_0.* may not be scaled .* take hnp"):
        ScaleHNP().make(read)


def test_linear_units_may_be_scaled_and_networks_without_permutations_are_read_flat():
    read = network(*NETWORKS["mlp"], activation="identity")
    assert set(scaling_of(read.model, read.spec).writers) == {"units_0", "units_1"}
    read = read._replace(spec={})
    params = ScaleHNP().make(read).init(jax.random.key(0))
    assert params["head"]["hidden"]["kernel"].shape == (trees.num_entries(read.shapes), 64)
    assert "scalings" not in ScaleHNP().note(read)
