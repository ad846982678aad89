"""The types that every room shares: NamedTuples of arrays and of pure functions.

Two trees make a network. ``position`` holds the trainable leaves and nothing else; ``frozen`` holds what the
symmetry-breaking method fixed. ``params`` are the effective weights that a backbone reads, formed by ``Model.merge``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

Key = jax.Array
Array = jax.Array
PyTree = Any
Position = dict[str, Any]
Params = dict[str, Any]
Frozen = dict[str, Any]
Hyper = dict[str, Any]  # Settings that a network has of its own: name -> [], maybe traced; [network] for several.


class Graph(NamedTuple):
    """A graph, and the nodes whose outputs are asked for; what graph networks take in place of an array of inputs.

    Attributes
    ----------
    features : float32 [nodes, features].
    senders, receivers : int32 [edges]; each edge in both directions, once, no self loops; receivers ascend.
    rows : int32 [rows] the nodes whose outputs are asked for, in that order.
    """

    features: np.ndarray | Array
    senders: np.ndarray | Array
    receivers: np.ndarray | Array
    rows: np.ndarray | Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features; as with arrays, all but the first axis is the shape of one input."""
        return tuple(self.features.shape)


class Split(NamedTuple):
    """Rows of a dataset.

    Attributes
    ----------
    inputs : float32 [rows, *input_shape], standardised with the training rows; or a graph with as many rows.
    targets : int32 [rows] class indices, or float32 [rows, num_outputs] standardised with the training rows.
    """

    inputs: np.ndarray | Array | Graph
    targets: np.ndarray | Array

    def take(self, index: "slice | np.ndarray | Array") -> "Split":
        """Return the rows of an index; a graph keeps its nodes and edges."""
        if isinstance(self.inputs, Graph):
            return Split(self.inputs._replace(rows=self.inputs.rows[index]), self.targets[index])
        return Split(jax.tree.map(lambda leaf: leaf[index], self.inputs), self.targets[index])


