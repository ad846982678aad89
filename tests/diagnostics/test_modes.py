"""Modes of draws with planted permutations: switches, chambers, variances and barriers are known."""

import json
import math
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import model_of

from asymjax import diagnostics, trees
from asymjax.errors import InputError
from asymjax.inference.posterior import PosteriorConfig
from asymjax.models import draw_frozen
from asymjax.symmetry import compose, gates_of, identity, invert, permute
from asymjax.types import Split

NUM_CHAINS, NUM_DRAWS = 4, 40
WIDTHS = {"one hidden layer": (5,), "two hidden layers": (6, 5)}


@cache
def network(arch="standard", widths=(5,), **settings):
    """Return a model, its constants, and one network with well-separated units."""
    model = model_of(arch, widths=widths, norm="none", **settings).build((6,), 2)
    frozen, generator = draw_frozen(model, 0), np.random.default_rng(7)
    shape = jax.eval_shape(model.init, jax.random.key(0), frozen)
    return model, frozen, jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, "float32") / 2, shape)


def draws_around(position, scale, num_draws=NUM_DRAWS, seed=0):
    """Independent Gaussian draws [chain, draw, ...] around a network."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: leaf + scale * generator.standard_normal((NUM_CHAINS, num_draws, *leaf.shape), "float32"),
        position,
    )


def permuted_draws(model, positions, elements, schedule):
    """Permute draw (c, d) of a standard network by element ``schedule[c, d]``."""
    chosen = {name: np.stack([element[name] for element in elements])[schedule] for name in elements[0]}
    move = jax.vmap(jax.vmap(lambda one, element: permute(one, model.permutation_spec, element)))
    return trees.to_host(jax.jit(move)(positions, chosen))


def elements_of(model, position, count):
    """Return distinct elements of the group, the identity first."""
    neutral, generator = identity(position, model.permutation_spec), np.random.default_rng(8)
    neutral = {name: np.asarray(units) for name, units in neutral.items()}
    drawn = [{name: generator.permutation(units) for name, units in neutral.items()} for _ in range(1, count)]
    elements = [neutral, *drawn]
    assert len({str(element) for element in elements}) == count
    return elements


class Planted(NamedTuple):
    """Draws before and after permutation, which element permuted which [chain, draw], and what is found of them."""

    model: Any
    frozen: Any
    position: Any
    before: Any
    positions: Any
    elements: list
    schedule: np.ndarray
    found: Any


@pytest.fixture(scope="module", params=WIDTHS)
def planted(request):
    model, frozen, position = network(widths=WIDTHS[request.param])
    before = draws_around(position, 0.02)
    elements = elements_of(model, position, NUM_CHAINS + 1)
    schedule = np.repeat(np.arange(NUM_CHAINS)[:, None], NUM_DRAWS, axis=1)
    schedule[1, 10:30] = 4  # two switches, and in the next chain one
    schedule[2, 25:] = 4
    positions = permuted_draws(model, before, elements, schedule)
    found = diagnostics.align_draws(model, frozen, positions, reference=position)
    return Planted(model, frozen, position, before, positions, elements, schedule, found)


def test_planted_permutations_are_undone(planted):
    found, elements = planted.found, planted.elements
    jax.tree.map(np.testing.assert_array_equal, found.params, dict(planted.positions))
    jax.tree.map(np.testing.assert_array_equal, found.aligned, dict(planted.before))
    for c, d in [(0, 3), (1, 12), (2, 30), (3, 39)]:
        own, element = {name: p[c, d] for name, p in found.permutations.items()}, elements[planted.schedule[c, d]]
        jax.tree.map(np.testing.assert_array_equal, dict(compose(element, own)), elements[0])
        expected = {name: np.asarray(p) for name, p in invert(element).items()}
        jax.tree.map(np.testing.assert_array_equal, own, expected)
    assert not found.distances.any()
    assert not found.gate_distances.any()


def test_chains_in_other_chambers_mix_once_aligned(planted):
    model, frozen, before = planted.model, planted.frozen, planted.before
    found = diagnostics.align_draws(model, frozen, planted.positions)  # the reference is a draw
    summaries = [diagnostics.summarise(diagnostics.ravel_positions(tree)[0]) for tree in (found.params, found.aligned)]
    assert summaries[0]["rhat_median"] > 1.5
    assert summaries[1]["rhat_max"] < 1.2
    assert summaries[0]["ess_bulk_median"] < 20
    assert summaries[1]["ess_bulk_median"] > NUM_CHAINS * NUM_DRAWS / 2
    expected = np.var(diagnostics.ravel_positions(before)[0].reshape(NUM_CHAINS * NUM_DRAWS, -1), axis=0, ddof=1).sum()
    split = diagnostics.covariance_split(found)
    np.testing.assert_allclose(split["aligned"], expected, rtol=1e-5)
    assert split["permutation_share"] > 0.98
    assert split["permutation_share"] == 1 - split["aligned"] / split["total"]


def test_switches_and_occupancy_are_those_planted(planted):
    permutations, schedule = planted.found.permutations, planted.schedule
    counts = diagnostics.chambers(permutations)
    np.testing.assert_array_equal(counts["switches"], [0, 2, 1, 0])
    assert counts["num_chambers"] == 5
    shares = np.bincount(schedule.ravel()) / schedule.size
    np.testing.assert_allclose(counts["occupancy_entropy"], -np.sum(shares * np.log(shares)))
    assert counts["identity_share"] == 0.25
    order = {2: math.factorial(6) * math.factorial(5), 1: math.factorial(5)}[len(permutations)]
    np.testing.assert_allclose(counts["max_occupancy_entropy"], math.log(min(schedule.size, order)))


@pytest.mark.parametrize("planted", ["one hidden layer"], indirect=True)
def test_thinned_draws_are_evenly_spaced_up_to_the_last(planted):
    model, frozen, position = planted[:3]
    found = diagnostics.align_draws(model, frozen, planted.positions, reference=position, max_draws=15)
    np.testing.assert_array_equal(found.kept, np.arange(0, 40, 3))
    whole = planted.found
    jax.tree.map(lambda few, all_: np.testing.assert_array_equal(few, all_[:, ::3]), found.aligned, whole.aligned)
    np.testing.assert_array_equal(diagnostics.thin(10, 4), [0, 3, 6, 9])
    np.testing.assert_array_equal(diagnostics.thin(10, 3), [1, 5, 9])
    np.testing.assert_array_equal(diagnostics.thin(3, None), [0, 1, 2])
    with pytest.raises(InputError, match="max_draws is 0"):
        diagnostics.thin(10, 0)


@pytest.mark.parametrize("arch", ["standard", "w_asym", "sigma_asym"])
def test_draws_near_one_network_stay_as_they_are(arch):
    settings = {"num_fixed": (3, 3), "fixed_scale": (2.0,)} if arch == "w_asym" else {}
    model, frozen, position = network(arch, **settings)
    found = diagnostics.align_draws(model, frozen, draws_around(position, 0.02))
    counts = diagnostics.chambers(found.permutations)
    assert (counts["identity_share"], counts["num_chambers"], counts["occupancy_entropy"]) == (1.0, 1, 0.0)
    assert not counts["switches"].any()
    assert diagnostics.covariance_split(found)["permutation_share"] == 0
    assert not found.distances.any()
    assert not found.gate_distances.any()


def test_permuted_asymmetric_draws_say_how_far_they_left_the_model():
    for arch, settings in {"w_asym": {"num_fixed": (3, 3), "fixed_scale": (2.0,)}, "sigma_asym": {}}.items():
        model, frozen, position = network(arch, **settings)
        params = trees.to_host(model.merge(position, frozen))
        swap = {"units_0": np.array([1, 0, 2, 3, 4])}
        reference = permute(params, model.permutation_spec, swap)
        found = diagnostics.align_draws(model, frozen, draws_around(position, 0), reference, max_draws=1)
        assert diagnostics.chambers(found.permutations)["identity_share"] == 0
        if arch == "w_asym":
            fixed = ~np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(model.free_mask(frozen))])
            apart = [np.ravel(a - b) for a, b in zip(*map(jax.tree.leaves, (reference, params)), strict=True)]
            expected = np.linalg.norm(np.concatenate(apart)[fixed])
            np.testing.assert_allclose(found.distances, expected, rtol=1e-5)
            assert not found.gate_distances.any()
        else:
            (gate,) = gates_of(frozen).values()
            moved = np.asarray(gate)[np.ix_(swap["units_0"], swap["units_0"])]
            np.testing.assert_allclose(found.gate_distances, np.linalg.norm(moved - gate), rtol=1e-5)
            assert not found.distances.any()
            assert diagnostics.posterior_means(model, frozen, draws_around(position, 0), found).aligned_params is None


def test_unusable_draws_are_refused():
    model, frozen, position = network()
    positions = draws_around(position, 0.1, num_draws=3)
    positions["dense_0"]["kernel"][2, 1, 0, 0] = np.nan
    with pytest.raises(InputError, match="chain 2 is not finite, first in kept draw 1"):
        diagnostics.align_draws(model, frozen, positions)
    model, frozen, position = network(widths=())
    with pytest.raises(InputError, match="no hidden units"):
        diagnostics.align_draws(model, frozen, draws_around(position, 0.1))


def test_the_barrier_of_a_gaussian_is_below_zero_at_the_midpoint_and_zero():
    positions = {"x": np.array([[1.0, 2.0], [-1.0, 0.5], [3.0, 0.0]], "float32")}
    found = diagnostics.logdensity_barriers(lambda position: -0.5 * jnp.sum(position["x"] ** 2), positions)
    squares = np.array([2**2 + 1.5**2, 2**2 + 2**2, 4**2 + 0.5**2])  # pairs (0, 1), (0, 2), (1, 2)
    np.testing.assert_allclose(found["midpoint"], -squares / 8, rtol=1e-6)
    np.testing.assert_allclose(found["maximum"], 0, atol=1e-6)


def test_the_barrier_between_two_gaussian_modes_is_known():
    def logdensity(position, mode):
        kernels = [-0.5 * jnp.sum((position["x"] - center) ** 2) for center in (mode, -mode)]
        return jnp.logaddexp(*kernels)

    mode = np.array([3.0, 4.0], "float32")
    found = diagnostics.logdensity_barriers(logdensity, {"x": np.stack([mode, -mode])}, (mode,), num_points=5)
    # exp(-50) of the other mode is nothing; halfway both kernels are -25 / 2.
    np.testing.assert_allclose(found["midpoint"], 12.5 - math.log(2), rtol=1e-6)
    np.testing.assert_allclose(found["maximum"], 12.5 - math.log(2), rtol=1e-6)


def test_unusable_paths_are_refused():
    with pytest.raises(InputError, match="2 chains at least"):
        diagnostics.logdensity_barriers(jnp.sum, {"x": np.zeros((1, 2))})
    with pytest.raises(InputError, match="odd number"):
        diagnostics.logdensity_barriers(lambda position: jnp.sum(position["x"]), {"x": np.zeros((2, 2))}, num_points=4)


def target(model, frozen, position, noise="fixed"):
    """Log density (position, frozen, batch) of a network's own outputs, and its data arguments."""
    inputs = np.random.default_rng(1).standard_normal((50, 6), "float32")
    batch = Split(inputs, np.asarray(jax.jit(model.apply)(position, frozen, inputs)))
    logdensity = PosteriorConfig(noise=noise).of(model, "regression", frozen, batch).logdensity
    return logdensity, (frozen, batch)


