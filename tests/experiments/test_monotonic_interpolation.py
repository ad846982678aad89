"""Paths on which the loss leaves the finite numbers: their networks apart, by name."""

from functools import cache

import jax
import numpy as np
import pytest
from model_of import model_of

from asymjax.errors import DivergedError
from asymjax.experiments.linear_connectivity.run import Task
from asymjax.experiments.monotonic_interpolation.run import interpolate_population
from asymjax.experiments.populations import Networks, Population
from asymjax.experiments.variants import Variant
from asymjax.lab.recorder import InMemory
from asymjax.lab.run_config import RunConfig
from asymjax.models import draw_frozen
from asymjax.rng import SeedConfig
from asymjax.symmetry.connectivity import grid, in_batches, make_measure
from asymjax.symmetry.interpolation import PATH_SCORES
from asymjax.train.members import initial_positions
from asymjax.train.optimizers import OptimizerConfig
from asymjax.types import Split

SEEDS, NUM_SEEDS = SeedConfig(), 5


@cache
def follow(*broken, label_smoothing=0.0):
    """Follow networks whose ends are half their starts, seed 1 lost in training, ``broken`` members too large."""
    config = model_of(widths=())
    model = config.build((3,), 2)
    frozen = draw_frozen(model, 0)
    starts = jax.tree.map(np.array, initial_positions(model, frozen, SEEDS, NUM_SEEDS))
    names = ["0", "2", "3", "4"]
    ends = jax.tree.map(lambda leaf: leaf[[0, 2, 3, 4]] / 2, starts)
    for member in broken:
        ends["output"]["kernel"][member] = 3e38
    networks = Networks(ends, names, {"1": "loss not finite at step 7"})
    rng = np.random.default_rng(0)
    split = Split(rng.normal(size=(20, 3)).astype("float32"), rng.integers(0, 2, 20).astype("int32"))
    splits = {"train": in_batches(split, 10), "test": in_batches(split)}
    task = Task(make_measure(model, "classification", PATH_SCORES), grid(5), splits)
    population = Population(Variant(config), model, frozen, lambda run: networks)
    optimizer = OptimizerConfig(label_smoothing=label_smoothing)
    entry, arrays = interpolate_population(
        InMemory(), "standard", population, task, SEEDS, NUM_SEEDS, optimizer, {}, RunConfig(progress=False)
    )
    return entry, {name: values for name, (_, values) in arrays.items()}, starts, split


def test_networks_whose_loss_is_not_finite_on_the_path_are_named_and_left_out():
    whole, arrays, *_ = follow(label_smoothing=0.0)
    assert whole["networks"] == ["0", "2", "3", "4"]
    entry, fewer, *_ = follow(1)
    assert entry["networks"] == ["0", "3", "4"]
    assert entry["excluded"].keys() == {"1", "2"}
    assert entry["excluded"]["1"] == "loss not finite at step 7"
    assert entry["excluded"]["2"].startswith("loss not finite at ")
    for name in ("distance", "train/loss/curves", "test/accuracy/curves", "train/delta"):
        np.testing.assert_array_equal(fewer[name], arrays[name][[0, 2, 3]])


def test_one_network_that_is_left_is_too_few():
    with pytest.raises(DivergedError, match="standard: the loss is finite on the paths of 1 of 4 networks alone"):
        follow(0, 1, 2)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_curves_are_losses_of_linear_models_with_shared_smoothing(label_smoothing):
    entry, arrays, starts, split = follow(label_smoothing=label_smoothing)
    member, seed = 2, 3
    targets = (1 - label_smoothing) * np.eye(2)[split.targets] + label_smoothing / 2
    for point, t in enumerate(grid(5)):
        kernel, bias = (np.float64(starts["output"][name][seed]) * (1 - t / 2) for name in ("kernel", "bias"))
        logits = split.inputs @ kernel + bias
        logprob = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected = -np.mean(np.sum(targets * logprob, axis=1))
        np.testing.assert_allclose(arrays["test/loss/curves"][member, point], expected, rtol=1e-5)
    assert entry["trained"]["test"]["loss"][member] == arrays["test/loss/curves"][member, -1]
    halves = np.sqrt(sum(np.sum(np.square(leaf[seed] / 2)) for leaf in jax.tree.leaves(starts)))
    np.testing.assert_allclose(arrays["distance"][member], halves, rtol=1e-5)
