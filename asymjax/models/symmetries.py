"""Which parameter symmetries the function x -> outputs has, counted from what is really fixed.

A symmetry of the plain network remains if it maps all weights with these fixed entries to weights with the same fixed
entries, and commutes with the gates. Seven families are counted, each on its own (``FAMILIES``); not counted are
products of a permutation with a scaling, what single parameter points or a data set add, and, where the activation is
the identity, all but the diagonal part of the general linear groups.

Sources: Lim et al. (2024), arXiv 2405.20231, section 2 and theorem 1, for permutations and scalings without a norm. The
rest follows from a norm undoing every common shift and scale of its inputs (up to its epsilon).
"""

import math
from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from asymjax import trees
from asymjax.types import Frozen, Model, PermutationSpec

POSITIVELY_HOMOGENEOUS = frozenset({"relu", "identity"})
ODD = frozenset({"tanh", "identity"})

FAMILIES: dict[str, str] = {
    "permutations": "log of the order of the group that permutes units within their layers",
    "unit_rescalings": "units scaled by a > 0 on their way in and by 1/a on their way out",
    "layer_rescalings": "inputs of a norm scaled together by a > 0, alone or along with units before it",
    "unit_sign_flips": "units negated on their way in and on their way out",
    "layer_sign_flips": "inputs of a norm and its scale negated, alone or along with units before it",
    "row_shifts": "inputs whose weights to all units of a layer shift together, since a LayerNorm follows",
    "bias_shifts": "layers whose biases shift together, since a norm follows",
}
"""What is counted: dimensions of rescalings and shifts, factors of two of sign flips."""

# Where (name of a unit permutation, or kernel path) -> amount.
Counts = dict[str, float]


class Structure(NamedTuple):
    """What decides on symmetries, on the host.

    Attributes
    ----------
    activation : name of the activation.
    spec : see ``Model.permutation_spec``.
    fixed : kernel path -> fixed values, kernel shape, NaN where an entry is free.
    gates : permutation name -> gate [width, width] in place of the activation, indexed (input, output).
    """

    activation: str
    spec: PermutationSpec
    fixed: dict[str, np.ndarray]
    gates: dict[str, np.ndarray]

    def has_norm(self, path: str) -> bool:
        """Say whether a norm follows this kernel."""
        return any(name.endswith("/scale") and axes[0] == self.spec[path][-1] for name, axes in self.spec.items())

    def has_layer_norm(self, path: str) -> bool:
        """Say whether that norm acts on the units alone, as after a dense kernel, and not over pixels too."""
        return self.has_norm(path) and len(self.spec[path]) == 2


def structure_of(model: Model, frozen: Frozen, activation: str) -> Structure:
    """Gather what decides on symmetries; where entries are no coordinates (syre), nothing of them is fixed."""
    zero = {path: np.zeros(param.shape, np.float32) for path, param in trees.flatten(model.params_shape).items()}
    fixed = {path: np.full(array.shape, np.nan) for path, array in zero.items() if path.endswith("/kernel")}
    if model.free_mask is not None:
        values = trees.flatten(model.merge(model.split(trees.unflatten(zero), frozen), frozen))
        is_free = trees.flatten(model.free_mask(frozen))
        # Adding zero turns -0 into 0.
        fixed = {path: np.where(is_free[path], np.nan, np.asarray(values[path]) + 0.0) for path in fixed}
    spec = model.permutation_spec
    gates = {axes[0]: np.asarray(frozen[site]["gate"]) for site, axes in spec.items() if "gate" in frozen.get(site, {})}
    return Structure(activation, spec, fixed, gates)  # type: ignore[arg-type]


def unbroken(structure: Structure) -> Structure:
    """Return the structure of the same network with nothing fixed and no gates."""
    return structure._replace(fixed={path: np.full_like(v, np.nan) for path, v in structure.fixed.items()}, gates={})


def count_symmetries(structure: Structure) -> dict[str, Counts]:
    """Count every family of ``FAMILIES``, broken down by place."""
    fixed = structure.fixed
    unit_rescalings, layer_rescalings = _scalings(structure, structure.activation in POSITIVELY_HOMOGENEOUS)
    unit_sign_flips, layer_sign_flips = _scalings(structure, structure.activation in ODD)
    with_bias = [path for path in fixed if path.removesuffix("kernel") + "bias" in structure.spec]
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
        "bias_shifts": {path: 1 for path in filter(structure.has_norm, with_bias)},
    }


