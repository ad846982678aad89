"""Random keys by role and name; the same in every process, whatever PYTHONHASHSEED says."""

import math
import zlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from asymjax.errors import InputError
from asymjax.settings import Seed, Settings
from asymjax.types import Array, Key


@dataclass(frozen=True)
class SeedConfig(Settings):
    """Seeds of what differs between networks or chains of one model."""

    init_seed: Seed = 0
    """Seed of the initial positions."""
    seed: Seed = 0
    """Seed of the training or sampling noise."""


def checksum(name: str) -> int:
    """Return a stable 32-bit checksum of a name (CRC-32; Python's ``hash`` is salted per process)."""
    return zlib.crc32(name.encode())


def named_key(key: Key, name: str) -> Key:
    """Return the sub-key of ``key`` that belongs to ``name``."""
    return jax.random.fold_in(key, checksum(name))


def checked_key(key: Any) -> Key:
    """Return one key.

    Raises
    ------
    InputError
        If it is none, is of the old kind, or are several.
    """
    is_key = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not is_key or key.shape != ():
        raise InputError(f"key is {key!r}; give one, jax.random.key(0)")
    return key


def role_key(seed: int, role: str) -> Key:
    """Return the key of one role ("mask", "init", "train", "sample", ...) under an integer seed."""
    return named_key(jax.random.key(seed), role)


def member_keys(key: Key, count: int) -> Key:
    """Return one key a member [count]; the i-th does not depend on how many there are."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))


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


def permutation(key: Key, size: int) -> Array:
    """Draw a random order of ``size`` things, int32 [size]: to the bit that of ``jax.random.permutation``.

    Notes
    -----
    JAX sorts pairs by random bits, in as many passes as make ties unlikely. XLA's CPU backend sorts pairs five to ten
    times as slowly as single numbers, so there a pair is one: the bits, and below them the place.
    """
    return lax.platform_dependent(
        key, cpu=partial(_permutation_on_cpu, size=size), default=lambda key: jax.random.permutation(key, size)
    )


def _permutation_on_cpu(key: Key, size: int) -> Array:
    order = jnp.arange(size)
    for _ in range(math.ceil(3 * math.log(max(1, size)) / math.log(2**32 - 1))):
        key, subkey = jax.random.split(key)
        drawn = bits(subkey, (size,))
        with jax.enable_x64(True):
            pairs = drawn.astype(jnp.uint64) << 32 | jnp.arange(size, dtype=jnp.uint64)
            places = lax.sort(pairs, is_stable=False).astype(jnp.uint32)
        order = order[places.astype(jnp.int32)]
    return order
