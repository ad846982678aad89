"""Which parameter symmetries the function x -> outputs has, counted from what is really fixed.

A symmetry of the plain network remains if it maps all weights with these fixed entries to weights with the same fixed
entries, and commutes with the gates. The families of ``FAMILIES`` are counted each on its own. The flat directions of
the function at generic weights are the sum of ``CONTINUOUS``, the order of the discrete symmetries is that of the
permutations times two for every sign flip. Not counted are what single parameter points or a data set add, what kernels
that cover a whole image add, and what :func:`not_counted` names.

Sources: Lim et al. (2024), arXiv 2405.20231, section 2 and theorem 1, for permutations and scalings without a norm. The
rest follows from a norm undoing every common shift and scale of its inputs (up to its epsilon), and from sums. A norm
over nodes (``norm="batch"``) undoes a shift and a scale of each unit on its own.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import lsqr

from asymjax.models.norm_balances import norm_balances
from asymjax.models.permutation_order import Edges, Element, log_order, restricted
from asymjax.models.structure import Map, Structure, Units, maps_of, units_of

POSITIVELY_HOMOGENEOUS = frozenset({"relu", "leaky_relu", "identity", "half"})
ODD = frozenset({"tanh", "identity", "half"})

FAMILIES: dict[str, str] = {
    "permutations": "log of the number of permutations of units, along with scalings and shifts",
    "unit_rescalings": "units scaled by a > 0 on their way in and by 1/a on their way out",
    "layer_rescalings": "inputs that a norm scales together scaled by a > 0, alone or along with units before it",
    "unit_sign_flips": "units negated on their way in and on their way out",
    "layer_sign_flips": "inputs that a norm scales together and its scale negated, alone or along with units before it",
    "row_shifts": "inputs whose weights to all units of a layer shift together, since a LayerNorm follows",
    "bias_shifts": "shifts of biases that a norm undoes, or another bias that is added to them",
    "norm_balances": "other changes before a LayerNorm that its scales undo, or that only units see that nothing reads",
    "idle_parameters": "parameters of units that fixed zeros cut off: they do nothing, or nothing but what a bias does",
}
"""What is counted: factors of two of sign flips, and but for permutations dimensions."""

CONTINUOUS = ("unit_rescalings", "layer_rescalings", "row_shifts", "bias_shifts", "norm_balances", "idle_parameters")
"""The families whose sum is the number of flat directions."""

# Where (name of a unit permutation, parameter path, norm or activation site) -> amount.
Counts = dict[str, float]

# Fixed values are compared to this relative difference, of logs and of shares of a range.
TOLERANCE = 1e-6


def count_symmetries(structure: Structure) -> dict[str, Counts]:
    """Count every family of ``FAMILIES``, broken down by place.

    A permutation counts if there are scalings and shifts that make up for what it moves, and counts once. Idle units
    are no part of it, since all that they have is flat.
    """
    maps = maps_of(structure)
    units = units_of(structure, maps)
    idle, maps = _idle_parameters(structure, maps, units), _without_idle(maps, units)
    factors = _factors(structure, maps, units)
    ties = [_ties(one, factors) for one in maps]
    unit_rescalings, layer_rescalings = _scalings(structure, factors, ties, factors.can_scale)
    unit_sign_flips, layer_sign_flips = _scalings(structure, factors, ties, factors.can_flip)
    return {
        "permutations": _permutations(structure, maps, units, factors, ties),
        "unit_rescalings": unit_rescalings,
        "layer_rescalings": layer_rescalings,
        "unit_sign_flips": unit_sign_flips,
        "layer_sign_flips": layer_sign_flips,
        "row_shifts": {
            one.path: int(one.is_free.all(axis=(0, 2)).sum()) for one in maps if one.is_kernel and one.has_shifts
        },
        "bias_shifts": _bias_shifts(structure, maps),
        "norm_balances": dict(norm_balances(maps, units)[0]),
        "idle_parameters": idle,
    }


def not_counted(structure: Structure) -> list[str]:
    """Return sentences on the flat directions that a network may have and :func:`count_symmetries` leaves out."""
    maps = maps_of(structure)
    units = units_of(structure, maps)
    maps, found = _without_idle(maps, units), []
    if structure.activation in POSITIVELY_HOMOGENEOUS & ODD and not structure.gates:
        found.append("linear units mix by the general linear group, of which scalings alone are counted")
    for one in maps:
        if one.is_kernel and one.has_shifts and units.takes_part(one).any():
            if one.values.shape[2] == 2:
                found.append(f"{one.place} makes signs of two units, which leaves nearly all weights before it free")
            if structure.activation == "tanh" and not structure.gates and one.edges().any(axis=1).sum() == 1:
                found.append(f"{one.path} reads one tanh alone, whose shifts a change of its weights undoes")
    unsure = norm_balances(maps, units)[1]
    return found + [f"{place}: of the changes before it that the norm undoes there may be more" for place in unsure]


def _without_idle(maps: list[Map], units: Units) -> list[Map]:
    """Return maps with zeros for their idle entries."""
    return [one._replace(values=np.where(units.is_idle(one), 0.0, one.values)) for one in maps]


def _idle_parameters(structure: Structure, maps: list[Map], units: Units) -> Counts:
    counts: Counts = {
        one.path: int(np.sum(one.is_free & units.is_idle(one))) for one in maps if one.path not in structure.biases
    }
    scales = {path: axes[0] for path, axes in structure.spec.items() if path.endswith("/scale")}
    return counts | {path: int(units.is_out(name).sum()) for path, name in scales.items() if name}


def _bias_shifts(structure: Structure, maps: list[Map]) -> Counts:
    """Count shifts of biases: a norm undoes one for each group of units; of biases in a sum all but one can be any."""
    added: dict[str, list[np.ndarray]] = defaultdict(list)
    norms = {one.place: one.norm for one in maps}
    for one in maps:
        if one.place and not one.is_kernel and one.path not in structure.biases:
            added[one.place].append(one.is_free[0, 0])
    counts: Counts = {}
    for place, are_free in added.items():
        num_free = np.sum(are_free, axis=0)
        undone = {"layer": num_free.any(), "batch": (num_free > 0).sum(), "none": 0}[norms[place]]
        counts[place] = int(np.maximum(num_free - 1, 0).sum() + undone)
    return counts


# Scalings --------------------------------------------------------------------------------------------------------


class _Factors(NamedTuple):
    """The factors that scalings multiply with, numbered, the factor 1 first.

    Attributes
    ----------
    owner : the name of units or the norm that each belongs to.
    of_units : name -> int [units]; of the activations of units.
    of_norm : norm -> int [units]; of what enters a norm, one factor where it is over units.
    can_scale, can_flip : bool [factor]; whether it may be any positive number, and whether it may be negative.
    """

    owner: list[str]
    of_units: dict[str, np.ndarray]
    of_norm: dict[str, np.ndarray]
    can_scale: np.ndarray
    can_flip: np.ndarray

    def of_map(self, one: Map) -> tuple[np.ndarray, np.ndarray]:
        """Return the factors of what a map reads and of what it writes, int [inputs] and [units]."""
        reads = np.zeros(one.values.shape[1], int) if one.reads is None else self.of_units[one.reads]
        if one.place in self.of_norm:
            return reads, self.of_norm[one.place]
        # Outputs and what enters a sigmoid have the factor 1.
        has_factor = one.place and one.writes is not None
        return reads, self.of_units[one.writes or ""] if has_factor else np.zeros(one.values.shape[2], int)


def _factors(structure: Structure, maps: list[Map], units: Units) -> _Factors:
    """Give numbers to the factors; what is idle has the factor 1, since its own parameters are counted.

    Every unit whose activation commutes with scaling has a factor, which the units of a residual stream or a recurrent
    layer keep throughout, and so have the inputs of every norm, or each of them where it is over nodes. Gates that read
    a unit pin it; one that none reads is multiplied with them.
    """
    owner, of_units, of_norm = ["1"], {}, {}
    scales, flips = [False], [False]
    for name, width in structure.widths().items():
        is_in, gates = ~units.is_out(name), structure.gates_of(name)
        of_units[name] = np.where(is_in, len(owner) + np.cumsum(is_in) - 1, 0)
        owner += [name] * int(is_in.sum())
        is_pinned = np.any([(gate != 0).any(axis=1) for gate in gates], axis=0) if gates else np.zeros(width, bool)
        for free, activations in ((scales, POSITIVELY_HOMOGENEOUS), (flips, ODD)):
            commutes = bool(gates) or structure.activation in activations
            free += [commutes and not pinned for pinned in is_pinned[is_in]]
    for one in maps:
        if one.norm == "none" or one.place in of_norm or not one.is_kernel:
            continue
        is_in = units.is_heard(one) & units.varies[one.writes or ""]
        if one.norm == "layer":
            of_norm[one.place] = np.full(len(is_in), len(owner) if is_in.any() else 0)
        else:
            of_norm[one.place] = np.where(is_in, len(owner) + np.cumsum(is_in) - 1, 0)
        num_new = len(set(of_norm[one.place]) - {0})
        owner += [one.place] * num_new
        scales += [True] * num_new
        flips += [True] * num_new
    return _Factors(owner, of_units, of_norm, np.array(scales), np.array(flips))


class _Ties(NamedTuple):
    """What the fixed entries of a map tie together: the quotient of the factors at both ends.

    Attributes
    ----------
    places : int [3, tie] (window, input, unit); of a row that a norm shifts, the unit of its largest value.
    ends : int [2, tie], factors of what is read and of what is written.
    values : [tie], what the quotient multiplies; of a row that a norm shifts, its range.
    """

    places: np.ndarray
    ends: np.ndarray
    values: np.ndarray


def _ties(one: Map, factors: _Factors) -> _Ties:
    """Return the ties of a map; a row that a norm shifts makes one if two of its values differ."""
    values, (reads, writes) = np.nan_to_num(one.unshifted()), factors.of_map(one)
    places = np.array(np.nonzero(values))
    if one.has_shifts:
        rows = np.flatnonzero(values[0].any(axis=1))
        places = np.stack([np.zeros_like(rows), rows, np.argmax(values[0, rows], axis=1)])
    return _Ties(places, np.stack([reads[places[1]], writes[places[2]]]), values[tuple(places)])


def _scalings(structure: Structure, factors: _Factors, ties: list[_Ties], is_free: np.ndarray) -> tuple[Counts, Counts]:
    """Count independent scalings of units, and of inputs of norms.

    A fixed entry ties the factor of what it reads to that of what it feeds; inputs, outputs and what enters a sigmoid
    have the factor 1. What remains is one scaling for each connected component that is not tied to 1.

    Parameters
    ----------
    is_free : bool [factor]; which may be other than 1, under the scalings in question.

    Returns
    -------
    The components that are one unit, by permutation name; the others, by norm (permutation name without norm).
    """
    ends = np.concatenate([tie.ends for tie in ties], axis=1)
    component = _components(np.where(is_free[ends], ends, 0), len(is_free))
    members = defaultdict(list)
    for number in np.flatnonzero(is_free & (component != component[0])):
        members[component[number]].append(factors.owner[number])
    # Norms come after units, so the last member names the norm where there is one.
    is_unit = {label: len(names) == 1 and not structure.is_norm(names[0]) for label, names in members.items()}
    units = Counter(names[-1] for label, names in members.items() if is_unit[label])
    others = Counter(names[-1] for label, names in members.items() if not is_unit[label])
    return dict(units), dict(others)


def _components(ends: np.ndarray, count: int) -> np.ndarray:
    """Return the connected component of each of ``count`` nodes, given the ends of edges int [2, edge]."""
    graph = coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


# Permutations ----------------------------------------------------------------------------------------------------


def _permutations(structure: Structure, maps: list[Map], units: Units, factors: _Factors, ties: list[_Ties]) -> Counts:
    """Return the log of the number of permutations for which there are scalings and shifts that keep what is fixed.

    Both may depend on the weights, as long as there are some for all weights but a set of measure zero. What positive
    factors can change is taken out of the fixed values, so that permutations have to leave what is left of these as it
    is. Whether signs can be chosen is asked of each permutation.
    """
    maps = _without_loose(maps, factors, ties)
    ties = [_ties(one, factors) for one in maps]
    kept = {name: np.ones(width, bool) for name, width in structure.widths().items()}
    for name in kept:
        made = [units.takes_part(one) for one in maps if one.is_kernel and one.writes == name]
        kept[name] = np.any(made, axis=0) if made else kept[name]
    places = {name: np.flatnonzero(is_kept) for name, is_kept in kept.items()}
    left = _beyond_factors(ties, [np.log(np.abs(tie.values)) for tie in ties], factors.can_scale)
    edges = [_edges(*of_map, factors) for of_map in zip(maps, ties, left, strict=True)]
    for name in kept:
        gates = [np.asarray(gate + 0.0, np.float64) for gate in structure.gates_of(name)]  # -0 becomes 0.
        edges += [Edges(gate.view(np.int64), name, name) for gate in gates]
    return log_order(
        [restricted(edge, places) for edge in edges],
        {name: len(units) for name, units in places.items()},
        _make_sign_check(maps, factors, ties, places, structure.widths()),
    )


def _without_loose(maps: list[Map], factors: _Factors, ties: list[_Ties]) -> list[Map]:
    """Free the entries that scalings restore whatever becomes of them, as shifts do one of a row.

    These are the ties on no cycle, neither of factors that can scale nor of those that can be negative: some factor
    can be chosen for their sake alone. A row that a norm shifts has to have two values, with one difference.
    """
    generator = np.random.default_rng(0)
    drawn = [generator.standard_normal(tie.values.size) for tie in ties]
    # A generic change of a tie is made up for by factors iff it is on no cycle.
    left = [_beyond_factors(ties, drawn, is_free) for is_free in (factors.can_scale, factors.can_flip)]
    freed = []
    for one, tie, *both in zip(maps, ties, *left, strict=True):
        window, rows, columns = tie.places[:, np.max(np.abs(both), axis=0) < TOLERANCE]
        values = one.values.copy()
        if one.has_shifts:
            values[0, rows[np.sum(~one.is_free[0, rows], axis=1) == 2]] = np.nan
        else:
            values[window, rows, columns] = np.nan
        freed.append(one._replace(values=values))
    return freed


def _beyond_factors(ties: list[_Ties], logs: list[np.ndarray], is_free: np.ndarray) -> list[np.ndarray]:
    """Return what factors cannot change of one number a tie, the log of what it multiplies.

    It is what is left by least squares, so that two sets of numbers differ by factors iff it is the same, and where
    ties are permuted it is permuted along.
    """
    ends, numbers = np.concatenate([tie.ends for tie in ties], axis=1), np.concatenate(logs)
    is_used = is_free[ends]
    tie = np.broadcast_to(np.arange(ends.shape[1]), ends.shape)
    sign = np.broadcast_to(np.array([[-1.0], [1.0]]), ends.shape)
    if is_used.any():
        matrix = coo_array((sign[is_used], (tie[is_used], ends[is_used])), (ends.shape[1], len(is_free))).tocsr()
        numbers = numbers - matrix @ lsqr(matrix, numbers, atol=1e-13, btol=1e-13, iter_lim=10_000)[0]
    return np.split(numbers, np.cumsum([len(one) for one in logs])[:-1])


def _edges(one: Map, tie: _Ties, left: np.ndarray, factors: _Factors) -> Edges:
    """Label the entries of a map: free ones, zeros, and others by what permutations have to leave of them."""
    values = one.unshifted()
    labels = np.where(np.isnan(values), 0, 1)
    left = np.round(left / TOLERANCE).astype(np.int64)
    if one.has_shifts:
        rows = tie.places[1]
        shares = values[0, rows] / tie.values[:, None]
        # A negative factor turns the order of the values around.
        shares = np.round(np.fmin(shares, 1 - shares) / TOLERANCE)
        known = np.nan_to_num(shares).astype(np.int64)
        labels[0, rows] = np.where(np.isnan(shares), 0, _label(known, left[:, None]))
    else:
        signs = np.where(factors.can_flip[tie.ends].any(axis=0), 0, np.sign(tie.values)).astype(np.int64)
        labels[tuple(tie.places)] = _label(signs, left)
    # One number for all places of the window, by a polynomial modulo 2**64.
    powers = np.full(len(labels), 6364136223846793005).cumprod()
    return Edges(np.sum(labels * powers[:, None, None], axis=0), one.reads, one.writes)


def _label(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return numbers of pairs, other than those of free entries and zeros."""
    return 4 * (1_000_003 * other + one) + 2


