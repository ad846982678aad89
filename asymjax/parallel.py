"""One function over a leading axis of networks or chains: over devices, and inside a device at once or in turn.

On CPU, members in turn (``lax.map``) are equal to the last bit whatever their count and the number of devices, as long
as XLA's thread pool has one size: the larger of cores and host devices. With more host devices than cores, large sums
are split otherwise and round otherwise.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from asymjax.errors import InputError
from asymjax.types import PyTree

HOST_DEVICES_FLAG = "--xla_force_host_platform_device_count"


def configure_host_devices() -> None:
    """Give JAX one CPU device a core. Call before anything touches a device.

    A count that the user set (``XLA_FLAGS`` or ``jax_num_cpu_devices``) is respected. When a backend exists already
    nothing is changed, and one printed line says so.
    """
    if HOST_DEVICES_FLAG in os.environ.get("XLA_FLAGS", "") or jax.config.values["jax_num_cpu_devices"] > 0:
        return
    try:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    except RuntimeError:
        print("asymjax: JAX has started already, so the number of host devices stays as it is", file=sys.stderr)


class Placement(NamedTuple):
    """Where the members of a leading axis run.

    Attributes
    ----------
    size : members, the length of the leading axis.
    num_devices : devices they are spread over; divides ``size``.
    inside : ``"vectorized"`` (vmap) or ``"sequential"`` (lax.map) on each device.
    """

    size: int
    num_devices: int
    inside: Literal["vectorized", "sequential"]

    def __str__(self) -> str:
        """Say in words what was chosen."""
        kind = jax.devices()[0].device_kind
        how = "one after the other" if self.inside == "sequential" else "vectorized"
        return f"{self.size} on {self.num_devices} of {jax.device_count()} devices ({kind}), {how} on each"


def place(
    count: int,
    num_devices: int | None = None,
    inside: Literal["auto", "vectorized", "sequential"] = "auto",
) -> Placement:
    """Choose where ``count`` members run.

    Parameters
    ----------
    count : members of the leading axis, at least 1.
    num_devices : devices to use; by default the largest number available that divides ``count``.
    inside : placement on each device; ``"auto"`` is sequential on CPU, where a member's parameters then stay in the
        cache of one core and its result does not depend on the others to the last bit, and vectorized elsewhere.

    Raises
    ------
    InputError
        If ``num_devices`` exceeds what there is or does not divide ``count``.
    """
    available = jax.device_count()
    if count < 1:
        raise InputError(f"{count} networks or chains asked for; give at least 1")
    if num_devices is None:
        num_devices = max(n for n in range(1, available + 1) if count % n == 0)
    elif not 1 <= num_devices <= available:
        raise InputError(f"{num_devices} devices asked for, {available} available")
    elif count % num_devices:
        raise InputError(f"{num_devices} devices do not divide {count} networks or chains; choose a divisor")
    if inside == "auto":
        inside = "sequential" if jax.default_backend() == "cpu" else "vectorized"
    return Placement(count, num_devices, inside)


def _mesh(placement: Placement, axis: str) -> Mesh:
    return Mesh(np.asarray(jax.devices()[: placement.num_devices]), (axis,))


def map_leading(
    fn: Callable[..., PyTree], placement: Placement, is_mapped: Sequence[bool], axis: str = "member"
) -> Callable[..., PyTree]:
    """Map a function of one member over the leading axis of its arguments.

    Parameters
    ----------
    fn : function of one member; free of collectives, so members never communicate.
    placement : where members run.
    is_mapped : for each argument, whether it has the leading axis (True) or is shared by all members (False).
    axis : name of the mesh axis.

    Returns
    -------
    A function of the same arguments; every leaf of its result has the leading axis. Not jitted.
    """

    def inner(*args: Any) -> PyTree:
        if placement.inside == "vectorized":
            return jax.vmap(fn, in_axes=[0 if mapped else None for mapped in is_mapped])(*args)
        members = [arg for arg, mapped in zip(args, is_mapped, strict=True) if mapped]

        def one(members: list[Any]) -> PyTree:
            rest = iter(members)
            return fn(*[next(rest) if mapped else arg for arg, mapped in zip(args, is_mapped, strict=True)])

        return lax.map(one, members)

    specs = tuple(PartitionSpec(axis) if mapped else PartitionSpec() for mapped in is_mapped)
    return jax.shard_map(
        inner, mesh=_mesh(placement, axis), in_specs=specs, out_specs=PartitionSpec(axis), check_vma=False
    )


def _sharding(placement: Placement, is_mapped: bool, axis: str) -> NamedSharding:
    return NamedSharding(_mesh(placement, axis), PartitionSpec(axis) if is_mapped else PartitionSpec())


def put(tree: PyTree, placement: Placement, is_mapped: bool, axis: str = "member") -> PyTree:
    """Move a tree to the devices of a placement: split along the leading axis, or a copy on each."""
    return jax.device_put(tree, _sharding(placement, is_mapped, axis))


def abstract(tree: PyTree, placement: Placement, is_mapped: bool, axis: str = "member") -> PyTree:
    """Return the shape structs of a tree as :func:`put` would place it; enough to compile for."""
    sharding = _sharding(placement, is_mapped, axis)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