class Dataset(NamedTuple):
    """A dataset in three splits.

    Attributes
    ----------
    name : the name that ``asymjax.data.load`` was given.
    task : ``"classification"`` or ``"regression"``.
    train, validation, test : the splits; ``validation`` may have no rows. Splits of a graph share nodes and edges.
    num_outputs : number of classes, or of regression targets.
    class_names : one name a class; empty for regression.
    target_mean, target_scale : float64 [num_outputs]; raw target = standardised * scale + mean (0 and 1 for classes).
    input_mean, input_scale : float64 [features], or [channels] of images; likewise. 0 and 1 for graphs.
    checksum : hexadecimal digest over all splits, dtypes and shapes included.
    """

    name: str
    task: str
    train: Split
    validation: Split
    test: Split
    num_outputs: int
    class_names: tuple[str, ...]
    target_mean: np.ndarray
    target_scale: np.ndarray
    checksum: str
    input_mean: np.ndarray | float = 0.0
    input_scale: np.ndarray | float = 1.0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the row axis."""
        return tuple(self.train.inputs.shape[1:])


@dataclass(frozen=True)
class Perm:
    """Units that a permutation acts on.

    Attributes
    ----------
    name : name of the permutation.
    size : number of units.
    within : names of the axes whose every index has a permutation of its own, outermost first: the dimensions of each
        head. An element of the group holds int [*sizes of within, size]; one of shape [size] is the same everywhere.
    """

    name: str
    size: int
    within: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fixed:
    """Indices that stay where they are; named where permutations are within them, as units within scanned layers."""

    size: int
    name: str | None = None


@dataclass(frozen=True)
class Product:
    """An axis that several axes were flattened to, the last fastest: heads x dimensions."""

    parts: "tuple[Axis, ...]"

    @property
    def size(self) -> int:
        """Number of indices."""
        return math.prod(part.size for part in self.parts)


@dataclass(frozen=True)
class Sum:
    """An axis of several parts, one after the other: the gates of a cell."""

    parts: "tuple[Axis, ...]"

    @property
    def size(self) -> int:
        """Number of indices."""
        return sum(part.size for part in self.parts)


Axis = Perm | Fixed | Product | Sum
# Parameter path -> one tree for every axis.
TreeSpec = Mapping[str, tuple[Axis, ...]]

# Parameter path -> for every axis the name of the unit permutation that acts on it, or None; and activation site -> the
# name of the permutation of its features.
FlatSpec = Mapping[str, tuple[str | None, ...]]

# The same, with a tree where parts of an axis are permuted, or units within others.
PermutationSpec = Mapping[str, tuple[str | None, ...]] | Mapping[str, tuple[str | Axis | None, ...]]

# Layer (the path of its parameters) -> the norm, or the activation site, that its output is the input of; where several
# layers name the same, it is their sum. Layers that feed neither, as the last one, are left out.
Feeds = Mapping[str, str]


class Layer(NamedTuple):
    """What a leaf of the parameters does where it first meets data.

    Attributes
    ----------
    path : keys of the leaf in its tree, joined by ``"/"``.
    shape : shape of the leaf.
    in_axes : axes that are summed over.
    out_axes : axes of the units that it makes, shifts or scales.
    batch_axes : axes each index of which is a layer of its own: scanned layers, experts, the words of an embedding.
    window_axes : axes of the window of a convolution.
    role : ``"kernel"``, ``"bias"``, ``"scale"`` or ``"embedding"``; None where it has no single one.
    is_output : whether it is a kernel whose units are outputs of the network.
    is_norm : whether it is a scale, or a bias beside one.
    """

    path: str
    shape: tuple[int, ...]
    in_axes: tuple[int, ...] = ()
    out_axes: tuple[int, ...] = ()
    batch_axes: tuple[int, ...] = ()
    window_axes: tuple[int, ...] = ()
    role: str | None = None
    is_output: bool = False
    is_norm: bool = False

    @property
    def fan_in(self) -> int:
        """Number of products that are added up in one output of one unit; 1 where nothing is summed over."""
        return math.prod(self.shape[axis] for axis in self.window_axes + self.in_axes)

    @property
    def fan_out(self) -> int:
        """Number of units that it makes, shifts or scales."""
        return math.prod(self.shape[axis] for axis in self.out_axes)

    @property
    def num_units(self) -> int:
        """Number of units, those of one index of the batch axes."""
        return math.prod(self.shape[axis] for axis in self.out_axes)

    @property
    def num_layers(self) -> int:
        """Number of layers that it holds, the indices of the batch axes."""
        return math.prod(self.shape[axis] for axis in self.batch_axes)


class Symmetries(NamedTuple):
    """A network as read from its jaxpr.

    ``dead``, ``loose`` and ``joint_error`` come from the check, and are empty and NaN without it.

    Attributes
    ----------
    layers : path -> what the leaf does, for every leaf, in the order in which they are met.
    spec : path -> one tree for every axis, see :class:`~asymjax.types.Perm`.
    unknown : names of operations that were not understood, sorted: no permutation goes through them.
    several_roles : paths of leaves with several roles, as a tied embedding; ``layers`` holds the first.
    dead : paths of leaves that the outputs do not depend on: unused ones, and the key bias of attention.
    loose : path -> names of the permutations that may act on this leaf alone and leave the outputs as they are.
    joint_error : largest change of the outputs under all permutations at once, relative to their spread.
    """

    layers: Mapping[str, Layer]
    spec: TreeSpec
    unknown: tuple[str, ...] = ()
    several_roles: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    loose: Mapping[str, tuple[str, ...]] = {}
    joint_error: float = math.nan


class Model(NamedTuple):
    """A network as pure functions over (``position``, ``frozen``).

    Attributes
    ----------
    init : (key, frozen) -> position; one network's trainable leaves.
    freeze : (mask_key, fixed_scale=1.0) -> frozen; ``fixed_scale`` multiplies the configured scales and may be traced.
    merge : (position, frozen) -> params; the only place where effective weights are formed. Affine in ``position``.
    split : (params, frozen) -> position; the inverse of ``merge`` on its image.
    forward : (params, frozen, x [rows, *input_shape], or a ``Graph`` for graph networks, or a tuple or tree of inputs)
        -> outputs [rows, num_outputs]; also for params off the image.
    apply : (position, frozen, x) -> outputs; ``forward`` of ``merge``.
    site_inputs : (params, frozen, x) -> activation site -> what enters it [rows, ..., features], of a graph at all
        nodes. InputError for a backbone whose activations stand in a scan (rnn).
    layer_inputs : (params, frozen, x) -> kernel -> what enters it [rows, ..., features], for dense layers of Linen
        networks alone (none of convolutions). InputError as of ``site_inputs``.
    free_mask : (frozen) -> boolean tree like params, True where the entry is a coordinate of ``position``;
        None when effective entries are not coordinates (syre), so that optimizers must work on ``position``.
    params_shape : tree of ``jax.ShapeDtypeStruct``, the effective parameters.
    permutation_spec : parameter path -> for every axis the name of the unit permutation acting on it, or None, or the
        tree of what acts on it (heads x dimensions); activation site -> the same of its features.
    feeds : layer -> the norm or activation site that it feeds; known of own backbones.
    example : inputs [rows, ...], arrays or ``jax.ShapeDtypeStruct``: what the network takes.
    symmetries : what was read of the network.
    """

    init: Callable[..., Position]
    freeze: Callable[..., Frozen]
    merge: Callable[[Position, Frozen], Params]
    split: Callable[[Params, Frozen], Position]
    forward: Callable[[Params, Frozen, Any], Array]
    apply: Callable[[Position, Frozen, Any], Array]
    site_inputs: Callable[[Params, Frozen, Any], dict[str, Array]]
    layer_inputs: Callable[[Params, Frozen, Any], dict[str, Array]]
    free_mask: Callable[[Frozen], Params] | None
    params_shape: Params
    permutation_spec: PermutationSpec
    feeds: Feeds
    symmetries: Symmetries
    example: Any

    @property
    def layers(self) -> Mapping[str, Layer]:
        """Parameter path -> what it does, in the order of the forward pass."""
        return self.symmetries.layers


class Info(NamedTuple):
    """What one step of a sampler tells, float32 [] unless said.

    Attributes
    ----------
    acceptance_rate : Metropolis acceptance probability in [0, 1]; NaN where the sampler has none.
    is_divergent : bool []; the step was undone, or its energy error is beyond what integration makes.
    num_grad_evals : gradients spent, in gradients over all data: a minibatch counts as its share.
    energy_change : energy error of the step of an unadjusted sampler, in nats; NaN where the sampler has none.
    """

    acceptance_rate: Array
    is_divergent: Array
    num_grad_evals: Array
    energy_change: Array


class Sampler(NamedTuple):
    """A Markov kernel over positions; what is kept of its steps is the business of whoever drives it.

    Attributes
    ----------
    init : (key, position) -> state, with a ``position``, and its ``logdensity`` where the kernel knows it.
    step : (key, state) -> (state, info).
    """

    init: Callable[[Key, Position], Any]
    step: Callable[[Key, Any], tuple[Any, Info]]


class Approximation(NamedTuple):
    """A density that steps fit to the target, and that is then sampled: no sampler of the target itself.

    Attributes
    ----------
    init : (key, position) -> state of the fit.
    step : (key, state) -> (state, info).
    sample : (key, what was fitted) -> position; draws are independent.
    """

    init: Callable[[Key, Position], Any]
    step: Callable[[Key, Any], tuple[Any, Info]]
    sample: Callable[[Key, Any], Position]
