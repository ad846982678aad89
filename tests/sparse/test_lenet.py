"""LeNet-300-100 on images of MNIST: stable from its start, dense and pruned; initialisations are not connected."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asymjax
from asymjax import data
from asymjax.models import ModelConfig
from asymjax.models.backbones import MLP
from asymjax.sparse.masks import full_mask
from asymjax.sparse.pruning import SCORES, plan_pruning, prune_to
from asymjax.symmetry.connectivity import grid, in_batches, instabilities, make_measure, make_path

ROUNDS = 10


@pytest.fixture(scope="module")
def lenet():
    dataset = data.load("mnist5k")
    model = ModelConfig(backbone=MLP((300, 100), norm="none", activation="relu")).build(dataset.input_shape, 10)
    schedule = optax.piecewise_constant_schedule(0.02, {16 * (len(dataset.train.targets) // 60): 0.1})
    options = {"num_epochs": 20, "batch_size": 60, "optimizer": optax.sgd(schedule, momentum=0.9)}
    tickets = asymjax.find_tickets(
        jax.random.key(0), model, dataset, num_seeds=2, num_rounds=ROUNDS, show_progress=False, **options
    )
    path, rows = make_path(make_measure(model, dataset.task), grid(31)), {"test": in_batches(dataset.test)}

    @jax.jit
    def curve(start, end):
        return path(start, end, {}, rows)["curves"]["test"]["accuracy"]

    def rise(start, end):
        error = 1 - np.asarray(curve(start, end))
        return float(instabilities(grid(31), error[None])["over_mean"][0]), float(error[0])

    return model, dataset, tickets, rise


@pytest.mark.long
def test_random_masks_are_worse_and_still_stable(lenet):
    model, dataset, tickets, rise = lenet
    kept = jax.tree.map(np.copy, tickets.kept)
    plan = plan_pruning(model, 0.2, ROUNDS)
    for seed in range(2):
        position = jax.tree.map(lambda leaf, seed=seed: jnp.asarray(leaf[seed]), tickets.dense)
        scores = SCORES["random"](jax.random.key(seed), position, model, {}, dataset.train, dataset.task)
        chosen = prune_to(plan, scores, full_mask(position), ROUNDS)
        jax.tree.map(lambda all, one, seed=seed: all[ROUNDS].__setitem__(seed, np.asarray(one)), kept, chosen)
    random = asymjax.train_twins(model, dataset, tickets._replace(kept=kept), ROUNDS, num_twins=2, show_progress=False)
    own = asymjax.train_twins(model, dataset, tickets, ROUNDS, num_twins=2, show_progress=False)
    found = [
        rise(*(jax.tree.map(lambda leaf, at=(seed, twin): jnp.asarray(leaf[at]), twins) for twin in (0, 1)))
        for twins in (random, own)
        for seed in range(2)
    ]
    assert max(rises for rises, _ in found) < 0.01
    assert np.mean([error for _, error in found[:2]]) > np.mean([error for _, error in found[2:]]) - 0.005


@pytest.mark.long
@pytest.mark.parametrize("rounds", [0, 5, ROUNDS])
def test_twins_are_connected_and_as_good_as_dense_ones(lenet, rounds):
    model, dataset, tickets, rise = lenet
    twins = asymjax.train_twins(model, dataset, tickets, rounds, num_twins=2, show_progress=False)

    def of(seed, twin):
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[seed, twin]), twins)

    for seed in range(2):
        found, error = rise(of(seed, 0), of(seed, 1))
        assert found < 0.01
        assert error < 0.10
    if rounds == 0:
        assert rise(of(0, 0), of(1, 0))[0] > 0.10
