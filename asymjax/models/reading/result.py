"""What is read of a network: the roles of its parameters, and the permutations of its units."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from asymjax.types import TreeSpec


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
    """

    path: str
    shape: tuple[int, ...]
    in_axes: tuple[int, ...] = ()
    out_axes: tuple[int, ...] = ()
    batch_axes: tuple[int, ...] = ()
    window_axes: tuple[int, ...] = ()
    role: str | None = None

    @property
    def fan_in(self) -> int:
        """Number of products that are added up in one output of one unit; 1 where nothing is summed over."""
        return math.prod(self.shape[axis] for axis in self.window_axes + self.in_axes)

    @property
    def num_units(self) -> int:
        """Number of units, those of one index of the batch axes."""
        return math.prod(self.shape[axis] for axis in self.out_axes)


class Symmetries(NamedTuple):
    """A network as read from its jaxpr.

    Attributes
    ----------
    layers : path -> what the leaf does, for every leaf.
    spec : path -> one tree for every axis, see :class:`~asymjax.types.Perm`.
    unknown : names of operations that were not understood, sorted: no permutation goes through them.
    several_roles : paths of leaves with several roles, as a tied embedding; ``layers`` holds the first.
    dead : paths of leaves that the outputs do not depend on: unused ones, and the key bias of attention.
    loose : path -> names of the permutations that may act on this leaf alone and leave the outputs as they are.
    joint_error : largest change of the outputs under all permutations at once, relative to their spread.

    The last three come from the check, and are empty and NaN without it.
    """

    layers: Mapping[str, Layer]
    spec: TreeSpec
    unknown: tuple[str, ...] = ()
    several_roles: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    loose: Mapping[str, tuple[str, ...]] = {}
    joint_error: float = math.nan
