"""What of a network decides on its symmetries, and which of its units take part in its function."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from asymjax import trees
from asymjax.axes import flat
from asymjax.types import Feeds, FlatSpec, Frozen, Graph, Model


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
    is_on_graph : whether hidden layers add up neighbours, so that what is constant over nodes does not stay so.
    """

    activation: str
    spec: FlatSpec
    feeds: Feeds
    fixed: dict[str, np.ndarray]
    biases: dict[str, np.ndarray]
    gates: dict[str, np.ndarray]
    norm: str = "layer"
    is_on_graph: bool = False

    def is_norm(self, layer: str) -> bool:
        """Return whether a layer, as named in ``feeds``, is a norm."""
        return f"{layer}/scale" in self.spec

    def widths(self) -> dict[str, int]:
        """Return the number of units of each name."""
        return {
            name: size
            for path, values in self.fixed.items()
            for name, size in zip(self.spec[path], values.shape, strict=True)
            if name is not None
        }

    def gates_of(self, name: str) -> list[np.ndarray]:
        """Return the gates in place of the activations of some units."""
        return [gate for site, gate in self.gates.items() if self.spec[site][0] == name]


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
    is_on_graph = isinstance(model.example, Graph)
    return Structure(activation, flat(model.permutation_spec), model.feeds, fixed, biases, gates, norm, is_on_graph)


def unbroken(structure: Structure) -> Structure:
    """Return the structure of the same network with nothing fixed and no gates."""
    free = {path: np.full_like(values, np.nan) for path, values in structure.fixed.items()}
    return structure._replace(fixed=free, biases={}, gates={})


# Maps ------------------------------------------------------------------------------------------------------------


class Map(NamedTuple):
    """What a kernel adds to units, or a bias, as if it were the kernel of one input that is always 1.

    Attributes
    ----------
    path : of the parameter.
    values : float64 [window, inputs, units], NaN where free.
    reads, writes : names of the units on both sides; None for inputs, for the input 1, and for outputs.
    place : norm or activation site that it feeds, empty where it feeds neither.
    norm : what it feeds: ``"layer"`` for a norm over units, ``"batch"`` for one over nodes, ``"none"`` for no norm.
    has_shifts : whether that norm undoes a common shift of the weights of one input to all units.
    """

    path: str
    values: np.ndarray
    reads: str | None
    writes: str | None
    place: str
    norm: str
    has_shifts: bool

    @property
    def is_kernel(self) -> bool:
        """Whether it is no bias."""
        return self.path.endswith("/kernel")

    @property
    def is_free(self) -> np.ndarray:
        """Where entries are free, bool [window, inputs, units]."""
        return np.isnan(self.values)

    def unshifted(self) -> np.ndarray:
        """Return the values less what a norm undoes: what of them decides on symmetries.

        A common shift of an input's weights restores one fixed value whatever becomes of it, so one alone is as good
        as free; of several the differences count, here those to the smallest.
        """
        if not self.has_shifts:
            return self.values
        is_single = np.sum(~self.is_free, axis=2, keepdims=True) < 2
        return np.where(is_single, np.nan, self.values - np.fmin.reduce(self.values, axis=2, keepdims=True))

    def edges(self) -> np.ndarray:
        """Return which units depend on which inputs, bool [inputs, units]."""
        return np.any(self.unshifted() != 0, axis=0)


def maps_of(structure: Structure) -> list[Map]:
    """Return the kernels and biases of a network; what is fixed before a norm over nodes, which undoes it, is free."""
    widths, maps = structure.widths(), []
    for path, axes in structure.spec.items():
        layer, _, leaf = path.rpartition("/")
        place = structure.feeds.get(layer, "")
        norm = structure.norm if structure.is_norm(place) else "none"
        if leaf == "kernel":
            values = structure.fixed[path]
            # After a convolution the norm is over pixels too, which see a common shift of weights differently.
            has_shifts = norm == "layer" and values.ndim == 2
            values, reads = values.reshape(-1, *values.shape[-2:]), axes[-2]
        elif leaf == "bias":
            width = structure.fixed[f"{layer}/kernel"].shape[-1] if axes[0] is None else widths[axes[0]]
            values = np.full(width, np.nan) if norm == "batch" else structure.biases.get(path, np.full(width, np.nan))
            values, reads, has_shifts = values[None, None], None, norm == "layer"
        else:
            continue
        maps.append(Map(path, np.asarray(values, np.float64), reads, axes[-1], place, norm, has_shifts))
    return maps


