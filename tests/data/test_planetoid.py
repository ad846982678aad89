"""Citation graphs in the files of Planetoid, as Python 2 and as today's SciPy write them."""

import pickle
from collections import defaultdict

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from asymjax.data import load

RNG = np.random.default_rng(0)
NUM_FEATURES, NUM_CLASSES = 5, 3
COUNTS = {"x": 3, "allx": 8, "tx": 4}
FEATURES = {part: RNG.integers(0, 3, (count, NUM_FEATURES)).astype("float32") for part, count in COUNTS.items()}
FEATURES["x"] = FEATURES["allx"][:3]
LABELS = {"ally": np.eye(NUM_CLASSES, dtype="int32")[[0, 1, 2, 0, 1, 2, 0, 1]]}
LABELS |= {"y": LABELS["ally"][:3], "ty": np.eye(NUM_CLASSES, dtype="int32")[[2, 1, 0, 1]]}
INDEX = [11, 8, 10, 9]


def python_2(content):
    """Pickle as Python 2 did, naming the modules of its time."""
    stored = pickle.dumps(content, protocol=2)
    for new, old in (
        (b"cscipy.sparse._csr\ncsr_matrix\n", b"cscipy.sparse.csr\ncsr_matrix\n"),
        (b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"),
    ):
        stored = stored.replace(new, old)
    return stored


def graph_of(num_nodes):
    graph = defaultdict(list)
    for node in range(num_nodes):
        graph[node] += [(node + 1) % num_nodes, node]
    graph[0] += [1, 5]
    return graph


def write(folder, index=INDEX, num_nodes=12, dump=python_2, **parts):
    """Write the eight files; ``parts`` are others in their place."""
    contents = {part: csr_matrix(rows) for part, rows in FEATURES.items()} | LABELS | {"graph": graph_of(num_nodes)}
    for part, content in (contents | parts).items():
        (folder / f"ind.toy.{part}").write_bytes(dump(content))
    (folder / "ind.toy.test.index").write_text("".join(f"{node}\n" for node in index))
    return folder


@pytest.mark.parametrize("dump", [python_2, pickle.dumps])
def test_nodes_edges_and_splits_are_those_of_the_files(tmp_path, dump):
    dataset = load("planetoid/toy", write(tmp_path, dump=dump), data_seed=3)
    assert (dataset.task, dataset.input_shape, dataset.num_outputs) == ("classification", (5,), 3)
    graph = dataset.train.inputs
    expected = np.concatenate([FEATURES["allx"], FEATURES["tx"][np.argsort(INDEX)]])
    sums = expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(graph.features, expected / np.where(sums > 0, sums, 1), rtol=1e-6)
    rows = [split.inputs.rows.tolist() for split in (dataset.train, dataset.validation, dataset.test)]
    assert rows == [[0, 1, 2], [3, 4, 5, 6, 7], INDEX]
    assert dataset.train.targets.tolist() == [0, 1, 2]
    assert dataset.test.targets.tolist() == [2, 1, 0, 1]
    edges = set(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True))
    ring = {frozenset((node, (node + 1) % 12)) for node in range(12)} | {frozenset((0, 5))}
    assert edges == {pair for a, b in map(tuple, ring) for pair in ((a, b), (b, a))}
    assert len(graph.senders) == 2 * len(ring)
    assert load("planetoid/toy", tmp_path).checksum == dataset.checksum


def test_nodes_that_no_file_describes_are_in_the_graph_and_in_no_split(tmp_path):
    labels = LABELS["ty"].copy()
    labels[2] = 0
    dataset = load("planetoid/toy", write(tmp_path, index=[14, 8, 12, 9], num_nodes=16, ty=labels))
    graph = dataset.test.inputs
    assert graph.features.shape == (16, 5)
    assert graph.rows.tolist() == [14, 8, 9]
    assert dataset.test.targets.tolist() == [2, 1, 1]
    assert not graph.features[[10, 11, 13, 15]].any()
    np.testing.assert_allclose(graph.features[12].sum(), 1, rtol=1e-6)
    assert {10, 11, 13, 15} <= set(graph.senders.tolist())


def raised(folder, **changes):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load("planetoid/toy", write(folder, **changes))
    return str(caught.value)


def broken_matrix(**attributes):
    matrix = csr_matrix(FEATURES["tx"])
    for name, value in attributes.items():
        setattr(matrix, name, value)
    return matrix


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("tx", [1, 2], "holds list, expected a matrix of numbers"),
        ("allx", np.ones(3), r"holds float64 \(3,\), expected a matrix"),
        ("tx", np.full((4, 5), np.nan), "holds a number that is not finite"),
        ("tx", broken_matrix(indices=np.full(99, 7)), "a damaged sparse matrix"),
        ("tx", broken_matrix(indptr=np.zeros(2, int)), "a damaged sparse matrix"),
        ("tx", csr_matrix(np.ones((4, 6))), "6 columns, expected 5, as many as before"),
        ("ty", np.eye(4, dtype=int), "4 columns, expected 3"),
        ("ty", np.eye(3, dtype=int), "3 rows, expected 4, as in ind.toy.tx"),
        ("ty", np.full((4, 3), 1), "expected zeros and at most one 1 in every row"),
        ("graph", [[1], [0]], "expected a dictionary from each node to the list of its neighbours"),
        ("graph", {0: 1}, "expected a dictionary from each node to the list"),
        ("graph", {0: [1.5]}, "node 1.5, expected numbers from 0 on"),
        ("graph", {0: [-1]}, "node -1, expected numbers from 0 on"),
        ("graph", {}, "no nodes, expected numbers from 0 on"),
    ],
)
def test_content_that_is_refused(tmp_path, part, content, message):
    found = raised(tmp_path, **{part: content})
    assert f"ind.toy.{part}: " in found
    with pytest.raises(ValueError, match=message):
        load("planetoid/toy", tmp_path)


def test_training_rows_are_the_first_of_all(tmp_path):
    assert "ind.toy.x: expected the first rows of allx and ally" in raised(tmp_path, x=csr_matrix(FEATURES["x"] + 1))
    assert "ind.toy.x: expected the first rows of allx and ally" in raised(tmp_path, y=LABELS["y"][::-1])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([8, 9, 10, 3], r"test\.index: index 3, expected a whole number from 8 to 11"),
        ([8, 9, 10, 12], "index 12, expected a whole number from 8 to 11"),
        ([8, 9, 10, 9], "index 9 appears more than once"),
        ([8, 9, 10], "3 nodes, expected 4, one for each row of tx"),
    ],
)
def test_index_that_is_refused(tmp_path, index, message):
    write(tmp_path, index=index)
    with pytest.raises(ValueError, match=message):
        load("planetoid/toy", tmp_path)


@pytest.mark.parametrize("part", ["x", "y", "allx", "ally", "tx", "ty", "graph"])
def test_files_cut_short_are_refused_by_name(tmp_path, part):
    path = write(tmp_path) / f"ind.toy.{part}"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=rf"ind\.toy\.{part}: this pickle is refused or damaged"):
        load("planetoid/toy", tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"there is no file ind\.toy\.{part} in .* holds: ind\.toy"):
        load("planetoid/toy", tmp_path)


def test_other_globals_are_refused(tmp_path):
    found = raised(tmp_path, graph=np.random.RandomState(0))
    assert "ind.toy.graph: this pickle is refused or damaged: it asks for numpy.random" in found
