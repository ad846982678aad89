"""The order of the group of permutations of units that leave labelled edges between them as they are.

Units that can be swapped, whatever the others do, make up a product of symmetric groups. What is beyond it moves
several units at once: with one unit of each class of such twins, the order is the product of the sizes of orbits, each
under the permutations that leave in place what came before (orbit and stabiliser). Colours that tell units apart are
refined by the colours of their neighbours (Weisfeiler and Leman), and a search decides what they leave open.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

# Units that colours do not tell apart, up to which the search runs; random masks leave none.
MAX_SEARCHED = 48

# Name of units -> one number a unit [units]: its colour, or the unit that comes to its place.
Colors = Mapping[str, np.ndarray]
Element = Mapping[str, np.ndarray]


class Edges(NamedTuple):
    """What stands between two kinds of units.

    Attributes
    ----------
    labels : integers [rows, columns].
    reads, writes : names of the units along rows and columns; None for what stays in place.
    """

    labels: np.ndarray
    reads: str | None
    writes: str | None


def restricted(edges: Edges, chosen: Mapping[str, np.ndarray]) -> Edges:
    """Return the edges between some units, given the places int [units] of these by name."""
    rows, columns = (
        np.arange(size) if name is None else chosen[name]
        for name, size in zip((edges.reads, edges.writes), edges.labels.shape, strict=True)
    )
    return edges._replace(labels=edges.labels[np.ix_(rows, columns)])


def log_order(
    edges: Sequence[Edges], widths: Mapping[str, int], is_symmetry: Callable[[Element], bool]
) -> dict[str, float]:
    """Return the log of the group's order.

    Warns where more than ``MAX_SEARCHED`` units might be exchanged otherwise than by swaps, which are then all that is
    counted.

    Parameters
    ----------
    edges : labels that an element of the group leaves as they are.
    widths : name -> number of units.
    is_symmetry : what else is asked of an element, given name -> int [units], such that the elements are a group.

    Returns
    -------
    name -> its share of the log, that of orbits of its units once those of names before are in place.
    """
    neutral = {name: np.arange(width) for name, width in widths.items()}

    def can_swap(name: str, one: int, other: int) -> bool:
        swap = neutral[name].copy()
        swap[[one, other]] = other, one
        return is_symmetry(neutral | {name: swap})

    twins = {name: _twins(name, width, edges, can_swap) for name, width in widths.items()}
    order = {name: sum(math.lgamma(len(units) + 1) for units in twins[name]) for name in widths}

    def is_symmetry_of_classes(element: Element) -> bool:
        moved = {name: units.copy() for name, units in neutral.items()}
        for name, classes in element.items():
            for place, taken in enumerate(classes):
                moved[name][twins[name][place]] = twins[name][taken]
        return is_symmetry(moved)

    first = {name: np.array([units[0] for units in classes], int) for name, classes in twins.items()}
    between = [restricted(edge, first) for edge in edges]
    search = _Search(between, is_symmetry_of_classes)
    colors = search.refine({name: _start(name, twins[name], edges) for name in widths})
    num_open = sum(len(units) for _, units in _cells(colors))
    if num_open > MAX_SEARCHED:
        warnings.warn(
            f"of permutations swaps of two units are counted alone: the {num_open} units that might be exchanged "
            f"otherwise are more than the {MAX_SEARCHED} that are searched",
            stacklevel=2,
        )
        return order
    while (cell := next(_cells(colors), None)) is not None:
        name, units = cell
        fixed = _marked(colors, name, units[0])
        orbit = 1 + sum(search.has_element(fixed, _marked(colors, name, unit)) for unit in units[1:])
        order[name] += math.log(orbit)
        colors = search.refine(fixed)
    return order


# Twins -----------------------------------------------------------------------------------------------------------


def _twins(
    name: str, num_units: int, edges: Sequence[Edges], can_swap: Callable[[str, int, int], bool]
) -> list[list[int]]:
    """Group units any two of which can be swapped."""
    squares = [edge.labels for edge in edges if edge.reads == edge.writes == name]
    sides = [edge.labels for edge in edges if edge.reads == name != edge.writes]
    sides += [edge.labels.T for edge in edges if edge.writes == name != edge.reads]
    # Comparing every two units is slow, so only those are that agree in what swaps of others cannot change.
    marks = [*sides, *(np.diag(square)[:, None] for square in squares)]
    marks += [np.sort(side, axis=1) for square in squares for side in (square, square.T)]
    alike = defaultdict(list)
    for unit, mark in enumerate(np.concatenate([np.zeros((num_units, 1), int), *marks], axis=1)):
        alike[mark.tobytes()].append(unit)
    groups: list[list[int]] = []
    for candidates in alike.values():
        found: list[list[int]] = []
        for unit in candidates:
            for group in found:
                if all(_is_swappable(square, unit, group[0]) for square in squares) and can_swap(name, unit, group[0]):
                    group.append(unit)
                    break
            else:
                found.append([unit])
        groups += found
    return sorted(groups)


def _is_swappable(square: np.ndarray, one: int, other: int) -> bool:
    """Return whether swapping two units leaves a matrix [units, units] as it is."""
    swap = np.arange(len(square))
    swap[[one, other]] = other, one
    return all(np.array_equal(side[one, swap], side[other]) for side in (square, square.T))


# Colours ---------------------------------------------------------------------------------------------------------


def _mix(numbers: np.ndarray) -> np.ndarray:
    """Scramble integers, so that their sums tell multisets apart (the finaliser of SplitMix64)."""
    bits = numbers.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return bits ^ (bits >> np.uint64(31))


def _start(name: str, classes: Sequence[Sequence[int]], edges: Sequence[Edges]) -> np.ndarray:
    """Return the colours of classes of twins: how many there are in each, and what is between these."""
    colors = _mix(np.array([len(units) for units in classes]))
    for edge in edges:
        if edge.reads == edge.writes == name:
            inside = [edge.labels[np.ix_(units[:1], units[:2])].ravel() for units in classes]
            colors = _mix(colors + _mix(np.array([pair[0] for pair in inside])))
            colors = _mix(colors + _mix(np.array([pair[-1] for pair in inside])))
    return colors


def _marked(colors: Colors, name: str, unit: int) -> Colors:
    """Return colours with one unit told apart from all others."""
    changed = colors[name].copy()
    changed[unit] = ~changed[unit]
    return {**colors, name: changed}


def _cells(colors: Colors) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the units of each colour that several have."""
    for name, numbers in colors.items():
        _, which, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        for color in np.flatnonzero(counts > 1):
            yield name, np.flatnonzero(which == color)


