"""Citation graphs in the files of Planetoid: ``ind.NAME.{x,y,tx,ty,allx,ally,graph,test.index}``.

Yang et al. (2016), arXiv 1603.08861. All but the last file are pickles, the sparse ones of SciPy's class as Python 2
knew it; they pass the restricted unpickler, with a stand-in for that class.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from asymjax.data.files import data_folder, existing_file
from asymjax.data.graphs import graph_dataset
from asymjax.data.pickles import load_pickle
from asymjax.data.table import read_index
from asymjax.errors import InputError
from asymjax.types import Dataset

PARTS = ("x", "y", "allx", "ally", "tx", "ty", "graph", "test.index")
NUM_VALIDATION = 500
MAX_NODES = 10_000_000


class _SparseState:
    """Takes the attributes of a pickled sparse matrix; no method of SciPy's class runs on them unchecked."""


GLOBALS: dict[str, Any] = {
    "scipy.sparse.csr.csr_matrix": _SparseState,
    "scipy.sparse._csr.csr_matrix": _SparseState,
    "collections.defaultdict": defaultdict,
    "__builtin__.list": list,
    "builtins.list": list,
}


def load(name: str, data_dir: str | Path | None, data_seed: int) -> Dataset:
    """Load ``"planetoid/NAME"`` with its public split; see :func:`asymjax.data.load`.

    The rows of ``x`` (20 a class) are the training rows, up to 500 that follow in ``allx`` the validation rows, and the
    nodes in ``test.index`` the test rows; ``data_seed`` changes nothing. Each node's features are divided by their sum,
    which is usual for these sets (Kipf and Welling 2017, arXiv 1609.02907, section 5.2), and not standardised.

    Nodes that ``graph`` knows and no file describes, as 15 of Citeseer, have features of zero. They, and nodes without
    a label (a row of zeros), are in the graph and in no split.
    """
    member, folder = name.removeprefix("planetoid/"), data_folder(name, data_dir, "planetoid")
    files = {part: existing_file(folder, f"ind.{member}.{part}") for part in PARTS}
    (train, train_labels), (first, first_labels), (test, test_labels) = (
        _read_rows(files[features], files[labels]) for features, labels in (("x", "y"), ("allx", "ally"), ("tx", "ty"))
    )
    if not (np.array_equal(first[: len(train)], train) and np.array_equal(first_labels[: len(train)], train_labels)):
        raise InputError(f"{files['x']}: expected the first rows of allx and ally, found others in x or y")
    for ours, others, part in ((test, first, "tx"), (test_labels, first_labels, "ty")):
        if ours.shape[1] != others.shape[1]:
            raise InputError(f"{files[part]}: {ours.shape[1]} columns, expected {others.shape[1]}, as many as before")
    pairs, num_nodes = _read_graph(files["graph"])
    num_nodes = max(num_nodes, len(first))
    index = read_index(files["test.index"], len(first), num_nodes)
    if len(index) != len(test):
        raise InputError(f"{files['test.index']}: {len(index)} nodes, expected {len(test)}, one for each row of tx")

    features, labels = np.zeros((num_nodes, first.shape[1])), np.zeros((num_nodes, first_labels.shape[1]))
    features[: len(first)], features[index] = first, test
    labels[: len(first)], labels[index] = first_labels, test_labels
    sums = np.abs(features).sum(axis=1, keepdims=True)
    validation = np.arange(len(train), min(len(train) + NUM_VALIDATION, len(first)))
    labelled = np.flatnonzero(labels.any(axis=1))
    train_rows, validation, test_rows = (
        part[np.isin(part, labelled)] for part in (np.arange(len(train)), validation, np.asarray(index))
    )
    rows = (train_rows, validation, test_rows)
    class_names = tuple(map(str, range(labels.shape[1])))
    return graph_dataset(name, features / np.where(sums > 0, sums, 1), pairs, labels.argmax(axis=1), rows, class_names)


def _read_rows(features_file: Path, labels_file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features [rows, features] and labels [rows, classes], rows of zeros with at most one 1."""
    features, labels = _read_matrix(features_file), _read_matrix(labels_file)
    if len(features) != len(labels):
        raise InputError(f"{labels_file}: {len(labels)} rows, expected {len(features)}, as in {features_file.name}")
    if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) <= 1).all()):
        raise InputError(f"{labels_file}: expected zeros and at most one 1 in every row")
    return features, labels


def _read_matrix(path: Path) -> np.ndarray:
    """Return a matrix of finite numbers, pickled as an array or as a sparse matrix of SciPy."""
    content = load_pickle(path, GLOBALS)
    if isinstance(content, _SparseState):
        content = _dense(path, vars(content))
    if not isinstance(content, np.ndarray) or content.ndim != 2 or content.dtype.kind not in "fiub":
        found = f"{content.dtype} {content.shape}" if isinstance(content, np.ndarray) else type(content).__name__
        raise InputError(f"{path}: holds {found}, expected a matrix of numbers")
    if not np.isfinite(content).all():
        raise InputError(f"{path}: holds a number that is not finite")
    return content


def _dense(path: Path, state: dict[str, Any]) -> np.ndarray:
    try:
        matrix = csr_array((state["data"], state["indices"], state["indptr"]), shape=state["_shape"])
        matrix.check_format(full_check=True)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: a damaged sparse matrix: {error!r}") from error
    return matrix.toarray()


def _read_graph(path: Path) -> tuple[np.ndarray, int]:
    """Return pairs of nodes int [pairs, 2], and how many nodes the graph knows."""
    graph = load_pickle(path, GLOBALS)
    if not isinstance(graph, dict) or not all(isinstance(others, list) for others in graph.values()):
        raise InputError(f"{path}: expected a dictionary from each node to the list of its neighbours")
    pairs = [(node, other) for node, others in graph.items() for other in (node, *others)]
    wrong = next((n for pair in pairs for n in pair if not isinstance(n, int) or not 0 <= n < MAX_NODES), None)
    if wrong is not None or not pairs:
        raise InputError(f"{path}: {'no nodes' if wrong is None else f'node {wrong!r}'}, expected numbers from 0 on")
    joined = np.array(pairs)
    return joined, int(joined.max()) + 1