@pytest.mark.parametrize("noise", ["fixed", "learned"])
def test_a_network_and_its_permuted_copy_have_a_barrier_until_aligned(noise):
    model, frozen, position = network()
    moved = permute(position, model.permutation_spec, elements_of(model, position, 2)[1])
    chains = [position, moved]
    if noise == "learned":
        chains = [chain | {"noise": {"log_scale": np.float32(-2)}} for chain in chains]
    positions = jax.tree.map(lambda *leaves: np.stack(leaves), *chains)
    logdensity, data = target(model, frozen, chains[0], noise)
    raw = diagnostics.logdensity_barriers(logdensity, positions, data)
    aligned = diagnostics.aligned_logdensity_barriers(model, frozen, logdensity, positions, data)
    assert raw["maximum"] >= raw["midpoint"] > 10
    assert 0 <= aligned["maximum"] <= 1e-3 * raw["maximum"]


def test_aligned_barriers_are_for_networks_with_nothing_fixed():
    for arch in ("sigma_asym", "syre", "fixed_bias"):
        model, frozen, position = network(arch)
        positions = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), position)
        assert diagnostics.aligned_logdensity_barriers(model, frozen, jnp.sum, positions) is None


def test_the_mean_of_aligned_draws_is_the_network_that_was_permuted(planted):
    model, frozen, position = planted[:3]
    means = diagnostics.posterior_means(model, frozen, planted.positions, planted.found)
    expected = jax.tree.map(lambda leaf: leaf.mean(axis=(0, 1)), planted.before)
    jax.tree.map(lambda mean, leaf: np.testing.assert_allclose(mean, leaf, atol=1e-6), means.aligned_params, expected)
    jax.tree.map(np.testing.assert_array_equal, means.aligned_position, means.aligned_params)
    raw = jax.tree.map(lambda leaf: leaf.mean(axis=(0, 1)), planted.positions)
    jax.tree.map(lambda mean, leaf: np.testing.assert_allclose(mean, leaf, atol=1e-6), means.position, raw)
    x, forward = np.random.default_rng(2).standard_normal((20, 6), "float32"), jax.jit(model.forward)
    wanted = forward(position, frozen, x)
    errors = [np.abs(forward(mean, frozen, x) - wanted).max() for mean in (means.position, means.aligned_params)]
    assert errors[1] < 0.05 < errors[0]


