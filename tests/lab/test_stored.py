"""Rows of the store that are read one by one are those of the arrays, and damage is named."""

import numpy as np
import pytest
import xarray
import zarr

from asymjax.errors import InputError
from asymjax.lab.results import NETWORKS, RESULTS, create_group, write_rows
from asymjax.lab.stored import stored_tree

COUNT, CHUNK = 23, 5
KERNEL = np.random.default_rng(0).normal(size=(COUNT, 4, 3)).astype(np.float32)
SCALE = np.arange(COUNT, dtype=np.float32)


@pytest.fixture
def path(tmp_path):
    arrays = {"position.dense_0.kernel": KERNEL, "position.scale": SCALE, "train.loss": SCALE.astype(float)}
    template = xarray.Dataset(
        {
            name: (("network", *(f"{name}_dim_{axis}" for axis in range(array.ndim - 1))), array)
            for name, array in arrays.items()
        }
    )
    create_group(tmp_path, NETWORKS, template, {"network": CHUNK})
    write_rows(tmp_path, NETWORKS, {}, arrays)
    return tmp_path


@pytest.mark.parametrize(
    "index",
    [
        slice(None),
        slice(3, 17),
        np.array([22, 0, 0, 4, 5, 6, 21]),
        np.random.default_rng(1).integers(0, COUNT, 40),
        np.array([], int),
    ],
    ids=["all", "slice", "some", "many", "none"],
)
def test_rows_are_those_of_the_array(path, index):
    tree = stored_tree(path, NETWORKS, "position.")
    assert tree.keys() == {"dense_0", "scale"} and tree["dense_0"].keys() == {"kernel"}
    for leaf, array in ((tree["dense_0"]["kernel"], KERNEL), (tree["scale"], SCALE)):
        assert (leaf.shape, leaf.ndim, leaf.dtype, len(leaf)) == (array.shape, array.ndim, array.dtype, COUNT)
        np.testing.assert_array_equal(leaf[index], array[index])
        kept = np.array([2, 3, 9, 22])
        np.testing.assert_array_equal(leaf.select(kept)[np.array([3, 1])], array[[22, 3]])


def test_files_that_are_lost_cut_or_damaged_are_named(path):
    leaf = stored_tree(path, NETWORKS, "position.")["dense_0"]["kernel"]
    files = {chunk: leaf.folder / "c" / str(chunk) / "0" / "0" for chunk in range(3)}
    content = bytearray(files[0].read_bytes())
    content[7] ^= 1
    files[0].write_bytes(content)
    with pytest.raises(InputError, match=r"kernel is damaged"):
        stored_tree(path, NETWORKS, "position.")
    files[1].write_bytes(files[1].read_bytes()[:50])
    with pytest.raises(InputError, match=r"c/1/0/0 is too short"):
        leaf[np.array([0, 6])]
    files[2].unlink()
    with pytest.raises(InputError, match=r"c/2/0/0 is not there"):
        leaf[np.array([11])]
    files[0].unlink()
    with pytest.raises(InputError, match=r"c/0/0/0 is not there"):
        stored_tree(path, NETWORKS, "position.")


def test_rows_of_what_is_compressed_are_refused(path):
    group = zarr.open_group(path / RESULTS, path=NETWORKS, mode="a")
    group.create_array("position.scale", data=SCALE, chunks=(CHUNK,), overwrite=True)
    with pytest.raises(InputError, match=r"position\.scale is compressed or cut otherwise"):
        stored_tree(path, NETWORKS, "position.")
