"""Edges, neighbours, and the graph of digits."""

import numpy as np
import pytest

from asymjax.data import load
from asymjax.data.graphs import edges_of, graph_dataset, nearest_neighbours
from asymjax.types import Graph


def test_edges_go_both_ways_once_without_loops():
    senders, receivers = edges_of(np.array([(3, 1), (1, 3), (0, 1), (0, 1), (2, 2)]))
    assert list(zip(senders.tolist(), receivers.tolist(), strict=True)) == [(1, 0), (0, 1), (3, 1), (1, 3)]
    assert senders.dtype == receivers.dtype == np.int32


def test_nearest_neighbours_of_points_on_a_line():
    pairs = nearest_neighbours(np.array([[0.0], [1], [3], [7], [1]]), 2)
    assert pairs.tolist() == [[0, 1], [0, 4], [1, 4], [1, 0], [2, 1], [2, 4], [3, 2], [3, 1], [4, 1], [4, 0]]


@pytest.fixture(scope="module")
def digits():
    return load("digits_graph")


def test_digits_are_one_graph_in_three_splits(digits):
    graphs = [split.inputs for split in (digits.train, digits.validation, digits.test)]
    assert all(isinstance(graph, Graph) and graph.features is graphs[0].features for graph in graphs)
    assert (digits.input_shape, digits.num_outputs, graphs[0].shape) == ((64,), 10, (1797, 64))
    assert [len(split.targets) for split in (digits.train, digits.validation, digits.test)] == [1258, 180, 359]
    assert sorted(np.concatenate([graph.rows for graph in graphs])) == list(range(1797))
    degrees = np.bincount(graphs[0].receivers)
    assert degrees.min() >= 5
    assert np.all(np.diff(graphs[0].receivers) >= 0)
    np.testing.assert_allclose(graphs[0].features[graphs[0].rows].mean(dtype=float), 0, atol=1e-6)
    np.testing.assert_allclose(graphs[0].features[graphs[0].rows].std(dtype=float), 1, atol=1e-6)


def test_neighbours_mostly_show_the_same_digit(digits):
    labels = np.empty(1797, int)
    for split in (digits.train, digits.validation, digits.test):
        labels[split.inputs.rows] = split.targets
    graph = digits.train.inputs
    assert np.mean(labels[graph.senders] == labels[graph.receivers]) > 0.95


def test_the_seed_decides_the_split_alone(digits):
    other = load("digits_graph", data_seed=1)
    np.testing.assert_array_equal(other.train.inputs.senders, digits.train.inputs.senders)
    assert set(other.train.inputs.rows) != set(digits.train.inputs.rows)
    assert other.checksum != digits.checksum == load("digits_graph").checksum


def make(features, pairs, labels, train=(0,)):
    rows = tuple(np.array(part, int) for part in (train, (1,), (2,)))
    return graph_dataset("toy", np.array(features, float), np.array(pairs), np.array(labels), rows, ("a", "b"))


def test_checksum_sees_features_edges_rows_and_labels():
    base = ([[0], [1], [2], [3]], [(0, 1)], [0, 1, 0, 1])
    changed = [
        ([[0], [1], [2], [4]], *base[1:]),
        (base[0], [(0, 2)], base[2]),
        (*base[:2], [1, 1, 0, 1]),
        (*base, (3,)),
    ]
    checksums = {make(*parts).checksum for parts in (base, *changed)}
    assert len(checksums) == 5
    assert make(*base[:2], [0, 1, 0, 7]).checksum == make(*base).checksum


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"toy: label 7 in row 1 \(from 0\), expected a class from 0 to 1"):
        make([[0], [1], [2], [3]], [(0, 1)], [0, 7, 0, 1])
    with pytest.raises(ValueError, match=r"toy: inputs row 2, column 0 .* is nan"):
        make([[0], [1], [np.nan], [3]], [(0, 1)], [0, 1, 0, 1])