@pytest.mark.parametrize("planted", ["one hidden layer"], indirect=True)
def test_the_summary_gathers_plain_numbers(planted):
    model, frozen, position = planted[:3]
    logdensity, data = target(model, frozen, position)
    summary, _ = diagnostics.summarise_modes(
        model, frozen, planted.positions, logdensity, data, max_draws=20, num_points=5, num_superchains=2
    )
    assert json.loads(json.dumps(summary)) == summary
    assert summary["num_draws"] == 20
    assert summary["chambers"]["switches"] == [0, 2, 1, 0]
    assert summary["chambers"]["switches_mean"] == 0.75
    assert summary["weight_space"]["rhat_median"] > 1.5 > 1.2 > summary["aligned_weight_space"]["rhat_median"]
    assert summary["weight_space"]["nested_rhat_max"] > 1.5
    assert summary["aligned_weight_space"]["nested_rhat_max"] < 1.2
    assert summary["covariance"]["permutation_share"] > 0.98
    assert summary["barrier"]["midpoint"]["mean"] > 10 * summary["aligned_barrier"]["maximum"]["mean"]
    assert summary["logdensity_at_aligned_mean"] > summary["logdensity_at_mean"]


def test_the_summary_of_an_asymmetric_network_counts_what_is_fixed():
    model, frozen, position = network("w_asym", num_fixed=(3, 3), fixed_scale=(2.0,))
    logdensity, data = target(model, frozen, position)
    summary, _ = diagnostics.summarise_modes(model, frozen, draws_around(position, 0.02, 10), logdensity, data)
    assert summary["weight_space"]["num_constant"] == 5 * 3 + 2 * 3
    assert summary["weight_space"] == summary["aligned_weight_space"]
    assert "nested_rhat_max" not in summary["weight_space"]
    assert summary["aligned_barrier"] is None
    assert summary["logdensity_at_aligned_mean"] is None
    assert summary["distance_to_model"] == 0


