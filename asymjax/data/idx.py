"""MNIST and every set published in its files (Fashion-MNIST, KMNIST, ...): IDX, gzipped or not.

IDX is a big-endian header (two zero bytes, a type byte, 8 = uint8, the number of axes, then one 32-bit size an axis)
followed by the values in row-major order.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from asymjax.data.assemble import Rows, checked_rows, keep_test
from asymjax.data.files import data_folder, existing_file
from asymjax.errors import InputError
from asymjax.types import Dataset

CLASS_NAMES = tuple(map(str, range(10)))
CONTENT = {0x0801: "labels", 0x0803: "images"}


def load(name: str, data_dir: str | Path | None, data_seed: int) -> Dataset:
    """Load the four files ``{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]``; see :func:`asymjax.data.load`.

    Ten classes, grey images [height, width, 1] of any size and number. The official test set is kept; 10 % of the
    training rows, chosen by ``data_seed``, are the validation set. Where a file is there twice, the plain one is read.
    """
    folder = data_folder(name, data_dir, name)
    return keep_test(name, _read_part(folder, "train"), _read_part(folder, "t10k"), CLASS_NAMES, data_seed)


def read_idx(path: Path, magic: int) -> np.ndarray:
    """Read an IDX file of bytes.

    Parameters
    ----------
    path : the file; gunzipped if its name ends in ``.gz``.
    magic : the expected magic number; its last byte is the number of axes.

    Returns
    -------
    uint8 array with the sizes that the header names; read-only.

    Raises
    ------
    InputError
        For corrupt gzip, another magic number, a truncated file or trailing bytes.
    """
    content = _read_bytes(path)
    found = int.from_bytes(content[:4], "big")
    if found != magic:
        raise InputError(f"{path}: magic number {_magic_name(found)}, expected {_magic_name(magic)}")
    num_axes = magic & 0xFF
    header = 4 + 4 * num_axes
    if len(content) < header:
        raise InputError(f"{path}: {len(content)} bytes, truncated within the header of {header}")
    shape = tuple(np.frombuffer(content, ">u4", num_axes, offset=4).tolist())
    expected = header + math.prod(shape)
    if len(content) != expected:
        fault = "truncated" if len(content) < expected else "trailing bytes"
        raise InputError(f"{path}: {fault}, {len(content)} bytes where the header's shape {shape} makes {expected}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read_part(folder: Path, part: str) -> Rows:
    images_path = existing_file(folder, f"{part}-images-idx3-ubyte", f"{part}-images-idx3-ubyte.gz")
    labels_path = existing_file(folder, f"{part}-labels-idx1-ubyte", f"{part}-labels-idx1-ubyte.gz")
    images, labels = read_idx(images_path, 0x0803), read_idx(labels_path, 0x0801)
    return checked_rows(labels_path, images[..., None], labels, len(CLASS_NAMES))


def _read_bytes(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: corrupt gzip ({error}); fetch the file again") from error


def _magic_name(magic: int) -> str:
    return f"{magic} ({CONTENT.get(magic, 'not an IDX file of labels or images')})"