def _make_sign_check(
    maps: list[Map], factors: _Factors, ties: list[_Ties], places: dict[str, np.ndarray], widths: dict[str, int]
) -> Callable[[Element], bool]:
    """Return the function that decides whether signs can be chosen such that a permutation keeps what is fixed."""
    signed = [
        (one, tie, one.unshifted())
        for one, tie in zip(maps, ties, strict=True)
        if tie.values.size and (one.has_shifts or factors.can_flip[tie.ends].any())
    ]

    def is_symmetry(element: Element) -> bool:
        moved = {name: np.arange(width) for name, width in widths.items()}
        for name, units in element.items():
            moved[name][places[name]] = places[name][units]
        changes = []
        for one, tie, values in signed:
            found = _sign_changes(one, tie, values, moved)
            if found is None:
                return False
            changes.append(np.stack([*np.where(factors.can_flip[tie.ends], tie.ends, 0), found]))
        return not changes or _has_signs(np.concatenate(changes, axis=1), len(factors.owner))

    return is_symmetry


def _sign_changes(one: Map, tie: _Ties, values: np.ndarray, moved: dict[str, np.ndarray]) -> np.ndarray | None:
    """Return at which ties of a map a permutation changes the sign, bool [tie]; None if it changes a row otherwise.

    Parameters
    ----------
    values : of the map, unshifted.
    moved : name -> int [units], the unit that comes to each place.
    """
    rows, columns = (
        np.arange(size) if name is None else moved[name]
        for name, size in zip((one.reads, one.writes), values.shape[1:], strict=True)
    )
    permuted = values[:, rows][:, :, columns]
    if not one.has_shifts:
        return np.sign(permuted[tuple(tie.places)]) != np.sign(tie.values)
    now, then = (array[0, tie.places[1]] for array in (values, permuted))
    now, then = (array / np.fmax.reduce(array, axis=1, keepdims=True) for array in (now, then))
    is_free = np.isnan(now)
    is_same, is_reversed = (np.all(is_free | (np.abs(now - other) < TOLERANCE), axis=1) for other in (then, 1 - then))
    return ~is_same if np.all(is_same | is_reversed) else None


def _has_signs(changes: np.ndarray, count: int) -> bool:
    """Return whether there are signs of ``count`` factors, the first of them positive, with given changes along ties.

    Parameters
    ----------
    changes : int [3, tie]; the factors at both ends, and whether their signs differ.
    """
    # Of every factor both signs are nodes, and what is joined comes together: a factor never with its own opposite.
    one, other, differs = changes
    first = np.concatenate([one, one + count])
    second = np.concatenate([other + count * differs, other + count * (1 - differs)])
    component = _components(np.stack([first, second]), 2 * count)
    return not np.any(component[:count] == component[count:])