def _permutations(structure: Structure) -> Counts:
    """Return the log of the number of permutations of each layer's units that leave what is fixed as it is.

    Two units can be swapped iff their fixed entries agree, on the way in and on the way out, so the group is a product
    of symmetric groups. Permutations of several layers at once beyond it exist only where a layer fixes zeros and the
    layer before fixes nothing (theorem 1); they are not counted.
    """
    blocks = defaultdict(list)
    for path, values in structure.fixed.items():
        for axis, name in enumerate(structure.spec[path]):
            if name is not None:
                blocks[name].append(np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1))
    for name, gate in structure.gates.items():
        # What permuting the other units leaves of a unit's row and column; it tells units of a Gaussian gate apart.
        blocks[name] += [np.diag(gate)[:, None], np.sort(gate, axis=1), np.sort(gate.T, axis=1)]
    classes = {
        name: Counter(unit.tobytes() for unit in np.concatenate(arrays, axis=1)) for name, arrays in blocks.items()
    }
    return {name: sum(math.lgamma(size + 1) for size in sizes.values()) for name, sizes in classes.items()}


def _scalings(structure: Structure, units_scale: bool) -> tuple[Counts, Counts]:
    """Count independent scalings of units, and of inputs of norms.

    Every unit whose activation commutes with scaling has a factor, and so has every kernel before a norm. A fixed
    entry ties the factor of what it reads to that of what it writes; inputs and outputs have the factor 1. What remains
    is one scaling for each connected component that is not tied to 1.

    Parameters
    ----------
    units_scale : whether the activation commutes with the scalings in question.

    Returns
    -------
    The components that are one unit, by permutation name; the others, by kernel path (permutation name without norm).
    """
    owner, nodes = _nodes(structure, units_scale)
    ties = [_ties(structure, path, nodes) for path in structure.fixed]
    for name, gate in structure.gates.items():
        pinned = nodes[name][gate.any(axis=1)]
        ties.append(np.stack([pinned, np.zeros_like(pinned)]))
    ends = np.concatenate(ties, axis=1)
    graph = coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(len(owner), len(owner)))
    _, component = connected_components(graph, directed=False)
    members = defaultdict(list)
    for label, name in zip(component, owner, strict=True):
        members[label].append(name)
    del members[component[0]]
    # Kernels come after units, so the last member names the kernel where there is one.
    is_unit = {label: len(names) == 1 and names[0] not in structure.fixed for label, names in members.items()}
    units = Counter(names[-1] for label, names in members.items() if is_unit[label])
    others = Counter(names[-1] for label, names in members.items() if not is_unit[label])
    return dict(units), dict(others)


def _nodes(structure: Structure, units_scale: bool) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return the name or path that each factor belongs to, the factor 1 first, and the numbers that belong to each."""
    owner, nodes = ["1"], {}
    for path, values in structure.fixed.items():
        for name, size in zip(structure.spec[path], values.shape, strict=True):
            if name is not None and name not in nodes and (units_scale or name in structure.gates):
                nodes[name] = len(owner) + np.arange(size)
                owner += [name] * size
    for path in filter(structure.has_norm, structure.fixed):
        nodes[path] = np.array([len(owner)])
        owner.append(path)
    return owner, nodes


def _ties(structure: Structure, path: str, nodes: dict[str, np.ndarray]) -> np.ndarray:
    """Return the ties [2, ties] that a kernel's fixed entries make between nodes."""
    values = structure.fixed[path]
    num_inputs, num_units = values.shape[-2:]
    reads, writes = structure.spec[path][-2:]
    inputs = nodes.get(reads or "", np.zeros(num_inputs, int))
    if not structure.has_norm(path):
        outputs = nodes.get(writes or "", np.zeros(num_units, int))
        read, written = np.nonzero(np.nan_to_num(values).any(axis=tuple(range(values.ndim - 2))))
        return np.stack([inputs[read], outputs[written]])
    by_input = np.moveaxis(values, -2, 0).reshape(num_inputs, -1)
    if not structure.has_layer_norm(path):
        by_input = np.pad(by_input, ((0, 0), (0, 1)))
    # A LayerNorm undoes a common shift of an input's weights, which restores one fixed value, but not two, after a
    # scaling. Without such shifts the value that stays put is zero, here as the padding.
    pinned = np.fmax.reduce(by_input, axis=1) > np.fmin.reduce(by_input, axis=1)
    return np.stack([inputs[pinned], np.broadcast_to(nodes[path], pinned.sum())])
