"""Positive scalings of units: networks of ReLU without a norm are brought to one scale, then read as units in no order.

A unit whose activation is positively homogeneous may be scaled by a > 0 on its way in and by 1 / a on its way out. Here
the weights and biases that lead into each unit get the root mean square one, and what the unit feeds is multiplied by
what that was: from the first layer to the last, so that all scales come to the output layer. What is left depends on no
scaling (Kalogeropoulos et al. 2024, arXiv 2406.10685, has layers that are equivariant to scalings instead).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from asymjax.axes import perms_of
from asymjax.errors import InputError
from asymjax.metanets.equivariant import HNP, invariant, permutes
from asymjax.metanets.linear import Features, to_features, unit_counts
from asymjax.metanets.metanet import Metanet, Read
from asymjax.symmetry.groups import changeable_units, unit_axes, whole_units
from asymjax.types import Array, Layer, Model, TreeSpec

LEAST = 1e-12
"""Root mean square of a leaf of the output layer from which on its log is told apart."""


class Scaling(NamedTuple):
    """How the units of networks may be scaled.

    Attributes
    ----------
    spec : how they are permuted, a tree for every axis of the leaves.
    layers : what each leaf does.
    writers : name -> the leaves that decide on the scale of its units, and the axes of these; in the order in which
        units are brought to scale one. They read inputs, or units that come before.
    """

    spec: TreeSpec
    layers: Mapping[str, Layer]
    writers: Mapping[str, list[tuple[str, int]]]


def scaling_of(model: Model, spec: TreeSpec) -> Scaling:
    """Return how the units of a specification may be scaled; tried by numbers.

    Raises
    ------
    InputError
        If some may not: after another activation than ReLU, before a norm, in recurrent layers, or in parts of axes.
    """
    names = set().union(*map(perms_of, spec.values()))
    used = {path: model.layers[path] for path in spec}
    plain = {name for name in names & whole_units(spec).keys() if _is_plain(spec, used, name)}
    scaling = Scaling(spec, used, _writers(spec, used, plain))
    numbers = np.random.default_rng(0)
    logs = {name: numbers.uniform(-2, 2, size) for name, size in whole_units(spec).items()}
    factors = {name: jnp.exp(jnp.asarray(log, jnp.float32)) for name, log in logs.items()}
    found = changeable_units(
        model, sorted(scaling.writers), lambda leaves, name: scale_units(leaves, scaling, {name: factors[name]})
    )
    if names - found:
        raise InputError(
            f"units {', '.join(sorted(names - found))} may not be scaled and leave the networks the function that they "
            "are; give networks of relu, without norm and without recurrence, or take hnp"
        )
    return scaling


def _is_plain(spec: TreeSpec, layers: Mapping[str, Layer], name: str) -> bool:
    """Return whether all that units are moved in reads or writes them, and no norm does."""
    return all(
        place in layers[path].in_axes + layers[path].out_axes and not layers[path].is_norm
        for path, place in unit_axes(spec, name)
    )


def _writers(spec: TreeSpec, layers: Mapping[str, Layer], names: set[str]) -> dict[str, list[tuple[str, int]]]:
    """Return the leaves that decide on scales, see :class:`Scaling`; a name that has none is left out.

    Into a residual stream writes what reads it too: later blocks do not decide.
    """
    writers: dict[str, list[tuple[str, int]]] = {}
    for layer in layers.values():
        for name in [name for name in perms_of([spec[layer.path][axis] for axis in layer.out_axes]) if name in names]:
            found = [
                (path, place)
                for path, place in unit_axes(spec, name)
                if place in layers[path].out_axes and perms_of(spec[path]).keys() <= {name, *writers}
            ]
            if name not in writers and layer.role != "bias" and found:
                writers[name] = found
    return writers


def scale_units(leaves: Mapping[str, Array], scaling: Scaling, factors: Mapping[str, Array]) -> dict[str, Array]:
    """Scale units on their way in, and by the inverse on their way out.

    Parameters
    ----------
    leaves : of one network, by path.
    scaling : how.
    factors : name -> positive numbers [units].
    """
    result = dict(leaves)
    for name, factor in factors.items():
        for path, place in unit_axes(scaling.spec, name):
            along = jnp.reshape(factor, [-1 if axis == place else 1 for axis in range(result[path].ndim)])
            is_out = place in scaling.layers[path].out_axes
            result[path] = result[path] * along if is_out else result[path] / along
    return result


def canonical(leaves: Mapping[str, Array], scaling: Scaling) -> dict[str, Array]:
    """Return the weights of the same function that any scaling of units leads to.

    What leads into a unit has the root mean square one. A unit into which nothing but zeros leads keeps its scale.
    """
    result = dict(leaves)
    for name, writers in scaling.writers.items():
        squares, count = jnp.zeros(()), 0
        for path, place in writers:
            rows = jnp.moveaxis(result[path], place, 0).reshape(result[path].shape[place], -1)
            squares, count = squares + jnp.sum(jnp.square(rows), axis=1), count + rows.shape[1]
        scale = jnp.sqrt(squares / count)
        result = scale_units(result, scaling, {name: 1 / jnp.where(scale > 0, scale, 1.0)})
    return result


def read_canonical(leaves: Mapping[str, Array], spec: TreeSpec, scaling: Scaling) -> Features:
    """Return the features of the canonical weights.

    What writes no unit, as the output layer, has the scale of all; it comes at the root mean square one, and the logs
    of what that was as channels of their own.
    """
    leaves, logs = canonical({path: leaves[path] for path in spec}, scaling), []
    for path in spec:
        layer = scaling.layers.get(path)
        if layer is None or not perms_of([spec[path][axis] for axis in layer.out_axes]):
            scale = jnp.maximum(jnp.sqrt(jnp.mean(jnp.square(leaves[path]))), LEAST)
            leaves[path] = leaves[path] / scale
            logs.append(jnp.log(scale))
    features = to_features(leaves, spec)
    return features | {(): jnp.concatenate([features[()], jnp.stack(logs)] if () in features else [jnp.stack(logs)])}


@dataclass(frozen=True)
class ScaleHNP(HNP):
    """Hidden units in no order, and of no scale: for networks of ReLU without a norm."""

    @property
    def standardised(self) -> str:
        """Nothing; the canonical weights have a scale."""
        return "none"

    def make(self, read: Read) -> Metanet:
        """Build it for networks; where they have no permutation, a perceptron on their flat weights.

        Raises
        ------
        InputError
            If units may not be scaled, or are permuted within others, or the specification does not fit the networks.
        """
        read = self.grouped(read)
        if not permutes(read.spec):
            return super().make(read)
        spec, scaling = self.spec_of(read), scaling_of(read.model, read.spec)
        sizes = unit_counts(spec)
        return invariant(
            read.shapes, sizes, lambda leaves: read_canonical(leaves, spec, scaling), self, read.output_shape
        )

    def note(self, read: Read) -> str:
        """Return what it is for those networks, in one or two sentences."""
        scales = " They are the same for all positive scalings of these." if permutes(self.grouped(read).spec) else ""
        return super().note(read) + scales
