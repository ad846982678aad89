"""One function over a leading axis of networks or chains: over hosts, over devices, and at once or in turn on each.

On CPU, members in turn (``lax.map``) are equal to the last bit whatever their count, the number of devices, processes
and rounds, as long as XLA's thread pool has one size: the larger of cores and host devices. With more host devices
than cores, large sums are split otherwise and round otherwise. Members at once (``vmap``) are equal to the bit only
among runs with as many at once.
"""

import os
import sys
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from asymjax.errors import InputError
from asymjax.types import PyTree

HOST_DEVICES_FLAG = "--xla_force_host_platform_device_count"


def configure_host_devices() -> None:
    """Give JAX one CPU device a core, so that networks and chains run on all of them. Call before JAX does anything.

    The first use of a name of the package does so too, where it comes before JAX has started. A count that the user
    set (``XLA_FLAGS`` or ``jax_num_cpu_devices``) is respected. When a backend exists already nothing is changed, and
    one printed line says so.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.configure_host_devices()
    """
    if not use_all_cores():
        print("asymjax: JAX has started already, so the number of host devices stays as it is", file=sys.stderr)


def use_all_cores() -> bool:
    """Do what :func:`configure_host_devices` does without a word; return whether JAX had not started without it."""
    if HOST_DEVICES_FLAG not in os.environ.get("XLA_FLAGS", "") and jax.config.values["jax_num_cpu_devices"] <= 0:
        try:
            jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
        except RuntimeError:
            return False
    return True


