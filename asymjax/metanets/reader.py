"""Networks of a zoo as they are read: all at a time, or some, so that a zoo need not be in memory."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax

from asymjax import trees
from asymjax.symmetry.alignment import match_all
from asymjax.symmetry.groups import position_spec
from asymjax.symmetry.permutations import permute
from asymjax.types import Frozen, Model, Position, PyTree, TreeSpec

MAX_BYTES = 2**30
"""Of all networks, or of what is made of all: what is larger is not held in memory."""


def is_large(num_bytes: int) -> bool:
    """Return whether so many bytes are not to be held in memory."""
    return num_bytes > MAX_BYTES


class Held(NamedTuple):
    """What is held in memory to read networks.

    Attributes
    ----------
    frozen : of the model.
    elements : permutation name -> int [network, units], by which units are permuted; empty where they are not.
    """

    frozen: Frozen
    elements: Mapping[str, np.ndarray]


class Reader(NamedTuple):
    """How the networks of a zoo are read.

    Attributes
    ----------
    reads : as of ``Zoo.networks``.
    model : of the networks.
    spec : how units are permuted.
    held : what is needed beside the networks.
    position : their trainable leaves [network, ...].
    """

    reads: str
    model: Model
    spec: TreeSpec
    held: Held
    position: Position

    @property
    def shapes(self) -> PyTree:
        """One network as it is read, tree of ``jax.ShapeDtypeStruct``."""
        position = jax.tree.map(shape_of_one, self.position)
        return jax.eval_shape(self.one, self.held.frozen, position, jax.tree.map(shape_of_one, self.held.elements))

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        return len(jax.tree.leaves(self.position)[0])

    def one(self, frozen: Frozen, position: Position, element: Mapping[str, Any]) -> PyTree:
        """Return one network as it is read."""
        if self.reads == "position":
            return position
        return permute_moving(self.model.merge(position, frozen), self.spec, element)

    def positions(self, places: slice | np.ndarray) -> Position:
        """Return the trainable leaves of the networks at some places, NumPy."""
        return jax.tree.map(lambda leaf: np.asarray(leaf[places]), self.position)

    def split(self, places: np.ndarray) -> list[np.ndarray]:
        """Return places in blocks, few enough to be read at a time."""
        size = trees.row_blocks(self.position)[0].stop
        return [places[start : start + size] for start in range(0, len(places), size)]

    def read(self, places: slice | np.ndarray) -> PyTree:
        """Return the networks at some places as they are read, NumPy leaves [network, ...]."""
        return next(self.blocks([places]))

    def blocks(self, places: Iterable[slice | np.ndarray]) -> Iterator[PyTree]:
        """Yield networks as they are read, NumPy leaves [network, ...], some places after the others."""

        @jax.jit
        def many(held: Held, position: Position) -> PyTree:
            return lax.map(lambda own: self.one(held.frozen, *own), (position, held.elements))

        for some in places:
            position = self.positions(some)
            elements = {name: leaf[some] for name, leaf in self.held.elements.items()}
            yield (
                position
                if self.reads == "position"
                else trees.to_host(many(self.held._replace(elements=elements), position))
            )


def shape_of_one(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return shape and type of a leaf of one network, of an array [network, ...]."""
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)


def permute_moving(network: PyTree, spec: TreeSpec, element: Mapping[str, Any]) -> PyTree:
    """Return a network with its units permuted; leaves that a specification does not name stay as they are."""
    leaves = trees.flatten(network)
    moving = {path: leaf for path, leaf in leaves.items() if path in spec}
    return trees.unflatten(leaves | permute(moving, spec, element)) if moving else network


def make_reader(reads: str, model: Model, frozen: Frozen, position: Position, reference: int) -> Reader:
    """Return how the networks of a zoo are read, see ``Zoo.networks``; matchings are found here, once."""
    params = Reader(reads, model, {}, Held(frozen, {}), position)
    spec = position_spec(model, frozen) if reads == "aligned" else {}
    return params._replace(spec=spec, held=Held(frozen, _elements(params, spec, reference))) if spec else params


def _elements(params: Reader, spec: TreeSpec, reference: int) -> dict[str, np.ndarray]:
    """Return the permutations that match the units of every network to those of one of them, [network, ...] by name."""

    def moving(networks: PyTree) -> dict[str, np.ndarray]:
        return {path: leaf for path, leaf in trees.flatten(networks).items() if path in spec}

    target = {path: leaf[0] for path, leaf in moving(params.read(np.array([reference]))).items()}
    blocks = params.blocks(params.split(np.arange(params.num_networks)))
    found = [match_all(spec, target, moving(networks)) for networks in blocks]
    return {name: np.concatenate([part[name] for part in found]).astype(np.int32) for name in found[0]}
