"""Mean field over networks whose units are in order: one of each orbit (Pourzanjani, Jiang and Petzold 2017).

Along a layer one coordinate of its units ascends: b_1, b_1 + softplus(u_2), b_1 + softplus(u_2) + softplus(u_3) and so
on. Entries are independent Gaussians in (b_1, u_2, ...) and all other coordinates. The posterior is restricted to
networks in order and counted units! times for each layer, which leaves its evidence as it is. Units that overlap meet a
hard boundary. Signs of odd units stay free.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.axes import perms_of, permute_leaf
from asymjax.errors import InputError
from asymjax.inference.algorithm import Target
from asymjax.inference.vi import meanfield
from asymjax.inference.vi.family import Family
from asymjax.inference.vi.meanfield import DIAGONAL, Diagonal, MeanField
from asymjax.symmetry.groups import position_spec, separable_units
from asymjax.types import Array, Key, PyTree, TreeSpec

MIN_GAP = 0.01
"""Between neighbours in order at a start, in units of the prior: biases may start all alike."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(32)


class Order(NamedTuple):
    """The coordinate in which the units of a layer ascend.

    Attributes
    ----------
    name : of the permutation.
    path, place : the leaf, and the index in it of the coordinate, [units].
    num_units : how many.
    """

    name: str
    path: str
    place: tuple[int | slice, ...]
    num_units: int


def orders_of(spec: TreeSpec) -> list[Order]:
    """Return what to order: for each separable permutation the first entry of every unit, in the leaf of fewest a unit.

    A leaf that nothing else permutes goes first: the bias, or where there is none a kernel.
    """

    def order(name: str, num_units: int) -> Order:
        sizes = {path: [axis.size for axis in axes] for path, axes in spec.items() if name in perms_of(axes)}
        path = min(sizes, key=lambda path: (len(perms_of(spec[path])), math.prod(sizes[path]), len(sizes[path]), path))
        place = tuple(slice(None) if name in perms_of([axis]) else 0 for axis in spec[path])
        return Order(name, path, place, num_units)

    return [order(name, size) for name, size in separable_units(spec).items() if size > 1]


def put_in_order(z: PyTree, spec: TreeSpec, orders: list[Order]) -> PyTree:
    """Return z with the units of every layer permuted so that they ascend."""
    leaves = trees.flatten(z)
    elements = {order.name: jnp.argsort(leaves[order.path][order.place]) for order in orders}
    return trees.unflatten(leaves | {path: permute_leaf(leaves[path], axes, elements) for path, axes in spec.items()})


def ascend(u: PyTree, orders: list[Order]) -> PyTree:
    """Return z of unconstrained coordinates."""
    leaves = trees.flatten(u)
    for _, path, place, _ in orders:
        free = leaves[path][place]
        values = jnp.cumsum(jnp.append(free[:1], jax.nn.softplus(free[1:])))
        leaves[path] = leaves[path].at[place].set(values)
    return trees.unflatten(leaves)


def unconstrain(z: PyTree, orders: list[Order], min_gap: float) -> PyTree:
    """Return the unconstrained coordinates of z, gaps between neighbours at least ``min_gap``."""
    leaves = trees.flatten(z)
    for _, path, place, _ in orders:
        values = leaves[path][place]
        gaps = jnp.maximum(jnp.diff(values), min_gap)
        free = gaps + jnp.log(-jnp.expm1(-gaps))  # The inverse of softplus.
        leaves[path] = leaves[path].at[place].set(jnp.append(values[:1], free))
    return trees.unflatten(leaves)


def free_gaps(u: PyTree, orders: list[Order]) -> Array:
    """Return the unconstrained coordinates of all gaps [gaps]."""
    leaves = trees.flatten(u)
    return jnp.concatenate([leaves[path][place][1:] for _, path, place, _ in orders])


def ordered_family(orders: list[Order]) -> Family:
    """Return independent Gaussians in the unconstrained coordinates, as a density over z."""

    def draw(params: Diagonal, key: Key) -> PyTree:
        return ascend(meanfield.draw(params, key), orders)

    def logdensity(params: Diagonal, z: PyTree) -> Array:
        leaves = trees.flatten(z)
        is_inside = jnp.stack([jnp.all(jnp.diff(leaves[path][place]) >= 0) for _, path, place, _ in orders])
        u = unconstrain(z, orders, min_gap=float(jnp.finfo(jnp.float32).tiny))
        volume = jnp.sum(jax.nn.log_sigmoid(free_gaps(u, orders)))
        return jnp.where(jnp.all(is_inside), meanfield.logdensity(params, u) - volume, -jnp.inf)

    def entropy(params: Diagonal) -> Array:
        mean, log_scale = (free_gaps(tree, orders) for tree in params)
        at_nodes = jax.nn.log_sigmoid(mean[:, None] + jnp.outer(jnp.exp(log_scale), jnp.asarray(NODES)))
        volume = jnp.sum(at_nodes @ (WEIGHTS / math.sqrt(2 * math.pi)))
        return meanfield.entropy(params) + volume

    log_copies = sum(math.lgamma(order.num_units + 1) for order in orders)
    return Family(draw, logdensity, entropy, log_copies=log_copies)


@dataclass(frozen=True)
class Ordered(MeanField):
    """Independent Gaussians over networks whose units are in order; mean field where there is nothing to order.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.Ordered(num_warmup=2000).num_warmup
    2000
    """

    def unused(self) -> frozenset[str]:
        """Return the settings of averages over the group, of which one element is left."""
        return frozenset({"symmetrise", "num_elements"})

    def orders(self, target: Target) -> tuple[TreeSpec, list[Order]]:
        """Return how the group permutes positions, and what to order.

        Raises
        ------
        InputError
            If there is no network, or an average over the group is asked for.
        """
        if self.symmetrise != "no":
            raise InputError(
                f"networks in order have no others to be averaged with, and symmetrise is {self.symmetrise}; leave it "
                "out, or take meanfield"
            )
        if target.posterior.model is None:
            raise InputError("a log density has no units to order; give a posterior, or take meanfield")
        spec = position_spec(target.posterior.model, target.posterior.frozen)
        return spec, orders_of(spec)

    def family(self, target: Target) -> Family:
        """Return the family over z for a target."""
        _, orders = self.orders(target)
        return ordered_family(orders) if orders else DIAGONAL

    def first(self, key: Key, z: PyTree, target: Target) -> Diagonal:
        """Return its parameters around a start, brought into order."""
        spec, orders = self.orders(target)
        return super().first(key, unconstrain(put_in_order(z, spec, orders), orders, MIN_GAP), target)
