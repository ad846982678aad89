"""Linear paths: known curves, exact ends, barriers, recalibration, and statistics that know pairs share networks."""

from functools import cache

import jax
import numpy as np
import pytest
from model_of import drawn_constants, drawn_position, model_of

from asymjax import trees
from asymjax.errors import InputError
from asymjax.lab import devices
from asymjax.models.methods import METHODS
from asymjax.symmetry import align, connectivity, distance_to_model, gates_of, permute, weight_matching
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
from asymjax.types import Split

RNG, EPSILON = np.random.default_rng(0), np.finfo(np.float32).eps


def some(names):
    """The methods, those that are not named with --run-long: they merge, or run, as others do."""
    return [pytest.param(arch, marks=[] if arch in names else [pytest.mark.long]) for arch in METHODS]


MERGING = some(("standard", "w_asym", "sigma_asym", "syre", "fixed_bias"))
RUNNING = some(("standard", "sigma_asym"))


@cache
def networks(arch="standard", count=3, widths=(6, 5), shape=(4,), num_outputs=3):
    """A model, its constants, and positions of some networks [network, ...]."""
    model = model_of(arch=arch, widths=widths).build(shape, num_outputs)
    frozen = drawn_constants(model, scale=float(arch != "pruned"))
    positions = [drawn_position(model, frozen, seed) for seed in range(count)]
    return model, frozen, jax.tree.map(lambda *leaves: np.stack(leaves), *positions)