def _num_colors(colors: Colors) -> int:
    return sum(len(np.unique(numbers)) for numbers in colors.values())


class _Search:
    """A search for permutations that take colours to colours."""

    def __init__(self, edges: Sequence[Edges], is_symmetry: Callable[[Element], bool]) -> None:
        self.edges = [edge._replace(labels=_mix(edge.labels)) for edge in edges]
        self.is_symmetry = is_symmetry

    def refine(self, colors: Colors) -> Colors:
        """Tell units apart by the colours of what they are joined to, until that tells no more apart."""
        return self.refine_both(colors, colors)[0]

    def refine_both(self, one: Colors, other: Colors) -> tuple[Colors, Colors]:
        """Refine two colourings by as many steps, so that their colours compare."""
        while True:
            refined = self._step(one)
            if _num_colors(refined) == _num_colors(one):
                return one, other
            one, other = refined, self._step(other)

    def _step(self, colors: Colors) -> Colors:
        seen = dict(colors)
        for number, (labels, reads, writes) in enumerate(self.edges):
            rows, columns = (
                _mix(np.arange(size)) if name is None else colors[name]
                for name, size in zip((reads, writes), labels.shape, strict=True)
            )
            if reads is not None:
                neighbours = _mix(labels + columns).sum(axis=1, dtype=np.uint64)
                seen[reads] = seen[reads] + _mix(neighbours + np.uint64(2 * number))
            if writes is not None:
                neighbours = _mix(labels + rows[:, None]).sum(axis=0, dtype=np.uint64)
                seen[writes] = seen[writes] + _mix(neighbours + np.uint64(2 * number + 1))
        return {name: _mix(numbers) for name, numbers in seen.items()}

    def has_element(self, one: Colors, other: Colors) -> bool:
        """Return whether an element of the group takes one colouring to another."""
        one, other = self.refine_both(one, other)
        if any(not np.array_equal(np.sort(numbers), np.sort(other[name])) for name, numbers in one.items()):
            return False
        # Units of one colour are taken in order, so that most stay where they are.
        element = {name: np.empty(len(numbers), int) for name, numbers in one.items()}
        for name, numbers in one.items():
            element[name][np.argsort(numbers, kind="stable")] = np.argsort(other[name], kind="stable")
        if all(self._is_kept(edge, element) for edge in self.edges) and self.is_symmetry(element):
            return True
        cell = next(_cells(one), None)
        if cell is None:
            return False
        name, units = cell
        fixed = _marked(one, name, units[0])
        images = np.flatnonzero(other[name] == one[name][units[0]])
        return any(self.has_element(fixed, _marked(other, name, int(unit))) for unit in images)

    def _is_kept(self, edge: Edges, element: Element) -> bool:
        return np.array_equal(restricted(edge, element).labels, edge.labels)
