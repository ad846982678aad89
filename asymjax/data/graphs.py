"""Graph datasets: one set of nodes and edges, and the nodes of each split; and one that comes with scikit-learn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asymjax import trees
from asymjax.data.assemble import checked_rows, moments, random_rows, standardised
from asymjax.types import Dataset, Graph, Split

NUM_NEIGHBOURS = 5


def load(name: str, data_dir: str | Path | None, data_seed: int) -> Dataset:
    """Load ``"digits_graph"``; see :func:`asymjax.data.load`.

    The nodes are the 1,797 digits of scikit-learn with their 64 pixels, the edges join each with its
    ``NUM_NEIGHBOURS`` nearest ones in Euclidean distance, in both directions. The split is transductive: all nodes and
    edges are there in training, the labels of 70 % of them, chosen by ``data_seed``.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels, (train, validation, test) = digits.target, random_rows(name, len(digits.target), data_seed)
    mean, scale = moments(digits.images[train][..., None])
    features = standardised(digits.data, mean, scale)
    class_names = tuple(map(str, digits.target_names))
    return graph_dataset(
        name, features, nearest_neighbours(digits.data, NUM_NEIGHBOURS), labels, (train, validation, test), class_names
    )


def nearest_neighbours(points: np.ndarray, count: int) -> np.ndarray:
    """Return pairs int [points * count, 2] of each point and its nearest others; of equally near ones, the first.

    Parameters
    ----------
    points : [points, coordinates]; distances of whole numbers are exact.
    count : neighbours of each point.
    """
    points = points.astype(np.float64)
    squares = np.sum(points**2, axis=1)
    distances = squares[:, None] - 2 * points @ points.T + squares[None]
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return np.stack([np.repeat(np.arange(len(points)), count), nearest.ravel()], axis=1)


def edges_of(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return senders and receivers, int32 [edges], of pairs of nodes int [pairs, 2].

    Each pair of two nodes becomes an edge in both directions, once, however often and in whatever order it is given;
    self loops are left out. Edges are sorted by receiver, then by sender.
    """
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    receivers, senders = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0).T
    return senders.astype(np.int32), receivers.astype(np.int32)


def graph_dataset(
    name: str,
    features: np.ndarray,
    pairs: np.ndarray,
    labels: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    class_names: Sequence[str],
) -> Dataset:
    """Return the dataset of a graph; its splits share features and edges.

    Parameters
    ----------
    name : the dataset's name.
    features : real [nodes, features], used as they are.
    pairs : int [pairs, 2] of nodes that are joined, see :func:`edges_of`.
    labels : int [nodes] class indices; those of nodes that are in no split are not read.
    rows : int [rows] the nodes of training, validation and test split.
    class_names : one name a class.

    Raises
    ------
    InputError
        For no nodes, a feature that float32 cannot hold, or a label out of range.
    """
    used = np.concatenate(rows)
    checked_rows(name, features, np.isin(np.arange(len(features)), used) * labels, len(class_names))
    senders, receivers = edges_of(pairs)
    shared = Graph(features.astype(np.float32), senders, receivers, rows=np.zeros(0, np.int32))
    graphs = [shared._replace(rows=part.astype(np.int32)) for part in rows]
    parts = [Split(graph, labels[graph.rows].astype(np.int32)) for graph in graphs]
    splits = dict(zip(("train", "validation", "test"), parts, strict=True))
    content = {
        part: {"rows": graph.rows, "targets": splits[part].targets} for part, graph in zip(splits, graphs, strict=True)
    }
    return Dataset(
        name=name,
        task="classification",
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        num_outputs=len(class_names),
        class_names=tuple(class_names),
        target_mean=np.zeros(len(class_names)),
        target_scale=np.ones(len(class_names)),
        checksum=trees.checksum({"graph": shared._asdict(), **content}),
    )
