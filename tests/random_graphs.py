"""Random graphs as inputs of networks in tests."""

import numpy as np

from asymjax.data.graphs import edges_of
from asymjax.types import Graph


def random_graph(num_nodes, num_features, num_rows=None, seed=0):
    """A graph with about three edges a node and none at the last node, asked for its last nodes in reverse."""
    generator = np.random.default_rng(seed)
    pairs = generator.integers(0, num_nodes - 1, (3 * num_nodes, 2))
    features = generator.standard_normal((num_nodes, num_features), "float32")
    rows = np.arange(num_nodes, dtype=np.int32)[::-1][:num_rows]
    return Graph(features, *edges_of(pairs), rows)
