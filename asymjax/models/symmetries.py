"""Which parameter symmetries the function x -> outputs has, counted from what is really fixed.

A symmetry of the plain network remains if it maps all weights with these fixed entries to weights with the same fixed
entries, and commutes with the gates. Seven families are counted, each on its own (``FAMILIES``); not counted are
products of a permutation with a scaling, what single parameter points or a data set add, what kernels that cover a
whole image add, and, where the activation is linear, all but the diagonal part of the general linear groups.

Sources: Lim et al. (2024), arXiv 2405.20231, section 2 and theorem 1, for permutations and scalings without a norm. The
rest follows from a norm undoing every common shift and scale of its inputs (up to its epsilon), and from sums. A norm
over nodes (``norm="batch"``) undoes a shift and a scale of each unit on its own.
"""

import math
from collections import Counter, defaultdict
from typing import NamedTuple

import jax
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from asymjax import trees
from asymjax.axes import flat
from asymjax.types import Feeds, FlatSpec, Frozen, Model

POSITIVELY_HOMOGENEOUS = frozenset({"relu", "identity", "half"})
ODD = frozenset({"tanh", "identity", "half"})

FAMILIES: dict[str, str] = {
    "permutations": "log of the order of the group that swaps of two units of a layer generate",
    "unit_rescalings": "units scaled by a > 0 on their way in and by 1/a on their way out",
    "layer_rescalings": "inputs that a norm scales together scaled by a > 0, alone or along with units before it",
    "unit_sign_flips": "units negated on their way in and on their way out",
    "layer_sign_flips": "inputs that a norm scales together and its scale negated, alone or along with units before it",
    "row_shifts": "inputs whose weights to all units of a layer shift together, since a LayerNorm follows",
    "bias_shifts": "shifts of biases that a norm undoes, or another bias that is added to them",
}
"""What is counted: dimensions of rescalings and shifts, factors of two of sign flips."""

# Where (name of a unit permutation, kernel path, norm or activation site) -> amount.
Counts = dict[str, float]


class Structure(NamedTuple):
    """What decides on symmetries, on the host.

    Attributes
    ----------
    activation : name of the activation.
    spec : see ``Model.permutation_spec``.
    feeds : see ``Model.feeds``.
    fixed : kernel path -> fixed values, kernel shape, NaN where an entry is free.
    biases : path of a bias that is fixed -> its values [units].
    gates : activation site -> gate [width, width] in place of the activation, indexed (input, output).
    norm : see ``Backbone.norm``.
    """

    activation: str
    spec: FlatSpec
    feeds: Feeds
    fixed: dict[str, np.ndarray]
    biases: dict[str, np.ndarray]
    gates: dict[str, np.ndarray]
    norm: str = "layer"

    def is_norm(self, layer: str) -> bool:
        """Return whether a layer, as named in ``feeds``, is a norm."""
        return f"{layer}/scale" in self.spec

    def fed_by(self, path: str) -> str:
        """Return the norm or activation site that a kernel or bias feeds, empty where it feeds neither."""
        return self.feeds.get(path.rpartition("/")[0], "")

    def has_layer_norm(self, path: str) -> bool:
        """Return whether a norm over units alone follows this dense kernel; after a convolution it has pixels too."""
        return self.norm == "layer" and self.is_norm(self.fed_by(path)) and len(self.spec[path]) == 2

    def has_node_norm(self, path: str) -> bool:
        """Return whether a norm of each unit over the nodes follows, to which biases are as nothing."""
        return self.norm == "batch" and self.is_norm(self.fed_by(path))

    def num_groups(self, path: str) -> int:
        """Return how many groups of units the norm after a kernel normalises, each on its own."""
        return self.fixed[path].shape[-1] if self.norm == "batch" else 1


def structure_of(model: Model, frozen: Frozen, activation: str, norm: str = "layer") -> Structure:
    """Gather what decides on symmetries; where entries are no coordinates (syre), nothing of them is fixed."""
    zero = {path: np.zeros(param.shape, np.float32) for path, param in trees.flatten(model.params_shape).items()}
    fixed = {path: np.full(array.shape, np.nan) for path, array in zero.items() if path.endswith("/kernel")}
    biases = {}
    if model.free_mask is not None:
        merge_split = jax.jit(lambda params, frozen: model.merge(model.split(params, frozen), frozen))
        values = trees.flatten(trees.to_host(merge_split(trees.unflatten(zero), frozen)))
        is_free = trees.flatten(trees.to_host(jax.jit(model.free_mask)(frozen)))
        # Adding zero turns -0 into 0.
        fixed = {path: np.where(is_free[path], np.nan, values[path] + 0.0) for path in fixed}
        biases = {path: values[path] for path in values if path not in fixed and not is_free[path].any()}
    constants = trees.flatten(frozen)
    gates = {path.removesuffix("/gate"): np.asarray(constants[path]) for path in constants if path.endswith("/gate")}
    return Structure(activation, flat(model.permutation_spec), model.feeds, fixed, biases, gates, norm)


