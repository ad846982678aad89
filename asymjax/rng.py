"""Random keys by role and name; the same in every process, whatever PYTHONHASHSEED says."""

import zlib

import jax

from asymjax.types import Key


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
