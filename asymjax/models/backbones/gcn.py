"""Graph network: mean over neighbours before each hidden layer of linear map, optional norm and activation; linear.

The network of Lim et al. (2024), arXiv 2405.20231, for ogbn-arxiv. Aggregation has no weights:

    h_i <- h_i + mean over edges (j, i) of h_j          (h_i alone where no edge ends)

With ``norm="batch"`` each feature is normalised over all nodes with mean and variance of the network at hand. In
full-batch training without dropout these are the numbers that running averages settle to when statistics are estimated
again for given weights (up to the n / (n - 1) of an unbiased variance), so the network needs no state, and every point
on a path between networks has statistics of its own, by construction.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from asymjax.errors import InputError
from asymjax.models.backbones.backbone import ActivationHook, bias_init, kernel_init
from asymjax.models.backbones.mlp import MLP
from asymjax.types import Array, Graph

BATCH_NORM_EPSILON = 1e-5


def aggregate(h: Array, graph: Graph) -> Array:
    """Return each node's features plus the mean of its neighbours' [nodes, features].

    On CPU, with Cora's edges and 64 or 256 features, a product with a sparse matrix of JAX costs the same. Tables of
    eight neighbours a row, with a gradient of their own, took a third less, but have to be made with the data.
    """
    degree = jnp.zeros(len(h), h.dtype).at[graph.receivers].add(1.0)
    total = jax.ops.segment_sum(h[graph.senders], graph.receivers, len(h), indices_are_sorted=True)
    return h + total / jnp.maximum(degree, 1.0)[:, None]


class AggregateDense(nn.Module):
    """``nn.Dense`` of aggregated features, with the same parameters.

    Attributes
    ----------
    features : features of the result.
    """

    features: int

    @nn.compact
    def __call__(self, h: Array, graph: Graph) -> Array:
        """Map h [nodes, inputs] to [nodes, self.features]."""
        kernel = self.param("kernel", kernel_init, (h.shape[-1], self.features))
        bias = self.param("bias", bias_init(h.shape[-1]), (self.features,))
        # Both maps are linear and commute, so nodes are added up where they have fewer features.
        if h.shape[-1] > self.features:
            return aggregate(h @ kernel, graph) + bias[None]
        return aggregate(h, graph) @ kernel + bias[None]


# Nothing keeps the mean of a feature over nodes near zero. Where it is 12 times the deviation, the mean of squares less
# the square of the mean has lost a factor of 150 in precision, so the variance is taken of what is centred.
BatchNorm = partial(nn.LayerNorm, BATCH_NORM_EPSILON, reduction_axes=0, feature_axes=-1, use_fast_variance=False)


class GCNModule(nn.Module):
    """Graph network.

    Attributes
    ----------
    widths : units of each hidden layer.
    num_outputs : outputs of the last layer, which does not aggregate.
    norm : ``"none"``, ``"layer"`` (over the units of a node) or ``"batch"`` (over all nodes), before each activation.
    activation : hook called at the sites ``act_0``, ``act_1``, ...
    """

    widths: tuple[int, ...]
    num_outputs: int
    norm: str
    activation: ActivationHook

    @nn.compact
    def __call__(self, graph: Graph) -> Array:
        """Return outputs [rows, num_outputs] at the rows of a graph."""
        if len(graph.shape) != 2:
            raise InputError(f"the gcn backbone takes features [nodes, features], not {graph.shape}")
        h = jnp.asarray(graph.features)
        for i, width in enumerate(self.widths):
            h = AggregateDense(width, name=f"dense_{i}")(h, graph)
            if self.norm == "layer":
                h = nn.LayerNorm(name=f"norm_{i}")(h)
            elif self.norm == "batch":
                h = BatchNorm(name=f"norm_{i}")(h)
            h = self.activation(f"act_{i}", h, -1)
        h = h[graph.rows]
        return nn.Dense(self.num_outputs, kernel_init=kernel_init, bias_init=bias_init(h.shape[-1]), name="output")(h)


# Units, their norms and their order are those of an mlp of the same widths: aggregation acts on nodes alone.
@dataclass(frozen=True)
class GCN(MLP):
    """Graph network."""

    norm: Literal["none", "layer", "batch"] = field(default="layer", kw_only=True)  # type: ignore[assignment]
    """Normalisation before each activation: none, layer, or batch (over all nodes)."""

    def module(self, num_outputs: int, activation: ActivationHook) -> nn.Module:
        """Build the module."""
        return GCNModule(self.widths, num_outputs, self.norm, activation)

    def example(self, input_shape: tuple[int, ...]) -> Graph:
        """Return one node without edges."""
        none = jnp.zeros(0, jnp.int32)
        return Graph(jnp.zeros((1, *input_shape)), none, none, jnp.zeros(1, jnp.int32))