# Which units take part -------------------------------------------------------------------------------------------

# Name -> bool [units].
Marks = dict[str, np.ndarray]


class Units(NamedTuple):
    """Which units take part in a function.

    Attributes
    ----------
    is_read : the outputs depend on their activations.
    is_felt : the outputs depend on what enters their activations, be it that gates read it.
    varies : their activations depend on the inputs, or add what no bias could add.
    """

    is_read: Marks
    is_felt: Marks
    varies: Marks

    def is_heard(self, one: Map) -> np.ndarray:
        """Return of which units that a map writes the outputs depend on what it adds, bool [units]."""
        if one.writes is None:
            return np.ones(one.values.shape[2], bool)
        if one.norm == "layer":
            return np.full(one.values.shape[2], self.is_felt[one.writes].any())
        # What feeds no activation decides how much of a recurrent unit's state is kept.
        return (self.is_felt if one.place else self.is_read)[one.writes]

    def takes_part(self, one: Map) -> np.ndarray:
        """Return of which units what a map adds to them takes part in the function, bool [units]."""
        return self.is_heard(one) if one.writes is None else self.is_heard(one) & self.varies[one.writes]

    def is_idle(self, one: Map) -> np.ndarray:
        """Return which entries of a map do nothing, or nothing but what a bias does, bool [inputs, units]."""
        is_constant = np.zeros(one.values.shape[1], bool) if one.reads is None else ~self.varies[one.reads]
        return ~self.takes_part(one)[None] | is_constant[:, None]

    def is_out(self, name: str) -> np.ndarray:
        """Return which activations do nothing, or nothing but what a bias does, bool [units]."""
        return ~(self.is_felt[name] & self.varies[name])


def units_of(structure: Structure, maps: list[Map]) -> Units:
    """Find out which units take part, of a network whose free weights have any values.

    Not seen are reset gates of recurrent units that no candidate reads, and constant units that are recurrent.
    """
    units = Units(*({name: np.zeros(width, bool) for name, width in structure.widths().items()} for _ in range(3)))
    kernels = [(one, one.edges()) for one in maps if one.is_kernel]
    for _ in _until_still(units.is_felt):
        for one, edges in kernels:
            if one.reads is not None:
                units.is_read[one.reads][:] |= np.any(edges & units.is_heard(one), axis=1)
        for name, is_felt in units.is_felt.items():
            is_felt |= units.is_read[name]
            for gate in structure.gates_of(name):
                is_felt |= np.any((gate != 0) & units.is_read[name], axis=1)
    free_biases = {(one.place, one.writes): one.is_free[0, 0] for one in maps if not one.is_kernel}
    for _ in _until_still(units.varies):
        for one, edges in kernels:
            _vary(structure, units, one, edges, free_biases.get((one.place, one.writes), False))
        for name, varies in units.varies.items():
            for gate in structure.gates_of(name):
                varies |= np.any((gate != 0) & varies[:, None], axis=0)
    return units


def _until_still(marks: Marks) -> Iterator[None]:
    """Yield as long as the steps in between mark more."""
    before = -1
    while (now := sum(int(mark.sum()) for mark in marks.values())) != before:
        before = now
        yield


def _vary(structure: Structure, units: Units, one: Map, edges: np.ndarray, has_bias: np.ndarray | bool) -> None:
    """Mark the units that vary since what a kernel reads does, and those it reads that no bias could stand for."""
    if one.writes is not None:
        varies = np.any(edges if one.reads is None else edges[units.varies[one.reads]], axis=0)
        # Of recurrent units, which have gates, even what does not depend on the inputs depends on the step.
        units.varies[one.writes][:] |= varies.any() if one.norm == "layer" else varies | (not one.place)
    if one.reads is not None:
        # What is the same everywhere is not after a convolution, which pads, or a sum over neighbours.
        is_sum = one.values.shape[0] > 1 or (structure.is_on_graph and one.writes is not None)
        varies = np.ones(edges.shape[1], bool) if one.writes is None else units.varies[one.writes]
        needs = edges & units.is_heard(one) & varies & (is_sum | ~np.asarray(has_bias))
        units.varies[one.reads][:] |= np.any(needs, axis=1)