def unbroken(structure: Structure) -> Structure:
    """Return the structure of the same network with nothing fixed and no gates."""
    free = {path: np.full_like(values, np.nan) for path, values in structure.fixed.items()}
    return structure._replace(fixed=free, biases={}, gates={})


def count_symmetries(structure: Structure) -> dict[str, Counts]:
    """Count every family of ``FAMILIES``, broken down by place."""
    fixed = structure.fixed
    unit_rescalings, layer_rescalings = _scalings(structure, structure.activation in POSITIVELY_HOMOGENEOUS)
    unit_sign_flips, layer_sign_flips = _scalings(structure, structure.activation in ODD)
    return {
        "permutations": _permutations(structure),
        "unit_rescalings": unit_rescalings,
        "layer_rescalings": layer_rescalings,
        "unit_sign_flips": unit_sign_flips,
        "layer_sign_flips": layer_sign_flips,
        "row_shifts": {
            path: int(np.isnan(values).all(axis=1).sum())
            for path, values in fixed.items()
            if structure.has_layer_norm(path)
        },
        "bias_shifts": _bias_shifts(structure),
    }


def _bias_shifts(structure: Structure) -> Counts:
    """Count shifts of biases: a norm undoes one for each group of units; of biases in a sum all but one can be any."""
    widths: dict[str | None, int] = {}
    undone: defaultdict[str, int] = defaultdict(int)
    for path, values in structure.fixed.items():
        widths |= zip(structure.spec[path], values.shape, strict=True)
        if structure.is_norm(place := structure.fed_by(path)):
            undone[place] = structure.num_groups(path)
    biases = defaultdict(list)
    for layer, place in structure.feeds.items():
        if f"{layer}/bias" in structure.spec.keys() - structure.biases.keys():
            biases[place].append(structure.spec[f"{layer}/bias"][0])
    return {place: (len(names) - 1) * widths[names[0]] + undone[place] for place, names in biases.items()}


def _permutations(structure: Structure) -> Counts:
    """Return the log of the number of permutations of each layer's units that swaps of two units generate.

    Two units can be swapped iff this leaves what is fixed as it is, on the way in and on the way out, so the group is a
    product of symmetric groups. Permutations beyond it exist only by coincidence of fixed values: where kernels fix
    zeros and the layer before fixes nothing (theorem 1), or in recurrent kernels; they are not counted.
    """
    rows: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    squares: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    for path, values in structure.fixed.items():
        *_, reads, writes = structure.spec[path]
        if reads is not None and reads == writes:
            squares[reads] += list(values.reshape(-1, *values.shape[-2:]))
            continue
        for axis, name in enumerate(structure.spec[path]):
            if name is not None:
                rows[name].append(np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1))
    for path, values in structure.biases.items():
        if not structure.has_node_norm(path):
            rows[structure.spec[path][0] or ""].append(values[:, None])
    for site, gate in structure.gates.items():
        squares[structure.spec[site][0] or ""].append(gate)
    return {
        name: sum(math.lgamma(len(units) + 1) for units in _interchangeable(np.concatenate(arrays, 1), squares[name]))
        for name, arrays in rows.items()
        if name
    }


def _interchangeable(rows: np.ndarray, squares: list[np.ndarray]) -> list[list[int]]:
    """Group units any two of which can be swapped.

    Parameters
    ----------
    rows : what is fixed of each unit [units, entries], whatever the order of the others.
    squares : what is fixed between units [units, units].
    """
    # Comparing every two units is slow, so only those are that agree in what swaps of others cannot change.
    marks = [rows, *(np.diag(s)[:, None] for s in squares), *(np.sort(s, 1) for s in squares)]
    alike = defaultdict(list)
    for unit, mark in enumerate(np.concatenate(marks, axis=1)):
        alike[mark.tobytes()].append(unit)
    groups: list[list[int]] = []
    for candidates in alike.values():
        found: list[list[int]] = []
        for unit in candidates:
            for group in found:
                if all(_is_swappable(square, unit, group[0]) for square in squares):
                    group.append(unit)
                    break
            else:
                found.append([unit])
        groups += found
    return groups


def _is_swappable(square: np.ndarray, one: int, other: int) -> bool:
    """Return whether swapping two units leaves a matrix [units, units] as it is."""
    swap = np.arange(len(square))
    swap[[one, other]] = other, one
    return all(np.array_equal(side[one, swap], side[other], equal_nan=True) for side in (square, square.T))


