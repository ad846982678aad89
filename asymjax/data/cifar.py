"""CIFAR-10 and CIFAR-100, in the official binary and Python versions.

A binary record is one label byte (CIFAR-100: coarse, then fine) and 3072 pixel bytes: channel, row, column.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asymjax.data.assemble import Rows, checked_rows, keep_test
from asymjax.data.files import data_folder, existing_file, listing, read_text
from asymjax.data.pickles import load_pickle
from asymjax.errors import InputError
from asymjax.types import Dataset

NUM_PIXELS = 3 * 32 * 32


class Layout(NamedTuple):
    """How one of the two sets is stored.

    Attributes
    ----------
    train, test : names of the files, without ``.bin``; of ``train`` those that are there are read.
    num_classes : number of classes.
    num_label_bytes : label bytes of a binary record; the last one counts.
    labels_key : key of the labels in a pickled batch.
    binary_names : text file with one class name a line.
    python_names, names_key : pickled file with the class names, and their key.
    folders : as which the archives unpack.
    """

    train: tuple[str, ...]
    test: str
    num_classes: int
    num_label_bytes: int
    labels_key: str
    binary_names: str
    python_names: str
    names_key: str
    folders: tuple[str, ...]


LAYOUTS = {
    "cifar10": Layout(
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test_batch",
        10,
        1,
        "labels",
        "batches.meta.txt",
        "batches.meta",
        "label_names",
        ("cifar-10-batches-bin", "cifar-10-batches-py"),
    ),
    "cifar100": Layout(
        ("train",),
        "test",
        100,
        2,
        "fine_labels",
        "fine_label_names.txt",
        "meta",
        "fine_label_names",
        ("cifar-100-binary", "cifar-100-python"),
    ),
}


def load(name: str, data_dir: str | Path | None, data_seed: int) -> Dataset:
    """Load ``"cifar10"`` or ``"cifar100"`` (fine labels), images [32, 32, 3]; see :func:`asymjax.data.load`.

    Every training batch that is there is read, in their order; where both versions are, the binary one.
    The official test set is kept; 10 % of the training rows, chosen by ``data_seed``, are the validation set. Without
    the file of class names, the classes are named by their numbers.
    """
    layout = LAYOUTS[name]
    folder = data_folder(name, data_dir, *layout.folders)
    paths = _train_files(folder, layout)
    suffix = paths[0].suffix
    parts = [_read_batch(path, layout) for path in paths]
    _refuse_copies(paths, parts)
    train = Rows(np.concatenate([part.inputs for part in parts]), np.concatenate([part.targets for part in parts]))
    test = _read_batch(existing_file(folder, layout.test + suffix), layout)
    return keep_test(name, train, test, _class_names(folder, layout, suffix), data_seed)


def _train_files(folder: Path, layout: Layout) -> list[Path]:
    for suffix in (".bin", ""):
        paths = [folder / f"{name}{suffix}" for name in layout.train]
        if found := [path for path in paths if path.is_file()]:
            return found
    first = layout.train[0]
    raise FileNotFoundError(f"there is no file {first}.bin or {first} in {folder}; {listing(folder)}")


def _refuse_copies(paths: Sequence[Path], parts: Sequence[Rows]) -> None:
    """Refuse batches with the same rows, which would stand in training and validation."""
    seen: dict[bytes, Path] = {}
    for path, part in zip(paths, parts, strict=True):
        other = seen.setdefault(hashlib.sha256(part.inputs.tobytes()).digest(), path)
        if other is not path:
            raise InputError(f"{other} and {path.name} hold the same images; put the right file there, or delete one")


def _read_batch(path: Path, layout: Layout) -> Rows:
    pixels, labels = _read_binary(path, layout) if path.suffix else _read_python(path, layout)
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return checked_rows(path, images, labels, layout.num_classes)


def _read_binary(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    content = np.fromfile(path, np.uint8)
    record = layout.num_label_bytes + NUM_PIXELS
    if len(content) % record:
        raise InputError(f"{path}: {len(content)} bytes, expected a multiple of {record}, the size of a record")
    records = content.reshape(-1, record)
    return records[:, layout.num_label_bytes :], records[:, layout.num_label_bytes - 1]


def _read_python(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    batch = _read_dictionary(path, "data", layout.labels_key)
    pixels = np.asarray(batch["data"])
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (NUM_PIXELS,):
        raise InputError(f"{path}: 'data' is {pixels.dtype} {pixels.shape}, expected uint8 [rows, {NUM_PIXELS}]")
    return pixels, np.asarray(batch[layout.labels_key])


def _class_names(folder: Path, layout: Layout, suffix: str) -> tuple[str, ...]:
    path = folder / (layout.binary_names if suffix else layout.python_names)
    if not path.is_file():
        return tuple(map(str, range(layout.num_classes)))
    names = read_text(path).split() if suffix else _read_dictionary(path, layout.names_key)[layout.names_key]
    if len(names) != layout.num_classes:
        raise InputError(f"{path}: {len(names)} class names, expected {layout.num_classes}")
    return tuple(map(_text, names))


def _read_dictionary(path: Path, *keys: str) -> dict[str, Any]:
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected a dictionary with {', '.join(keys)}")
    content = {_text(key): value for key, value in content.items()}
    if missing := set(keys) - set(content):
        raise InputError(f"{path}: no {', '.join(sorted(missing))} among its keys {', '.join(content)}")
    return content


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
