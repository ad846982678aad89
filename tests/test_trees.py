import jax.numpy as jnp
import numpy as np
import pytest

from asymjax import trees

TREE = {"b": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}, "a": np.arange(4)}


def test_unflatten_undoes_flatten():
    flat = trees.flatten(TREE)
    assert list(flat) == ["a", "b/bias", "b/kernel"]
    back = trees.unflatten(flat)
    assert back["b"]["kernel"] is TREE["b"]["kernel"] and back["a"] is TREE["a"]


def test_counts():
    assert trees.num_entries(TREE) == 13
    assert trees.num_bytes(TREE["b"]) == 36


@pytest.mark.parametrize(
    "other",
    [
        TREE | {"a": np.arange(4)[::-1]},
        TREE | {"a": np.arange(4).reshape(2, 2)},
        TREE | {"a": np.arange(4, dtype=np.int32)},
        {"b": TREE["b"], "c": TREE["a"]},
    ],
    ids=["values", "shape", "dtype", "path"],
)
def test_checksum_sees(other):
    assert trees.checksum(other) != trees.checksum(TREE)


def test_checksum_ignores_the_order_of_insertion():
    assert trees.checksum(dict(reversed(TREE.items()))) == trees.checksum(TREE)


def test_norm_and_finiteness():
    assert trees.norm({"a": jnp.array([3.0]), "b": jnp.array([[4.0]])}) == 5
    assert trees.all_finite({"a": jnp.ones(2), "n": jnp.arange(3)})
    assert not trees.all_finite({"a": jnp.array([1.0, jnp.inf])})
    assert trees.all_finite({"n": jnp.arange(3)})
