"""Graph networks: the formula in NumPy, what a graph is, and the paper's counts."""

import jax
import numpy as np
import pytest
from model_of import drawn_constants, model_of
from random_graphs import random_graph

from asymjax import trees
from asymjax.models import draw_frozen
from asymjax.models.backbones import BACKBONES
from asymjax.models.backbones.gcn import BatchNorm
from asymjax.models.presets import MODEL_PRESETS
from asymjax.types import Graph

# One layer is narrower than its inputs, one is wider: nodes are added up after or before the product.
WIDTHS, NUM_FEATURES = (6, 9), 8


def network(arch, norm, activation="tanh"):
    config = model_of(arch, "gcn", widths=WIDTHS, norm=norm, activation=activation)
    model, generator = config.build((NUM_FEATURES,), 3), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, "float32"), model.params_shape)
    return model, params, drawn_constants(model)


def normalised(h, norm, layer):
    if norm == "none":
        return h
    axis, epsilon = (0, 1e-5) if norm == "batch" else (1, 1e-6)
    centred = h - h.mean(axis, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis, keepdims=True) + epsilon) * layer["scale"] + layer["bias"]


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("arch", ["standard", "sigma_asym"])
def test_forward_is_the_formula(arch, norm):
    model, params, frozen = network(arch, norm)
    graph = random_graph(20, NUM_FEATURES, num_rows=7)
    adjacency = np.zeros((20, 20))
    adjacency[graph.receivers, graph.senders] = 1
    assert not adjacency[19].any()
    mean = adjacency / np.maximum(adjacency.sum(1, keepdims=True), 1)
    h = graph.features.astype(np.float64)
    for i in range(2):
        h = (h + mean @ h) @ params[f"dense_{i}"]["kernel"] + params[f"dense_{i}"]["bias"]
        h = normalised(h, norm, params.get(f"norm_{i}"))
        h = h / (1 + np.exp(-h @ np.asarray(frozen[f"act_{i}"]["gate"]))) if frozen else np.tanh(h)
    expected = h[graph.rows] @ params["output"]["kernel"] + params["output"]["bias"]
    np.testing.assert_allclose(jax.jit(model.forward)(params, frozen, graph), expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_holds_where_the_mean_is_far_above_the_deviation():
    h = (1000 + np.random.default_rng(0).standard_normal((50, 3))).astype("float32")
    layer = {"scale": np.ones(3, "float32"), "bias": np.zeros(3, "float32")}
    expected = normalised(h.astype(np.float64), "batch", layer)
    np.testing.assert_allclose(BatchNorm().apply({"params": layer}, h), expected, atol=1e-3)


def test_half_is_a_linear_network_without_a_norm():
    model, params, _ = network("standard", "none", "half")
    graph = random_graph(20, NUM_FEATURES)
    forward = jax.jit(model.forward)
    features = [np.float32(t) * graph.features for t in (0, 1, 3)]
    outputs = [np.asarray(forward(params, {}, graph._replace(features=x))) for x in features]
    np.testing.assert_allclose(outputs[2] - outputs[0], 3 * (outputs[1] - outputs[0]), rtol=1e-3, atol=1e-3)


def test_neighbours_matter_and_the_order_of_nodes_does_not():
    model, params, _ = network("standard", "batch")
    graph = random_graph(20, NUM_FEATURES)
    forward = jax.jit(model.forward)
    outputs = forward(params, {}, graph)
    alone = graph._replace(senders=np.zeros(0, np.int32), receivers=np.zeros(0, np.int32))
    assert np.abs(forward(params, {}, alone) - outputs).max() > 0.1
    turn = np.random.default_rng(1).permutation(20)
    place = np.argsort(turn).astype(np.int32)
    order = np.argsort(place[graph.receivers], kind="stable")
    turned = Graph(graph.features[turn], place[graph.senders][order], place[graph.receivers][order], place[graph.rows])
    np.testing.assert_allclose(forward(params, {}, turned), outputs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("arch", "expected"),
    [("standard", 176_424), ("sigma_asym", 176_424), ("w_asym", 171_576), ("w_sigma_asym", 171_576)],
)
def test_parameter_counts_of_the_papers_network(arch, expected):
    model = MODEL_PRESETS["paper_gnn_arxiv"].of(arch).build((128,), 40)
    position = jax.eval_shape(lambda key: model.init(key, model.freeze(key)), jax.random.key(0))
    assert trees.num_entries(position) == expected


def test_w_sigma_asym_has_the_masks_of_one_parent_and_the_gates_of_the_other():
    def draw(arch):
        model = model_of(arch, "gcn", widths=WIDTHS, norm="batch", num_fixed=(2, 0, 0)).build((NUM_FEATURES,), 3)
        return trees.flatten(draw_frozen(model, 0))

    frozen = {arch: draw(arch) for arch in ("w_asym", "sigma_asym", "w_sigma_asym")}
    both = frozen["w_asym"] | frozen["sigma_asym"]
    assert both.keys() == frozen["w_sigma_asym"].keys()
    for path, leaf in both.items():
        np.testing.assert_array_equal(frozen["w_sigma_asym"][path], leaf)


def test_arrays_graphs_and_norms_that_do_not_fit_are_refused():
    model, params, _ = network("standard", "batch")
    with pytest.raises(ValueError, match="GCN takes a graph, but the data are an array of rows"):
        model.forward(params, {}, np.zeros((4, NUM_FEATURES), "float32"))
    mlp = model_of(widths=(4,)).build((NUM_FEATURES,), 3)
    with pytest.raises(ValueError, match="MLP takes an array of rows, but the data are a graph"):
        mlp.forward({}, {}, random_graph(9, NUM_FEATURES))
    for name in BACKBONES.keys() - {"gcn"}:
        with pytest.raises(ValueError, match="unknown norm 'batch', choose from none, layer"):
            model_of(backbone=name, norm="batch").build((8, 8, 1), 3)
    with pytest.raises(ValueError, match=r"the gcn backbone takes features \[nodes, features\], not \(1, 8, 8, 1\)"):
        model_of(backbone="gcn").build((8, 8, 1), 3)