class Placement(NamedTuple):
    """Where the members of a leading axis run.

    Attributes
    ----------
    total : members in all.
    size : members of one program, the length of its leading axis. Members beyond it run in further rounds, the last of
        which is filled up with members that ran before.
    num_devices : devices that a program is spread over, as many of every process; divides ``size``.
    width : members at once on a device (vmap), from 1, one after the other, to all of them.
    is_local : whether the devices are those of this process alone.
    """

    total: int
    size: int
    num_devices: int
    width: int
    is_local: bool = False

    @property
    def num_rounds(self) -> int:
        """Programs that run one after the other until every member has run."""
        return -(-self.total // self.size)

    def members(self, index: int) -> np.ndarray:
        """Return which members run in a round, int [size]."""
        return np.arange(index * self.size, (index + 1) * self.size) % self.total

    def is_new(self, index: int) -> np.ndarray:
        """Return which members of a round run for the first time, bool [size]; they come first."""
        return np.arange(index * self.size, (index + 1) * self.size) < self.total

    def __str__(self) -> str:
        """Return in words what was chosen."""
        on_each = self.size // self.num_devices
        how = (
            "one after the other"
            if self.width == 1
            else "at once"
            if self.width >= on_each
            else f"{self.width} at once"
        )
        rounds = f" in {self.num_rounds} rounds of {self.size:,}" if self.num_rounds > 1 else ""
        of_processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
        return (
            f"{self.total:,}{rounds} on {self.num_devices} of {jax.device_count()} devices{of_processes} "
            f"({jax.devices()[0].device_kind}), {on_each:,} on each, {how}"
        )


Inside = Literal["auto", "vectorized", "sequential"] | int


def place(
    count: int,
    num_devices: int | None = None,
    inside: Inside = "auto",
    max_size: int | None = None,
    is_local: bool = False,
) -> Placement:
    """Choose where ``count`` members run.

    Parameters
    ----------
    count : members of the leading axis, at least 1.
    num_devices : devices to use; by default the largest number available that divides the members of a program.
    inside : placement on each device, or how many run at once there; ``"auto"`` is sequential on CPU, where a member's
        parameters then stay in the cache of one core and its result does not depend on the others to the last bit, and
        vectorized elsewhere.
    max_size : members of one program at most, from 1; more run in rounds.
    is_local : use the devices of this process alone, for what one process does without the others.

    Raises
    ------
    InputError
        If ``count`` is no whole number, it or ``max_size`` is below 1, ``num_devices`` exceeds what there is, is not as
        many on every process, or does not divide the members of a program, or if the number of processes does not.
    """
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        raise InputError(f"{count!r} networks or chains asked for; give a whole number, at least 1")
    count = int(count)
    if max_size is not None and max_size < 1:
        raise InputError(f"round_size is {max_size}; give at least 1")
    size = count if max_size is None else min(count, max_size)
    num_devices = _choose_devices(size, num_devices, *_available(is_local))
    return Placement(count, size, num_devices, width_of(inside, size // num_devices), is_local)


def width_of(inside: Inside, count: int) -> int:
    """Return how many of ``count`` members on a device run at once.

    Raises
    ------
    InputError
        If ``inside`` is a number below 1.
    """
    if inside == "auto":
        inside = "sequential" if jax.default_backend() == "cpu" else "vectorized"
    if isinstance(inside, str):
        return 1 if inside == "sequential" else count
    if inside < 1:
        raise InputError(f"placement is {inside}; give auto, vectorized, sequential, or how many run at once")
    return min(inside, count)


def _available(is_local: bool) -> tuple[int, int]:
    """Return how many devices there are, and to how many processes they belong."""
    return (jax.local_device_count(), 1) if is_local else (jax.device_count(), jax.process_count())


def _choose_devices(size: int, asked: int | None, available: int, processes: int) -> int:
    if asked is not None and not 1 <= asked <= available:
        raise InputError(f"{asked} devices asked for, {available} available")
    if size % processes:
        raise InputError(
            f"{processes} processes do not divide {size} networks or chains; choose --num-seeds, --num-chains or "
            "--round-size so that they do"
        )
    if asked is None:
        return max(n for n in range(processes, available + 1, processes) if size % n == 0)
    if asked % processes:
        raise InputError(f"{asked} devices asked for, which {processes} processes cannot share evenly")
    if size % asked:
        raise InputError(
            f"{asked} devices do not divide {size} networks or chains (of a round); choose a divisor as --num-devices, "
            "or another number of them"
        )
    return asked


def _mesh(placement: Placement, axis: str) -> Mesh:
    """Return the devices of a placement, those of each process side by side, so that its members are as well."""
    _, processes = _available(placement.is_local)
    devices = jax.local_devices() if placement.is_local else jax.devices()
    devices = sorted(devices, key=lambda device: (device.process_index, device.id))
    by_process = np.asarray(devices).reshape(processes, -1)
    return Mesh(by_process[:, : placement.num_devices // processes].ravel(), (axis,))


def map_on_device(fn: Callable[..., PyTree], width: int, is_mapped: Sequence[bool]) -> Callable[..., PyTree]:
    """Map a function of one member over the leading axis of its arguments on one device, ``width`` at once."""

    def inner(*args: Any) -> PyTree:
        members = [arg for arg, mapped in zip(args, is_mapped, strict=True) if mapped]

        def one(members: list[Any]) -> PyTree:
            rest = iter(members)
            return fn(*[next(rest) if mapped else arg for arg, mapped in zip(args, is_mapped, strict=True)])

        count = jax.tree.leaves(members)[0].shape[0]
        if width >= count > 1:
            return jax.vmap(one)(members)
        return lax.map(one, members, batch_size=width if width > 1 else None)

    return inner


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
    specs = tuple(PartitionSpec(axis) if mapped else PartitionSpec() for mapped in is_mapped)
    return jax.shard_map(
        map_on_device(fn, placement.width, is_mapped),
        mesh=_mesh(placement, axis),
        in_specs=specs,
        out_specs=PartitionSpec(axis),
        check_vma=False,
    )


def _sharding(placement: Placement, is_mapped: bool, axis: str) -> NamedSharding:
    return NamedSharding(_mesh(placement, axis), PartitionSpec(axis) if is_mapped else PartitionSpec())


def put(tree: PyTree, placement: Placement, is_mapped: bool, axis: str = "member") -> PyTree:
    """Move a tree to the devices of a placement: split along the leading axis, or a copy on each.

    With several processes, each holds the whole tree and moves its own part; what lies on the devices already stays.
    """
    sharding = _sharding(placement, is_mapped, axis)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda leaf: _put_own(leaf, sharding), tree)


def _put_own(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
        return leaf
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put_own(jax.random.key_data(leaf), sharding)
        return jax.jit(jax.random.wrap_key_data, out_shardings=sharding)(data)
    array = np.asarray(leaf)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def abstract(tree: PyTree, placement: Placement, is_mapped: bool, axis: str = "member") -> PyTree:
    """Return the shape structs of a tree as :func:`put` would place it; enough to compile for, or to restore into."""
    sharding = _sharding(placement, is_mapped, axis)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
