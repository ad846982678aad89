"""Random keys by role and name; the same in every process, whatever PYTHONHASHSEED says."""

import math
import zlib

import jax
from jax import lax

from asymjax.types import Array, Key


def checksum(name: str) -> int:
    """Return a stable 32-bit checksum of a name (CRC-32; Python's ``hash`` is salted per process)."""
    return zlib.crc32(name.encode())


def named_key(key: Key, name: str) -> Key:
    """Return the sub-key of ``key`` that belongs to ``name``."""
    return jax.random.fold_in(key, checksum(name))


def role_key(seed: int, role: str) -> Key:
    """Return the key of one role ("mask", "init", "train", "sample", ...) under an integer seed."""
    return named_key(jax.random.key(seed), role)


def member_keys(key: Key, count: int) -> Key:
    """Return one key a member [count]; the i-th does not depend on how many there are."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jax.numpy.arange(count))


# Drawn flat, a shape costs XLA a third of the compile time, and the numbers are the same. The types are given, so that
# they are the same under x64 too.


def bits(key: Key, shape: tuple[int, ...]) -> Array:
    """Draw uint32 bits [*shape]."""
    return jax.random.bits(key, (math.prod(shape),), "uint32").reshape(shape)


def uniform(key: Key, shape: tuple[int, ...], bound: float) -> Array:
    """Draw float32 numbers [*shape] uniform in (-bound, bound)."""
    return jax.random.uniform(key, (math.prod(shape),), "float32", -bound, bound).reshape(shape)


def normal(key: Key, shape: tuple[int, ...]) -> Array:
    """Draw standard normal float32 numbers [*shape]."""
    # XLA would merge a constant factor into the draw, and round otherwise than with a traced factor.
    return lax.optimization_barrier(jax.random.normal(key, (math.prod(shape),), "float32")).reshape(shape)