def test_the_summary_of_one_chain_has_no_barrier():
    model, frozen, position = network()
    logdensity, data = target(model, frozen, position)
    positions = jax.tree.map(lambda leaf: leaf[:1], draws_around(position, 0.02, 10))
    summary, _ = diagnostics.summarise_modes(model, frozen, positions, logdensity, data)
    assert summary["barrier"] is None
    assert summary["aligned_barrier"] is None


def two_wells(position):
    return -jnp.square(jnp.square(position["x"]) - 1)


def test_barriers_within_a_chain_are_between_its_own_draws():
    draws = {"x": jnp.array([[-1.0, 1.0, 1.0], [1.0, 0.5, 1.0]])}
    found = diagnostics.within_chain_barriers(two_wells, draws, (1, 2))
    # From -1 to 1 over the top, at 0, of height 1; from 1 to 1 nowhere; from 1/2 to 1 the log density rises.
    np.testing.assert_allclose(found["maximum"], [[0, 0], [1, 0]], atol=1e-6)
    middle = -((1 - 0.75**2) ** 2)
    np.testing.assert_allclose(found["midpoint"], [[0, 0.5 * -((1 - 0.25) ** 2) - middle], [1, 0]], atol=1e-6)
    with pytest.raises(InputError, match="3 draws have lags from 1 to 2"):
        diagnostics.within_chain_barriers(two_wells, draws, (1, 3))


