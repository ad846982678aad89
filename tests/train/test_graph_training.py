"""Graphs pass training and measurement as one batch, as arguments, and only where they can."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import model_of
from random_graphs import random_graph

from asymjax import rng
from asymjax.errors import InputError
from asymjax.lab import devices
from asymjax.lab.evaluate import make_evaluate
from asymjax.models import draw_frozen
from asymjax.symmetry import connectivity
from asymjax.symmetry.connectivity import in_batches, make_measure
from asymjax.train import losses, make_optimizer, make_train
from asymjax.train.optimizers import OptimizerConfig
from asymjax.types import Dataset, Split

NUM_NODES, NUM_FEATURES = 300, 1000


@pytest.fixture(scope="module")
def data():
    """Labels are whether the first feature is positive; 200 nodes have one."""
    graph = random_graph(NUM_NODES, NUM_FEATURES, num_rows=200)
    return jax.tree.map(jnp.asarray, Split(graph, (graph.features[graph.rows, 0] > 0).astype(np.int32)))


@pytest.fixture(scope="module")
def network():
    """Of the method that has both fixed weights and gates."""
    model = model_of("w_sigma_asym", "gcn", widths=(8,), norm="batch").build((NUM_FEATURES,), 2)
    frozen = draw_frozen(model, 0)
    return model, frozen, jax.jit(model.init)(rng.role_key(0, "init"), frozen)


def trainer_of(model, batch_size, num_epochs=30):
    optimizer = make_optimizer(OptimizerConfig("adam", 0.01), num_epochs)
    return make_train(model, losses.cross_entropy, optimizer, num_epochs, batch_size, in_effective_weights=True)


def test_training_learns_and_keeps_the_graph_out_of_the_program(network, data):
    model, frozen, _ = network
    train = trainer_of(model, None).train
    _, values = jax.jit(train)(jax.random.key(0), frozen, data)
    assert values.shape == (30,)
    assert values[-1] < values[0] / 2
    constants = jax.make_jaxpr(train)(jax.random.key(0), frozen, data).consts
    assert sum(np.asarray(constant).nbytes for constant in constants) < 1000


def test_batches_of_a_graph_are_refused(network, data):
    model, frozen, _ = network
    with pytest.raises(InputError, match="batch_size is 50, but a graph is trained as a whole; give None"):
        jax.eval_shape(trainer_of(model, 50).train, jax.random.key(0), frozen, data)


def test_a_graph_is_measured_in_one_pass_at_the_rows_asked_for(network, data, monkeypatch):
    model, frozen, position = network
    monkeypatch.setattr(connectivity, "ROWS_PER_BATCH", 20)
    rows = in_batches(data, 30)
    assert (rows.inputs.features.shape, rows.inputs.rows.shape) == ((1, NUM_NODES, NUM_FEATURES), (1, 30))
    first = data.take(slice(30))

    @jax.jit
    def both(position, frozen, rows, first):
        measure = make_measure(model, "classification")
        measured = measure(model.merge(position, frozen), frozen, {"train": rows})["train"]
        return measured, losses.cross_entropy(model.apply, position, frozen, first)

    measured, expected = both(position, frozen, rows, first)
    np.testing.assert_allclose(measured["loss"], expected, rtol=1e-5)


def test_members_are_scored_on_all_rows_of_a_graph(network, data, monkeypatch):
    model, frozen, position = network
    monkeypatch.setattr("asymjax.lab.evaluate.ROWS_PER_BATCH", 70)
    nothing = np.zeros(2)
    dataset = Dataset("toy", "classification", data, data, data, 2, ("a", "b"), nothing, nothing + 1, "")
    positions = jax.tree.map(lambda leaf: leaf[None], position)
    scores = make_evaluate(model, dataset, devices.place(1)).score(positions, frozen, {})

    @jax.jit
    def expected(position, frozen, data):
        accuracy = jnp.mean(model.apply(position, frozen, data.inputs).argmax(1) == data.targets)
        return accuracy, losses.cross_entropy(model.apply, position, frozen, data)

    accuracy, whole = expected(position, frozen, data)
    assert scores["test.accuracy"] == [pytest.approx(float(accuracy))]
    assert scores["test.loss"] == [pytest.approx(float(whole), rel=1e-5)]


def test_where_the_loss_is_not_a_number_the_accuracy_is_none(network, data):
    model, frozen, position = network
    nothing = np.zeros(2)
    dataset = Dataset("toy", "classification", data, data, data, 2, ("a", "b"), nothing, nothing + 1, "")
    positions = jax.tree.map(lambda leaf: jnp.full((1, *leaf.shape), jnp.nan), position)
    scores = make_evaluate(model, dataset, devices.place(1)).score(positions, frozen, {})
    assert np.isnan(scores["test.loss"]) and np.isnan(scores["test.accuracy"])
