"""Linear paths: known curves, exact ends, barriers, recalibration, and statistics that know pairs share networks."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import model_of

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.lab import devices
from asymjax.models import draw_frozen
from asymjax.models.methods import METHODS
from asymjax.symmetry import align, connectivity, distance_to_model, gates_of, weight_matching
from asymjax.symmetry.connectivity import (
    all_pairs,
    barriers,
    best_temperature,
    finite_networks,
    grid,
    in_batches,
    interpolate,
    make_measure,
    make_path,
    over_pairs,
    running_averages,
)
from asymjax.train.losses import cross_entropy
from asymjax.types import Split

RNG = np.random.default_rng(0)
# One that fixes nothing, one that fixes weights, one with gates; the others with --run-long.
SHORT = ("standard", "w_asym", "sigma_asym")
FEW = [pytest.param(arch, marks=[] if arch in SHORT else [pytest.mark.long]) for arch in METHODS]


@cache
def networks(arch="standard", count=3, widths=(6, 5), shape=(4,), num_outputs=3):
    model = model_of(arch=arch, widths=widths).build(shape, num_outputs)
    frozen = draw_frozen(model, 0)
    positions = jax.jit(jax.vmap(model.init, (0, None)))(rng.member_keys(jax.random.key(0), count), frozen)
    return model, frozen, trees.to_host(positions)


def pick(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def rows(count=20, num_inputs=4, num_classes=3):
    inputs = RNG.normal(size=(count, num_inputs)).astype("float32")
    return Split(inputs, RNG.integers(0, num_classes, count).astype("int32"))


def assert_trees_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


# Interpolation


@pytest.mark.parametrize("arch", FEW)
def test_ends_are_met_to_the_bit(arch):
    model, frozen, positions = networks(arch)
    start, end = (model.merge(pick(positions, index), frozen) for index in (0, 1))
    at = jax.jit(interpolate)
    assert_trees_equal(at(start, end, 0.0), start)
    assert_trees_equal(at(start, end, 1.0), end)


@pytest.mark.parametrize("t", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("arch", METHODS)
def test_paths_in_effective_weights_are_paths_in_position(arch, t):
    model, frozen, positions = networks(arch)
    start, end = pick(positions, 0), pick(positions, 1)
    merge, between = jax.jit(model.merge), jax.jit(interpolate)
    found = between(merge(start, frozen), merge(end, frozen), t)
    expected = merge(between(start, end, t), frozen)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)
    if model.free_mask is not None:
        mask = model.free_mask(frozen)
        jax.tree.map(lambda a, b, free: np.testing.assert_array_equal(a[~free], b[~free]), found, expected, mask)


def test_interpolation_is_the_formula():
    start, end = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([3.0, 4.0])}
    for t in (0.25, 0.75):
        np.testing.assert_allclose(interpolate(start, end, t)["w"], [1 + 2 * t, -2 + 6 * t], rtol=1e-6)


def test_averages_are_of_the_first_networks():
    params = {"w": jnp.asarray(RNG.normal(size=(4, 2, 3)), "float32")}
    averages = running_averages(params)["w"]
    for count in range(1, 5):
        np.testing.assert_allclose(averages[count - 1], params["w"][:count].mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(averages[0], params["w"][0])


def test_networks_that_are_not_finite_are_found():
    params = {"a": np.ones((3, 2)), "b": np.ones((3, 2, 2))}
    params["a"][0, 1] = np.nan
    params["b"][2, 0, 1] = np.inf
    assert finite_networks(params).tolist() == [False, True, False]


# Measurement


def test_a_linear_model_has_its_parabola():
    model, frozen, positions = networks(count=2, widths=(), num_outputs=1)
    split = Split(RNG.normal(size=(30, 4)).astype("float32"), RNG.normal(size=(30, 1)).astype("float32"))
    points = grid(9)
    path = jax.jit(make_path(make_measure(model, "regression"), points))
    start, end = pick(positions, 0), pick(positions, 1)
    curve = path(start, end, frozen, {"test": in_batches(split)})["curves"]["test"]["loss"]
    begin = split.inputs @ start["output"]["kernel"] + start["output"]["bias"] - split.targets
    change = split.inputs @ (end["output"]["kernel"] - start["output"]["kernel"])
    change = change + end["output"]["bias"] - start["output"]["bias"]
    expected = [np.mean(np.square(begin + t * change)) for t in points]
    np.testing.assert_allclose(curve, expected, rtol=1e-5)
    found = barriers(points, np.asarray(curve)[None])
    np.testing.assert_allclose(found["midpoint"], -np.mean(np.square(change)) / 4, rtol=1e-4)
    np.testing.assert_array_equal(found["maximum"], 0)


@pytest.mark.parametrize("arch", METHODS)
def test_a_network_and_itself_have_no_barrier_at_all(arch):
    model, frozen, positions = networks(arch)
    params = model.merge(pick(positions, 0), frozen)
    points = grid(7)
    path = jax.jit(make_path(make_measure(model, "classification"), points))
    measured = path(params, params, frozen, {"test": in_batches(rows())})
    assert measured["distance"] == 0
    for curve in measured["curves"]["test"].values():
        assert len(set(np.asarray(curve).tolist())) == 1
        for barrier in barriers(points, np.asarray(curve)[None]).values():
            assert barrier == 0


@pytest.mark.parametrize("num_devices_and_inside", [(1, "vectorized"), (1, "sequential")])
def test_ends_of_curves_are_the_networks(num_devices_and_inside):
    model, frozen, positions = networks(count=4)
    params = jax.vmap(model.merge, (0, None))(positions, frozen)
    pairs, splits = all_pairs(4), {"test": in_batches(rows())}
    measure = jax.jit(make_measure(model, "classification"))
    placement = devices.place(len(pairs), *num_devices_and_inside)
    mapped = jax.jit(devices.map_leading(make_path(measure, grid(3)), placement, [True, True, False, False]))
    measured = mapped(pick(params, pairs[:, 0]), pick(params, pairs[:, 1]), frozen, splits)
    for metric, curves in measured["curves"]["test"].items():
        alone = np.array([measure(pick(params, index), frozen, splits)["test"][metric] for index in range(4)])
        np.testing.assert_allclose(curves[:, [0, -1]], alone[pairs], rtol=1e-5)
    for (first, second), distance in zip(pairs, measured["distance"], strict=True):
        difference = jax.tree.map(jnp.subtract, pick(params, first), pick(params, second))
        np.testing.assert_allclose(distance, trees.norm(difference), rtol=1e-5)


@pytest.mark.parametrize("rows_per_batch", [7, 20, 64])
def test_batches_are_the_rows(monkeypatch, rows_per_batch):
    monkeypatch.setattr(connectivity, "ROWS_PER_BATCH", rows_per_batch)
    model, frozen, positions = networks()
    split, params, forward = rows(), model.merge(pick(positions, 0), frozen), jax.jit(model.forward)
    for count in (20, 13):
        first = Split(split.inputs[:count], split.targets[:count])
        measure = jax.jit(make_measure(model, "classification"))
        measured = measure(params, frozen, {"test": in_batches(split, count)})["test"]
        expected = cross_entropy(forward, params, frozen, first)
        np.testing.assert_allclose(measured["loss"], expected, rtol=1e-5)
        right = np.argmax(forward(params, frozen, first.inputs), axis=-1) == first.targets
        np.testing.assert_allclose(measured["accuracy"], right.mean(), rtol=1e-6)


# Permuted copies


@cache
def permuted_copy(arch):
    """A sure network with its own answers as targets, and its permuted copy, gates conjugated."""
    model, frozen, positions = networks(arch, widths=(16, 12), shape=(12,))
    params = trees.to_host(model.merge(pick(positions, 0), frozen))
    params["output"] = {"kernel": 20 * params["output"]["kernel"], "bias": params["output"]["bias"]}
    inputs = RNG.normal(size=(50, 12)).astype("float32")
    answers = np.argmax(jax.jit(model.forward)(params, frozen, inputs), axis=-1).astype("int32")
    element = {name: np.roll(np.arange(units), 1) for name, units in (("units_0", 16), ("units_1", 12))}
    return model, frozen, params, Split(inputs, answers), align(model, params, frozen, element)


@cache
def measured_path(arch, aligned):
    """Curves of the path to the permuted copy, as it is or aligned with the network."""
    model, frozen, params, split, copy = permuted_copy(arch)
    if aligned:
        found = weight_matching(model.permutation_spec, params, copy.params)
        copy = align(model, copy.params, copy.frozen, found.permutations)
    path = jax.jit(make_path(make_measure(model, "classification"), grid(5)))
    gates = gates_of(frozen), gates_of(copy.frozen)
    measured = path(params, copy.params, frozen, {"test": in_batches(split)}, gates if gates[0] else None)
    return trees.to_host(measured["curves"]["test"])


@pytest.mark.parametrize("arch", FEW)
def test_a_permuted_copy_is_behind_a_barrier_and_once_aligned_there_is_none_at_all(arch):
    curve = measured_path(arch, aligned=False)["loss"]
    np.testing.assert_allclose(curve[-1], curve[0], rtol=1e-5)
    assert barriers(grid(5), curve[None])["midpoint"] > 0.2
    for aligned in measured_path(arch, aligned=True).values():
        assert len(set(aligned.tolist())) == 1


@pytest.mark.parametrize("arch", METHODS)
def test_a_permuted_copy_of_a_network_with_fixed_weights_is_outside_its_set(arch):
    model, frozen, _, _, copy = permuted_copy(arch)
    is_outside = distance_to_model(model, copy.params, frozen) > 0.1
    assert is_outside == (arch in ("w_asym", "pruned", "w_sigma_asym", "fixed_bias"))


def test_without_its_gates_a_permuted_copy_is_another_function():
    model, frozen, params, split, copy = permuted_copy("sigma_asym")
    forward = jax.jit(model.forward)
    outputs = forward(params, frozen, split.inputs)
    np.testing.assert_allclose(forward(copy.params, copy.frozen, split.inputs), outputs, rtol=1e-4, atol=1e-5)
    assert np.abs(forward(copy.params, frozen, split.inputs) - outputs).max() > 0.1


# Recalibration


def test_best_temperature_of_two_classes():
    margin, share = 3.0, 0.8
    logits = jnp.tile(jnp.array([margin, 0.0]), (10, 1))
    labels = jnp.array([0] * 8 + [1] * 2)
    expected = margin / np.log(share / (1 - share))
    np.testing.assert_allclose(best_temperature(logits, labels), expected, rtol=1e-4)


def test_recalibrated_loss_is_the_smallest_and_ignores_the_scale():
    logits, labels = jnp.asarray(RNG.normal(size=(50, 4)), "float32"), jnp.asarray(RNG.integers(0, 4, 50))
    logits = logits + 2 * jax.nn.one_hot(labels, 4)
    score = jax.jit(connectivity.SCORES["classification"])
    small, large = score(logits, labels), score(30 * logits, labels)
    np.testing.assert_allclose(small["recalibrated_loss"], large["recalibrated_loss"], rtol=1e-5)
    assert small["accuracy"] == large["accuracy"]
    others = [score(logits / t, labels)["loss"] for t in np.geomspace(0.05, 20, 200)]
    assert small["recalibrated_loss"] <= min(others) + 1e-6


def test_temperature_is_bounded_where_it_has_no_optimum():
    logits = jnp.eye(3)
    bound = np.exp(connectivity.MAX_LOG_TEMPERATURE)
    np.testing.assert_allclose(best_temperature(logits, jnp.array([0, 1, 2])), 1 / bound, rtol=1e-4)
    np.testing.assert_allclose(best_temperature(logits, jnp.array([1, 2, 0])), bound, rtol=1e-4)


# Barriers and statistics


def test_barriers_are_above_the_chord():
    points = grid(5)
    rising = 1 + 2 * points
    curves = np.stack([rising, rising + np.array([0, 3, 1, 0, 0]), rising - np.array([0, 1, 2, 1, 0])])
    found = barriers(points, curves)
    np.testing.assert_allclose(found["midpoint"], [0, 1, -2], atol=1e-12)
    np.testing.assert_allclose(found["maximum"], [0, 3, 0], atol=1e-12)


@pytest.mark.parametrize("num_points", [1, 2, 24])
def test_paths_without_a_middle_are_refused(num_points):
    with pytest.raises(InputError, match=f"num_points is {num_points}; give an odd number"):
        grid(num_points)


def test_interval_of_effects_of_networks_is_students():
    effects = RNG.normal(size=6)
    pairs = all_pairs(6)
    found = over_pairs(effects[pairs].mean(axis=1), pairs)
    assert found["mean"] == pytest.approx(effects.mean())
    half_width = 2.5705818 * effects.std(ddof=1) / np.sqrt(6)  # t of 5 degrees, 97.5 %
    assert found["high"] - found["mean"] == pytest.approx(half_width)
    assert found["mean"] - found["low"] == pytest.approx(half_width)
    assert found["std"] == pytest.approx(effects[pairs].mean(axis=1).std(ddof=1))


@pytest.mark.parametrize(("of_networks", "of_pairs", "least"), [(1.0, 0.0, 0.93), (1.0, 1.0, 0.93), (0.0, 1.0, 0.95)])
def test_intervals_cover_and_those_of_independent_pairs_would_not(of_networks, of_pairs, least):
    # 1500 sweeps of 6 networks: three standard errors of a coverage of 0.95 are 0.017.
    num_sweeps, pairs = 1500, all_pairs(6)
    effects = of_networks * RNG.normal(size=(num_sweeps, 6))
    values = effects[:, pairs].mean(axis=-1) + of_pairs * RNG.normal(size=(num_sweeps, len(pairs)))
    found = over_pairs(values.T, pairs)
    coverage = np.mean((found["low"] <= 0) & (found["high"] >= 0))
    assert least <= coverage <= (0.967 if of_pairs == 0 else 1.0)
    if of_pairs == 0:
        naive = 2.145 * values.std(axis=1, ddof=1) / np.sqrt(len(pairs))
        assert np.mean(np.abs(values.mean(axis=1)) <= naive) < 0.85


def test_two_networks_have_a_mean_and_no_interval():
    found = over_pairs(np.array([0.25]), all_pairs(2))
    assert found["mean"] == 0.25
    assert np.isnan([found["std"], found["low"], found["high"]]).all()
