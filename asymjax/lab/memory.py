"""What a compiled program takes of memory and of work, and what there is."""

import os
import resource

import jax

from asymjax.errors import InputError


def needed_bytes(compiled: jax.stages.Compiled) -> int | None:
    """Return the bytes that a program takes on each device: arguments, results and temporaries at their peak.

    Donated arguments count once: results take their place. None where the compiler does not tell.
    """
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    given = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    return given + stats.temp_size_in_bytes


def limit_bytes(num_devices: int = 1) -> int | None:
    """Return the memory of each device, None where that is unknown.

    Parameters
    ----------
    num_devices : devices of this process that are at work; on CPU they share the memory of the machine.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    num_pages, page_size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return num_pages * page_size // num_devices if min(num_pages, page_size) > 0 else None


def count_devices(compiled: jax.stages.Compiled) -> int:
    """Return on how many devices of this process a program runs."""
    shardings = jax.tree.leaves((compiled.input_shardings, compiled.output_shardings))
    return max((len(sharding.addressable_devices) for sharding in shardings), default=1)


def count_flops(traced: jax.stages.Traced) -> float | None:
    """Return the FLOPs of a program as XLA counts them before it optimises, the body of a loop once.

    In the form that accelerators get, where a convolution is one operation; on CPU it is a loop.

    None where the backend does not tell: a figure to print must not end a run.
    """
    try:
        found = traced.lower(lowering_platforms=("tpu",)).cost_analysis() or {}
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        return None
    return found.get("flops")


def in_use_bytes() -> int:
    """Return the bytes in use on the fullest device of this process, or on CPU by this process."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if all("bytes_in_use" in of_device for of_device in stats):
        return max(of_device["bytes_in_use"] for of_device in stats)
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Bytes where there is no /proc: on macOS.


def require_memory(needed: int | None, limit: int | None) -> None:
    """Refuse what no device can hold.

    Raises
    ------
    InputError
        If a program needs more than the limit.
    """
    if needed is not None and limit is not None and needed > limit:
        raise InputError(
            f"a program takes {needed / 1e9:,.1f} GB on each device, which has {limit / 1e9:,.1f} GB; give fewer "
            "networks, chains or rows at once, --placement sequential, or a narrower network"
        )


def describe(needed: int | None, limit: int | None) -> str:
    """Return in megabytes what a program takes, and of how much."""
    if needed is None:
        return "memory: the compiler does not tell"
    return f"memory: {needed / 1e6:,.1f} MB" + ("" if limit is None else f" of {limit / 1e6:,.0f} MB")