def _scalings(structure: Structure, units_scale: bool) -> tuple[Counts, Counts]:
    """Count independent scalings of units, and of inputs of norms.

    Every unit whose activation commutes with scaling has a factor, which the units of a residual stream or a recurrent
    layer keep throughout, and so have the inputs of every norm, or each of them where it is over nodes. A fixed entry
    ties the factor of what it reads to that of what it feeds; inputs, outputs and what enters a sigmoid have the factor
    1. What remains is one scaling for each connected component that is not tied to 1.

    Parameters
    ----------
    units_scale : whether the activation commutes with the scalings in question.

    Returns
    -------
    The components that are one unit, by permutation name; the others, by norm (permutation name without norm).
    """
    owner, nodes = _nodes(structure, units_scale)
    ties = [_ties(structure, path, nodes) for path in structure.fixed]
    ties += [_bias_ties(structure, path, nodes) for path in structure.biases]
    for site, gate in structure.gates.items():
        pinned = nodes[structure.spec[site][0] or ""][gate.any(axis=1)]
        ties.append(np.stack([pinned, np.zeros_like(pinned)]))
    ends = np.concatenate(ties, axis=1)
    graph = coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(len(owner), len(owner)))
    _, component = connected_components(graph, directed=False)
    members = defaultdict(list)
    for label, name in zip(component, owner, strict=True):
        members[label].append(name)
    del members[component[0]]
    # Norms come after units, so the last member names the norm where there is one.
    is_unit = {label: len(names) == 1 and not structure.is_norm(names[0]) for label, names in members.items()}
    units = Counter(names[-1] for label, names in members.items() if is_unit[label])
    others = Counter(names[-1] for label, names in members.items() if not is_unit[label])
    return dict(units), dict(others)


def _nodes(structure: Structure, units_scale: bool) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return the name or norm that each factor belongs to, the factor 1 first, and the numbers that belong to each."""
    owner, nodes = ["1"], {}
    gated = {structure.spec[site][0] for site in structure.gates}
    for path, values in structure.fixed.items():
        for name, size in zip(structure.spec[path], values.shape, strict=True):
            if name is not None and name not in nodes and (units_scale or name in gated):
                nodes[name] = len(owner) + np.arange(size)
                owner += [name] * size
    for path in structure.fixed:
        if structure.is_norm(norm := structure.fed_by(path)) and norm not in nodes:
            nodes[norm] = len(owner) + np.arange(structure.num_groups(path))
            owner += [norm] * len(nodes[norm])
    return owner, nodes


def _ties(structure: Structure, path: str, nodes: dict[str, np.ndarray]) -> np.ndarray:
    """Return the ties [2, ties] that a kernel's fixed entries make between nodes."""
    values = structure.fixed[path]
    num_inputs, num_units = values.shape[-2:]
    reads, writes = structure.spec[path][-2:]
    place = structure.fed_by(path)
    inputs = nodes.get(reads or "", np.zeros(num_inputs, int))
    if not structure.is_norm(place) or structure.norm == "batch":
        outputs = nodes.get(place if place in nodes else (place and writes) or "", np.zeros(num_units, int))
        read, written = np.nonzero(np.nan_to_num(values).any(axis=tuple(range(values.ndim - 2))))
        return np.stack([inputs[read], outputs[written]])
    by_input = np.moveaxis(values, -2, 0).reshape(num_inputs, -1)
    if not structure.has_layer_norm(path):
        by_input = np.pad(by_input, ((0, 0), (0, 1)))
    # A LayerNorm undoes a common shift of an input's weights, which restores one fixed value, but not two, after a
    # scaling. Without such shifts the value that stays put is zero, here as the padding.
    pinned = np.fmax.reduce(by_input, axis=1) > np.fmin.reduce(by_input, axis=1)
    return np.stack([inputs[pinned], np.broadcast_to(nodes[place], pinned.sum())])


def _bias_ties(structure: Structure, path: str, nodes: dict[str, np.ndarray]) -> np.ndarray:
    """Return the ties [2, ties] that a fixed bias makes to the factor 1; a norm undoes a common shift of biases."""
    values, place = structure.biases[path], structure.fed_by(path)
    if structure.is_norm(place):
        pinned = nodes[place][: int(values.max() > values.min() and not structure.has_node_norm(path))]
    else:
        units = nodes.get((place and structure.spec[path][0]) or "", np.zeros(len(values), int))
        pinned = units[values != 0]
    return np.stack([pinned, np.zeros_like(pinned)])