def test_permuted_copies_are_modes_of_their_own_where_nothing_is_fixed():
    model, frozen, position = network(widths=(6, 5))
    last = jax.tree.map(lambda leaf: leaf[:, -1], draws_around(position, 0.02))
    reference = model.apply(position, frozen, jnp.ones((1, 6)))

    def logdensity(position):
        return -jnp.sum(jnp.square(model.apply(position, frozen, jnp.ones((1, 6))) - reference))

    found = diagnostics.permuted_copy_barriers(model, frozen, logdensity, last)
    between = diagnostics.logdensity_barriers(logdensity, last)
    assert found["maximum"].shape == (NUM_CHAINS,) and found["maximum"].min() > 10 * between["maximum"].max()
    gated, gates, start = network("sigma_asym")
    assert (
        diagnostics.permuted_copy_barriers(gated, gates, logdensity, jax.tree.map(lambda leaf: leaf[None], start))
        is None
    )


def test_units_keep_their_place_where_nothing_moves_them():
    model, frozen, position = network(widths=WIDTHS["two hidden layers"])
    positions = draws_around(position, 0.01, num_draws=6)
    inputs = np.random.default_rng(0).standard_normal((50, 6), "float32")
    still = diagnostics.units_in_place(model, frozen, positions, inputs, [1, 5])
    assert np.all(still.within == 1) and np.all(still.between == 1) and still.within.shape == (2, NUM_CHAINS)
    assert still.chance == 2 / 11  # One of 6 and one of 5.

    # Three units of the first layer change places after draw 2; in chain 1 they and all of the second are elsewhere.
    elements = elements_of(model, position, 1) * 3
    first, second = (model.permutation_spec[f"dense_{layer}/kernel"][1] for layer in (0, 1))
    elements[1] = elements[0] | {first: np.array([1, 2, 0, 3, 4, 5])}
    elements[2] = elements[1] | {second: np.roll(np.arange(5), 1)}
    schedule = np.repeat([[0] * 3 + [1] * 3], NUM_CHAINS, axis=0)
    schedule[1] = 2
    moved = permuted_draws(model, positions, elements, schedule)
    found = diagnostics.units_in_place(model, frozen, moved, inputs, [2, 3])
    np.testing.assert_allclose(found.within, [[1, 1, 1, 1], [8 / 11, 1, 8 / 11, 8 / 11]])
    np.testing.assert_allclose(found.between, [6 / 11, 1, 1, 6 / 11, 6 / 11, 1])
    with pytest.raises(InputError, match=r"lags are \(1, 6\); 6 draws have lags from 1 to 5"):
        diagnostics.units_in_place(model, frozen, moved, inputs, [1, 6])