def pick(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def rows(count=20, num_inputs=4, num_classes=3):
    inputs = RNG.normal(size=(count, num_inputs)).astype("float32")
    return Split(inputs, RNG.integers(0, num_classes, count).astype("int32"))


def assert_trees_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


# Interpolation


POINTS = np.float32([0, 0.3, 0.5, 0.8, 1])


@cache
def paths(arch):
    """Both ends of a path, itself in effective weights, and merged of a path in position."""
    model, frozen, positions = networks(arch)

    @jax.jit
    def run(start, end, points, frozen):
        ends = model.merge(start, frozen), model.merge(end, frozen)
        in_weights = jax.vmap(lambda t: interpolate(*ends, t))(points)
        return *ends, in_weights, jax.vmap(lambda t: model.merge(interpolate(start, end, t), frozen))(points)

    return trees.to_host(run(pick(positions, 0), pick(positions, 1), POINTS, frozen))


@pytest.mark.parametrize("arch", MERGING)
def test_ends_are_met_to_the_bit(arch):
    start, end, found, _ = paths(arch)
    assert_trees_equal(pick(found, 0), start)
    assert_trees_equal(pick(found, -1), end)


@pytest.mark.parametrize("arch", MERGING)
def test_paths_in_effective_weights_are_paths_in_position(arch):
    model, frozen, _ = networks(arch)
    start, _, found, expected = paths(arch)
    # Weights are below two, and a path adds, subtracts and multiplies three times.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=16 * EPSILON), found, expected)
    if model.free_mask is not None:
        mask = trees.to_host(model.free_mask(frozen))
        jax.tree.map(
            lambda path, a, free: np.testing.assert_array_equal(path[:, ~free], np.stack(5 * [a[~free]])),
            found,
            start,
            mask,
        )


def test_interpolation_is_the_formula():
    start, end = {"w": np.array([1.0, -2.0])}, {"w": np.array([3.0, 4.0])}
    for t in (0.25, 0.75):
        np.testing.assert_allclose(interpolate(start, end, t)["w"], [1 + 2 * t, -2 + 6 * t], rtol=1e-6)


def test_averages_are_of_the_first_networks():
    params = {"w": RNG.normal(size=(4, 2, 3)).astype("float32")}
    averages = np.asarray(jax.jit(running_averages)(params)["w"])
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


@pytest.mark.parametrize("num_devices_and_inside", [(1, "vectorized"), (1, "sequential")])
def test_ends_of_curves_are_the_networks(num_devices_and_inside):
    model, frozen, positions = networks(count=4)
    params = model.merge(positions, frozen)  # Of standard networks these are the positions.
    pairs, splits = all_pairs(4), {"test": in_batches(rows())}
    measure = jax.jit(make_measure(model, "classification"))
    placement = devices.place(len(pairs), *num_devices_and_inside)
    mapped = jax.jit(devices.map_leading(make_path(measure, grid(3)), placement, [True, True, False, False]))
    measured = trees.to_host(mapped(pick(params, pairs[:, 0]), pick(params, pairs[:, 1]), frozen, splits))
    alone = [trees.to_host(measure(pick(params, index), frozen, splits)["test"]) for index in range(4)]
    for metric, curves in measured["curves"]["test"].items():
        expected = np.array([each[metric] for each in alone])
        np.testing.assert_allclose(curves[:, [0, -1]], expected[pairs], rtol=1e-5)
    flat = np.concatenate([leaf.reshape(4, -1) for leaf in jax.tree.leaves(params)], axis=1)
    expected = np.linalg.norm(np.float64(flat[pairs[:, 0]] - flat[pairs[:, 1]]), axis=1)
    np.testing.assert_allclose(measured["distance"], expected, rtol=1e-5)


@pytest.mark.parametrize(("rows_per_batch", "count"), [(7, 20), (7, 13), (20, 20), (64, 13)])
def test_batches_are_the_rows(monkeypatch, rows_per_batch, count):
    monkeypatch.setattr(connectivity, "ROWS_PER_BATCH", rows_per_batch)
    model, frozen, positions = networks()
    split, params = rows(), pick(positions, 0)
    measure = jax.jit(make_measure(model, "classification"))
    measured = measure(params, frozen, {"test": in_batches(split, count)})["test"]
    logits = np.asarray(jax.jit(model.forward)(params, frozen, split.inputs), np.float64)[:count]
    labels = split.targets[:count]
    loss = np.mean(np.log(np.sum(np.exp(logits), axis=-1)) - logits[np.arange(count), labels])
    np.testing.assert_allclose(measured["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(measured["accuracy"], np.mean(np.argmax(logits, axis=-1) == labels), rtol=1e-6)


# Permuted copies


ELEMENT = {"units_0": np.roll(np.arange(16), 1), "units_1": np.roll(np.arange(12), 1)}


@cache
def permuted_copy(arch):
    """A sure network with its own answers as targets, its permuted copy, gates conjugated, and the path of any two."""
    model, frozen, positions = networks(arch, widths=(16, 12), shape=(12,))
    params = trees.to_host(jax.jit(model.merge)(pick(positions, 0), frozen))
    params["output"] = {"kernel": 20 * params["output"]["kernel"], "bias": params["output"]["bias"]}
    inputs = RNG.normal(size=(50, 12)).astype("float32")
    model = model._replace(forward=jax.jit(model.forward))
    answers = np.argmax(model.forward(params, frozen, inputs), axis=-1).astype("int32")
    copy = trees.to_host(aligned(arch, params, frozen, ELEMENT))
    path = jax.jit(make_path(make_measure(model, "classification"), grid(5)))
    return model, frozen, params, Split(inputs, answers), copy, path


@cache
def aligner(arch):
    model = networks(arch, widths=(16, 12), shape=(12,))[0]
    return jax.jit(lambda *args: align(model, *args))


def aligned(arch, *args):
    return trees.to_host(aligner(arch)(*args))


def measured_path(arch, end):
    """Curves and distance of the path to another network, whose gates it takes along."""
    _, frozen, params, split, _, path = permuted_copy(arch)
    gates = gates_of(frozen), gates_of(end.frozen)
    measured = path(params, end.params, frozen, {"test": in_batches(split)}, gates if gates[0] else None)
    return trees.to_host((measured["curves"]["test"], measured["distance"]))


def assert_flat(curves):
    for curve in curves.values():
        assert len(set(curve.tolist())) == 1
        for barrier in barriers(grid(5), curve[None]).values():
            assert barrier == 0


@pytest.mark.parametrize("arch", RUNNING)
def test_a_network_and_itself_have_no_barrier_at_all(arch):
    _, frozen, params, _, copy, _ = permuted_copy(arch)
    curves, distance = measured_path(arch, copy._replace(params=params, frozen=frozen))
    assert distance == 0
    assert_flat(curves)


@pytest.mark.parametrize("arch", RUNNING)
def test_a_permuted_copy_is_behind_a_barrier_and_once_aligned_there_is_none_at_all(arch):
    model, _, params, _, copy, _ = permuted_copy(arch)
    curve = measured_path(arch, copy)[0]["loss"]
    np.testing.assert_allclose(curve[-1], curve[0], atol=1e-3)  # Logits of 20 and more are rounded by 1e-5.
    assert barriers(grid(5), curve[None])["midpoint"] > 0.05  # Far from the rounding that is left when aligned.
    found = weight_matching(model.permutation_spec, params, copy.params)
    assert_flat(measured_path(arch, aligned(arch, copy.params, copy.frozen, found.permutations))[0])


@pytest.mark.parametrize("arch", MERGING)
def test_a_permuted_copy_of_a_network_with_fixed_weights_is_outside_its_set(arch):
    model, frozen, positions = networks(arch)
    element = {name: np.roll(np.arange(units), 1) for name, units in (("units_0", 6), ("units_1", 5))}

    @jax.jit
    def distance(position, frozen):
        copy = permute(model.merge(position, frozen), model.permutation_spec, element)
        return distance_to_model(model, copy, frozen)

    assert (distance(pick(positions, 0), frozen) > 0.1) == (arch in ("w_asym", "pruned", "w_sigma_asym", "fixed_bias"))


def test_without_its_gates_a_permuted_copy_is_another_function():
    model, frozen, params, split, copy, _ = permuted_copy("sigma_asym")
    outputs = model.forward(params, frozen, split.inputs)
    np.testing.assert_allclose(model.forward(copy.params, copy.frozen, split.inputs), outputs, rtol=1e-4, atol=1e-5)
    assert np.abs(model.forward(copy.params, frozen, split.inputs) - outputs).max() > 0.1


# Recalibration


def test_best_temperature_of_two_classes():
    margin, share = 3.0, 0.8
    logits = np.tile(np.float32([margin, 0.0]), (10, 1))
    expected = margin / np.log(share / (1 - share))
    np.testing.assert_allclose(jax.jit(best_temperature)(logits, np.array([0] * 8 + [1] * 2)), expected, rtol=1e-4)


def test_recalibrated_loss_is_the_smallest_and_ignores_the_scale():
    labels = RNG.integers(0, 4, 50)
    logits = (RNG.normal(size=(50, 4)) + 2 * np.eye(4)[labels]).astype("float32")
    scales = np.float32([1, 30, *1 / np.geomspace(0.05, 20, 200)])
    found = jax.jit(jax.vmap(lambda scale: connectivity.SCORES["classification"](scale * logits, labels)))(scales)
    small, large = (pick(found, index) for index in (0, 1))
    np.testing.assert_allclose(small["recalibrated_loss"], large["recalibrated_loss"], rtol=1e-5)
    assert small["accuracy"] == large["accuracy"]
    assert small["recalibrated_loss"] <= found["loss"][2:].min() + 1e-6


def test_temperature_is_bounded_where_it_has_no_optimum():
    temperature, bound = jax.jit(best_temperature), np.exp(connectivity.MAX_LOG_TEMPERATURE)
    logits = np.eye(3, dtype="float32")
    np.testing.assert_allclose(temperature(logits, np.array([0, 1, 2])), 1 / bound, rtol=1e-4)
    np.testing.assert_allclose(temperature(logits, np.array([1, 2, 0])), bound, rtol=1e-4)


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
