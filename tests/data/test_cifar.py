"""CIFAR-10 and CIFAR-100 in the binary and Python versions."""

import pickle
import struct

import numpy as np
import pytest

from asymjax.data import load

RNG = np.random.default_rng(0)
NAMES = [f"class {i}" for i in range(10)]


def batch(num_rows, num_classes=10):
    labels = np.arange(num_rows, dtype=np.uint8) % num_classes
    return RNG.integers(0, 256, (num_rows, 3072), dtype=np.uint8), labels


def binary(pixels, *labels):
    return np.concatenate([*(column[:, None] for column in labels), pixels], axis=1).tobytes()


def python2_pickle(pixels, labels):
    """Write ``{"data": uint8 array, "labels": list}`` with the opcodes and module names of Python 2's cPickle."""

    def text(content):
        return b"T" + struct.pack("<i", len(content)) + content

    dtype = (
        b"cnumpy\ndtype\n("
        + text(b"u1")
        + b"K\x00K\x01tR(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    shape = b"(" + b"".join(b"M" + struct.pack("<H", size) for size in pixels.shape) + b"t"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
    array += b"(K\x01" + shape + dtype + b"\x89" + text(pixels.tobytes()) + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


@pytest.fixture
def parts():
    return batch(12), batch(8), batch(20)


@pytest.fixture
def folder(tmp_path, parts):
    for name, part in zip(("data_batch_1", "data_batch_3", "test_batch"), parts, strict=True):
        (tmp_path / f"{name}.bin").write_bytes(binary(*part))
    (tmp_path / "batches.meta.txt").write_text("\n".join(name.replace(" ", "_") for name in NAMES) + "\n\n")
    return tmp_path


def test_binary_version(folder, parts):
    dataset = load("cifar10", folder)
    assert [split.inputs.shape for split in dataset[2:5]] == [(n, 32, 32, 3) for n in (18, 2, 20)]
    assert dataset.class_names[3] == "class_3"
    np.testing.assert_array_equal(dataset.test.targets, parts[2][1])
    np.testing.assert_allclose(dataset.train.inputs.mean((0, 1, 2)), 0, atol=1e-6)
    # Record: channel, row, column; image: row, column, channel.
    green = parts[2][0][4, 1024 + 32 * 5 + 7], parts[2][0][9, 1024 + 32 * 30]
    standard = dataset.test.inputs[4, 5, 7, 1], dataset.test.inputs[9, 30, 0, 1]
    raw_scale = parts[2][0][:, 1024:2048].std() / dataset.test.inputs[..., 1].std()
    np.testing.assert_allclose((standard[0] - standard[1]) * raw_scale, float(green[0]) - float(green[1]), atol=1e-3)


@pytest.mark.parametrize("write", [
    python2_pickle,
    lambda pixels, labels: pickle.dumps({b"data": pixels, b"labels": labels.tolist()}, protocol=2),
    lambda pixels, labels: pickle.dumps({"data": pixels, "labels": labels.tolist()}, protocol=4),
    lambda pixels, labels: pickle.dumps({"data": pixels, "labels": labels}, protocol=5),
])  # fmt: skip
def test_python_version_is_the_same_dataset(tmp_path, folder, parts, write):
    reference = load("cifar10", folder).checksum
    for path in folder.iterdir():
        path.unlink()
    for name, part in zip(("data_batch_1", "data_batch_3", "test_batch"), parts, strict=True):
        (tmp_path / name).write_bytes(write(*part))
    dataset = load("cifar10", tmp_path)
    assert dataset.checksum == reference
    assert dataset.class_names == tuple("0123456789")
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({b"label_names": [name.encode() for name in NAMES]}))
    assert load("cifar10", tmp_path).class_names == tuple(NAMES)


def test_a_copy_of_a_batch_is_no_batch(folder):
    before = load("cifar10", folder).checksum
    content = (folder / "data_batch_1.bin").read_bytes()
    for name in ("data_batch_1 (1).bin", "data_batch_1_copy.bin", "data_batch_01.bin"):
        (folder / name).write_bytes(content)
    assert load("cifar10", folder).checksum == before
    refuse(folder, "data_batch_2.bin", content, r"data_batch_1\.bin and data_batch_2\.bin hold the same images")


def test_cifar100_takes_the_fine_label(tmp_path):
    (train, fine), (test, test_fine) = batch(30, 100), batch(110, 100)
    (tmp_path / "train.bin").write_bytes(binary(train, fine // 5, fine))
    (tmp_path / "test.bin").write_bytes(binary(test, test_fine // 5, test_fine))
    dataset = load("cifar100", tmp_path)
    np.testing.assert_array_equal(dataset.test.targets, test_fine)
    assert dataset.num_outputs == 100
    for name, pixels, labels in (("train", train, fine), ("test", test, test_fine)):
        (tmp_path / f"{name}.bin").unlink()
        content = {"data": pixels, "fine_labels": labels.tolist(), "coarse_labels": (labels // 5).tolist()}
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol=2))
    assert load("cifar100", tmp_path).checksum == dataset.checksum


def refuse(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load("cifar10", folder)


def test_binary_files_that_are_refused(folder, parts):
    content = binary(*parts[0])
    size = 3073 * 12
    refuse(
        folder, "data_batch_1.bin", content[:-1], rf"data_batch_1\.bin: {size - 1} bytes, expected a multiple of 3073"
    )
    refuse(folder, "data_batch_1.bin", content + b"\n", rf"data_batch_1\.bin: {size + 1} bytes, expected a multiple")
    refuse(folder, "data_batch_1.bin", b"", r"data_batch_1\.bin: no rows")
    refuse(folder, "data_batch_1.bin", b"\x0a" + content[1:], r"data_batch_1\.bin: label 10 in row 0")


def test_class_names_that_disagree(folder):
    refuse(folder, "batches.meta.txt", b"cat\ndog\n", r"batches\.meta\.txt: 2 class names, expected 10")


def test_python_files_that_are_refused(folder, parts):
    (folder / "data_batch_1.bin").unlink()
    (folder / "data_batch_3.bin").unlink()
    pixels, labels = parts[0]
    for content, message in [
        ({"data": pixels}, r"data_batch_1: no labels among its keys data"),
        ([pixels], r"data_batch_1: holds a list, expected a dictionary with data, labels"),
        ({"data": pixels[:, :-1], "labels": labels}, r"data_batch_1: 'data' is uint8 \(12, 3071\), expected uint8"),
        ({"data": pixels.astype(float), "labels": labels}, r"data_batch_1: 'data' is float64"),
        ({"data": pixels, "labels": labels[1:]}, r"data_batch_1: 11 targets for 12 inputs"),
        ({"data": pixels, "labels": labels.astype(str)}, r"data_batch_1: labels are <U3"),
    ]:
        refuse(folder, "data_batch_1", pickle.dumps(content), message)


def test_missing_files(folder):
    (folder / "test_batch.bin").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no file test_batch\.bin in .* holds: batches\.meta\.txt, data_batch_1"
    ):
        load("cifar10", folder)
    with pytest.raises(
        FileNotFoundError, match=r"no file train\.bin or train in .* holds: batches\.meta\.txt, data_ba"
    ):
        load("cifar100", folder)
