"""IDX files as MNIST publishes them."""

import gzip
import struct

import numpy as np
import pytest

from asymjax.data import load

RNG = np.random.default_rng(0)
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def arrays():
    return [
        RNG.integers(0, 256, (40, 6, 9), dtype=np.uint8),
        (np.arange(40) % 10).astype(np.uint8),
        RNG.integers(0, 256, (20, 6, 9), dtype=np.uint8),
        (np.arange(20) % 10).astype(np.uint8),
    ]


@pytest.fixture
def folder(tmp_path, arrays):
    for name, array in zip(NAMES, arrays, strict=True):
        (tmp_path / name).write_bytes(idx_bytes(array))
    return tmp_path


def test_the_folder_may_hold_that_of_the_dataset(folder, tmp_path_factory):
    above = tmp_path_factory.mktemp("data")
    (above / "mnist").symlink_to(folder)
    assert load("mnist", above).checksum == load("mnist", folder).checksum


def test_images_need_not_be_square(folder, arrays):
    dataset = load("mnist", folder)
    assert dataset.input_shape == (6, 9, 1)
    assert [len(split.inputs) for split in dataset[2:5]] == [36, 4, 20]
    assert dataset.num_outputs == 10
    np.testing.assert_array_equal(dataset.test.targets, arrays[3])
    pixels, standard = arrays[2].astype(float).ravel(), dataset.test.inputs.ravel()
    np.testing.assert_allclose(np.polyval(np.polyfit(pixels, standard, 1), pixels), standard, atol=1e-5)
    np.testing.assert_allclose(dataset.train.inputs.mean(), 0, atol=1e-6)


def test_gzipped_files_are_the_same_dataset(folder):
    plain = load("mnist", folder)
    for name in NAMES:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    assert load("mnist", str(folder)).checksum == plain.checksum
    assert load("mnist", folder, data_seed=1).checksum != plain.checksum


def refuse(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load("mnist", folder)


def test_wrong_magic(folder, arrays):
    refuse(
        folder, NAMES[0], idx_bytes(arrays[1]), r"train-images.*magic number 2049 \(labels\), expected 2051 \(images\)"
    )
    refuse(folder, NAMES[0], b"\x89PNG....", r"train-images.*not an IDX file")


def test_images_in_place_of_labels(folder, arrays):
    refuse(folder, NAMES[3], idx_bytes(arrays[0]), r"t10k-labels.*magic number 2051 \(images\), expected 2049")


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda content: content[:-1], r"truncated, 2175 bytes where the header's shape \(40, 6, 9\) makes 2176"),
        (lambda content: content + b"\0", r"trailing bytes, 2177 bytes where .* makes 2176"),
        (lambda content: content[:9], "9 bytes, truncated within the header of 16"),
        (lambda content: b"", "magic number 0"),
        (lambda content: content[:4] + struct.pack(">3I", 0, 6, 9), "no rows"),
    ],
)
def test_wrong_length(folder, arrays, cut, message):
    refuse(folder, NAMES[0], cut(idx_bytes(arrays[0])), message)


def test_label_out_of_range(folder, arrays):
    arrays[1][7] = 10
    refuse(folder, NAMES[1], idx_bytes(arrays[1]), r"train-labels.*label 10 in row 7 \(from 0\), expected .* 0 to 9")


def test_counts_that_disagree(folder, arrays):
    refuse(folder, NAMES[1], idx_bytes(arrays[1][:-1]), r"train-labels.*39 targets for 40 inputs")


def test_image_sizes_that_disagree(folder, arrays):
    refuse(folder, NAMES[2], idx_bytes(arrays[2][:, :, 1:]), r"inputs have shape \(6, 9, 1\), test inputs \(6, 8, 1\)")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-12],
        lambda content: content[:40] + bytes(8) + content[48:],
        lambda content: b"not gzip at all",
    ],
)
def test_corrupt_gzip(folder, arrays, damage):
    (folder / NAMES[0]).unlink()
    refuse(folder, f"{NAMES[0]}.gz", damage(gzip.compress(idx_bytes(arrays[0]))), r"idx3-ubyte\.gz: corrupt gzip")


def test_missing_file(folder):
    (folder / NAMES[2]).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no file t10k-images-idx3-ubyte or .*\.gz in .* holds: t10k-labels-idx1"
    ):
        load("mnist", folder)
