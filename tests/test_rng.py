from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asymjax import rng


def test_names_have_the_checksums_they_always_had():
    assert (rng.checksum("mask"), rng.checksum("dense_0/kernel")) == (2138030896, 1001978831)


def test_named_keys_depend_on_name_and_key():
    keys = [rng.named_key(jax.random.key(seed), name) for seed in (0, 1) for name in ("init", "order")]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 4
    again = rng.role_key(1, "order")
    np.testing.assert_array_equal(jax.random.key_data(keys[3]), jax.random.key_data(again))


def test_member_keys_do_not_depend_on_their_number():
    many, few = (jax.random.key_data(rng.member_keys(jax.random.key(3), count)) for count in (7, 3))
    np.testing.assert_array_equal(few, many[:3])
    assert len(np.unique(many, axis=0)) == 7


@pytest.mark.parametrize("size", [0, 1, 1625, 1626])  # From 1,626 on there are two passes.
def test_permutations_are_those_of_jax(size):
    keys = jax.random.split(jax.random.key(4), 5)
    mine = jax.jit(lambda keys: jax.lax.map(partial(rng.permutation, size=size), keys))(keys)
    vectorized = jax.jit(jax.vmap(partial(rng.permutation, size=size)))(keys)
    for key, one, other in zip(keys, mine, vectorized, strict=True):
        expected = jax.random.permutation(key, size)
        assert one.dtype == expected.dtype
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(other, expected)


def test_equal_bits_keep_their_order(monkeypatch):
    monkeypatch.setattr(rng, "bits", lambda key, shape: jnp.arange(shape[0], dtype="uint32") % 3)
    order = rng.permutation(jax.random.key(0), 9)
    np.testing.assert_array_equal(order, [0, 3, 6, 1, 4, 7, 2, 5, 8])
