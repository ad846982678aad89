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
