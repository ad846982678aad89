"""Metanetworks that see a network as its units in no order: equivariant layers, then what no permutation changes.

Layers are complete, see :mod:`asymjax.metanets.linear`. ``hnp`` has the symmetries that networks have; ``np`` takes
inputs and outputs as units in no order too, which they are not, so that its size does not depend on how many there are
(Zhou et al. 2023, arXiv 2302.14040, hidden neuron and neuron permutations).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import jax
import jax.numpy as jnp

from asymjax import rng, trees
from asymjax.axes import perms_of
from asymjax.metanets.linear import (
    GAIN,
    Features,
    invariants,
    linear,
    to_features,
    unit_counts,
    whole_spec,
)
from asymjax.metanets.metanet import Metanet, Metanetwork, Read, plain
from asymjax.metanets.statistics import flattened
from asymjax.settings import Count
from asymjax.symmetry.groups import position_spec
from asymjax.types import Array, Axis, Fixed, Key, Layer, Model, Perm, PyTree, TreeSpec

INPUTS, OUTPUTS = "network inputs", "network outputs"


@dataclass(frozen=True)
class HNP(Metanetwork):
    """Hidden units in no order: inputs and outputs are themselves."""

    num_layers: Count = 2
    """Equivariant layers."""
    channels: Count = 16
    """Features of each unit, and of each pair of units that a weight is between."""
    head_width: Count = 64
    """Hidden units of the perceptron that reads the invariants."""
    group: Literal["symmetries", "units"] = "symmetries"
    """Orders of units that are the same to it: those that leave the networks the function that they are, or all of
    hidden units, even where what is fixed in these tells them apart."""

    @property
    def reads(self) -> str:
        """Effective weights, whose axes the permutations act on."""
        return "params"

    @property
    def standardised(self) -> str:
        """Whole leaves; entries of their own would tell units apart."""
        return "leaf"

    def grouped(self, read: Read) -> Read:
        """Return what it is made for, with the permutations of its group."""
        return read if self.group == "symmetries" else read._replace(spec=position_spec(read.model, {}))

    def spec_of(self, read: Read) -> TreeSpec:
        """Return the permutations that change no prediction, a tree for every axis of every leaf."""
        return whole_spec(read.shapes, read.spec)

    def make(self, read: Read) -> Metanet:
        """Build it for networks; where they have no permutation, a perceptron on their flat weights.

        Raises
        ------
        InputError
            If units are permuted within others, or the specification does not fit the networks.
        """
        read = self.grouped(read)
        if not permutes(read.spec):
            return flat(read.shapes, self.head_width, read.output_shape)
        spec, sizes = self.spec_of(read), unit_counts(self.spec_of(read))
        return invariant(read.shapes, sizes, lambda leaves: to_features(leaves, spec), self, read.output_shape)

    def note(self, read: Read) -> str:
        """Return what it is for those networks, in one sentence."""
        read = self.grouped(read)
        if not permutes(read.spec):
            entries = trees.num_entries(read.shapes)
            return (
                "No permutation maps these networks to networks of their kind, so that a complete linear layer would "
                f"have {entries:,} x {entries:,} weights; a perceptron of {self.head_width} units reads the flat "
                "weights instead."
            )
        units = ", ".join(f"{size} {name}" for name, size in unit_counts(self.spec_of(read)).items())
        return f"Predictions are the same for all orders of {units}."


@dataclass(frozen=True)
class NP(HNP):
    """All units in no order, inputs and outputs too."""

    def spec_of(self, read: Read) -> TreeSpec:
        """Return the permutations of the networks, and of their inputs and outputs."""
        return whole_spec(read.shapes, with_ends(whole_spec(read.shapes, read.spec), read.model))


def permutes(spec: TreeSpec) -> bool:
    """Return whether a specification has a permutation."""
    return any(perms_of(axes) for axes in spec.values())


def with_ends(spec: TreeSpec, model: Model) -> TreeSpec:
    """Return a specification that also permutes the inputs and the outputs of networks.

    Inputs are what kernels sum over that is no hidden unit, where there are as many as the first kernel sums over;
    outputs are the units of the last kernels, and of their biases. Hidden units that are fixed stay fixed.
    """
    layers, read = model.layers, model.symmetries.spec
    kernels = [layer for layer in layers.values() if layer.role == "kernel"]
    first, last = kernels[0], [layer for layer in kernels if layer.is_output]
    outputs = {layer.shape[axis] for layer in last for axis in layer.out_axes}
    biases = [layer for layer in layers.values() if layer.role == "bias" and not layer.is_norm]
    ends = {(layer.path, axis): INPUTS for layer in kernels for axis in _sums_of_size(layer, first)}
    ends |= {(layer.path, axis): OUTPUTS for layer in last for axis in layer.out_axes}
    ends |= {(one.path, axis): OUTPUTS for one in biases for axis in one.out_axes if one.shape[axis] in outputs}

    def named(path: str, place: int, axis: Axis) -> Axis:
        name = ends.get((path, place))
        is_end = name is not None and isinstance(axis, Fixed) and isinstance(read[path][place], Fixed)
        return Perm(name, axis.size) if is_end and name else axis

    return {path: tuple(named(path, place, axis) for place, axis in enumerate(axes)) for path, axes in spec.items()}


def _sums_of_size(layer: Layer, like: Layer) -> list[int]:
    """Return the axes that a kernel sums over, where there are as many indices as another sums over."""
    sizes = [like.shape[axis] for axis in like.in_axes]
    return [axis for axis in layer.in_axes if layer.shape[axis] in sizes]


# Metanetworks ----------------------------------------------------------------------------------------------------


def invariant(
    shapes: PyTree,
    sizes: Mapping[str, int],
    read: Callable[[Mapping[str, Array]], Features],
    settings: HNP,
    output_shape: tuple[int, ...] = (),
) -> Metanet:
    """Return equivariant layers with ReLU between them, and a perceptron on the invariants of the last.

    Parameters
    ----------
    shapes : of the leaves of one network.
    sizes : units by name.
    read : leaves of one network by path -> features.
    settings : number and sizes of layers.
    output_shape : of what is said of one network.
    """
    like = jax.eval_shape(lambda tree: read(trees.named_leaves(tree)), shapes)
    widths = [{index: array.shape[-1] for index, array in like.items()}]
    widths += settings.num_layers * [dict.fromkeys(like, settings.channels)]
    layers = [linear(sizes, *ends) for ends in pairwise(widths)]

    def embed(params: PyTree, network: PyTree) -> Array:
        features = read(trees.named_leaves(network))
        for matrices, layer in zip(params["layers"], layers, strict=True):
            features = {index: jax.nn.relu(array) for index, array in layer.apply(matrices, features).items()}
        return invariants(features)

    def init(key: Key) -> PyTree:
        keys = rng.member_keys(rng.named_key(key, "layers"), len(layers))
        matrices = [layer.init(one) for layer, one in zip(layers, keys, strict=True)]
        num_invariants = jax.eval_shape(embed, {"layers": matrices}, shapes).shape[0]
        return {"layers": matrices, "head": init_head(key, num_invariants, settings.head_width, output_shape)}

    def apply(params: PyTree, networks: PyTree) -> Array:
        return head(params["head"], jax.vmap(lambda network: embed(params, network))(networks), output_shape)

    return plain(init, apply)


def flat(shapes: PyTree, width: int, output_shape: tuple[int, ...] = ()) -> Metanet:
    """Return a perceptron on the flat weights of networks, which may tell any two apart."""

    def apply(params: PyTree, networks: PyTree) -> Array:
        return head(params["head"], flattened(networks), output_shape)

    return plain(lambda key: {"head": init_head(key, trees.num_entries(shapes), width, output_shape)}, apply)


def init_head(key: Key, num_inputs: int, width: int, output_shape: tuple[int, ...] = ()) -> PyTree:
    """Return a perceptron of one hidden layer; inputs of order one lead to outputs of order one."""
    hidden, output = jax.random.split(rng.named_key(key, "head"))
    num_outputs = math.prod(output_shape)
    return {
        "hidden": {
            "kernel": rng.normal(hidden, (num_inputs, width)) * (GAIN * num_inputs**-0.5),
            "bias": jnp.zeros(width),
        },
        "output": {
            "kernel": rng.normal(output, (width, num_outputs)) * width**-0.5,
            "bias": jnp.zeros(num_outputs),
        },
    }


def head(params: PyTree, inputs: Array, output_shape: tuple[int, ...] = ()) -> Array:
    """Return the outputs of a perceptron [network, *output_shape] for inputs [network, inputs]."""
    hidden = jax.nn.relu(_dense(params["hidden"], inputs))
    return _dense(params["output"], hidden).reshape(len(inputs), *output_shape)


def _dense(params: PyTree, inputs: Array) -> Array:
    return inputs @ params["kernel"] + params["bias"][None]
