import jax
import numpy as np

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
