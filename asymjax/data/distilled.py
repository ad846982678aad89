"""Distilled rows as a dataset: those of a finished run in place of the training rows of what they were distilled from.

A run directory holds them in one file, which says what they are of. Validation and test rows are the original's.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from asymjax import trees
from asymjax.data.assemble import Rows, checked_rows
from asymjax.errors import InputError
from asymjax.types import Dataset, Split

FILE = "distilled.npz"
KNOWN = ("dataset", "data_seed", "checksum")


def to_bytes(inputs: np.ndarray, targets: np.ndarray, origin: str) -> bytes:
    """Return the content of the file of distilled rows.

    Parameters
    ----------
    inputs : float32 [rows, *input_shape], in the units of the original dataset.
    targets : int32 [rows].
    origin : as JSON, ``dataset``, ``data_seed`` and ``checksum`` of the original, and settings of a table.
    """
    own = {"inputs": np.asarray(inputs, np.float32), "targets": np.asarray(targets, np.int32)}
    file = io.BytesIO()
    np.savez(
        file,
        inputs=own["inputs"],
        targets=own["targets"],
        origin=np.array(origin),
        checksum=np.array(trees.checksum(own)),
    )
    return file.getvalue()


def read(name: str) -> tuple[Rows, dict[str, Any]]:
    """Return the rows of ``distilled/RUN_DIR``, and what they are of.

    Raises
    ------
    InputError
        If that is no finished run with distilled rows, or its file is damaged.
    """
    run = Path(name.partition("/")[2] or ".")
    path = run / FILE
    if not (path.is_file() and (run / "DONE").exists()):
        lacks = FILE if not path.is_file() else "DONE"
        raise InputError(f"{run} is no finished run of runs/distill.py: it has no {lacks}; give distilled/RUN_DIR")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {key: file[key] for key in ("inputs", "targets", "origin", "checksum")}
        origin, checksum = json.loads(str(found["origin"])), str(found["checksum"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}); distil again with --force") from error
    own = {key: found[key] for key in ("inputs", "targets")}
    if trees.checksum(own) != checksum or any(key not in origin for key in KNOWN):
        raise InputError(f"{path} is damaged: its rows are not those of its checksum; distil again with --force")
    return Rows(**own), origin


def join(name: str, data_seed: int, load: Callable[[Mapping[str, Any]], Dataset]) -> Dataset:
    """Return the original dataset with distilled training rows.

    Parameters
    ----------
    name : ``distilled/RUN_DIR``.
    data_seed : that of the original, whose split it decided.
    load : origin -> the original dataset.

    Raises
    ------
    InputError
        As :func:`read`; if the seed or the original is another one, or rows are of another shape or of classes that
        the original has not.
    """
    rows, origin = read(name)
    if data_seed != origin["data_seed"]:
        raise InputError(
            f"{name} was distilled from {origin['dataset']} with data_seed {origin['data_seed']}, and data_seed is "
            f"{data_seed}: other rows would be test rows; give --data-seed {origin['data_seed']}"
        )
    original = load(origin)
    if original.checksum != origin["checksum"]:
        raise InputError(
            f"{name} was distilled from {origin['dataset']} of checksum {origin['checksum'][:12]}, and that which is "
            f"found has {original.checksum[:12]}; give the folder with those data, or distil again"
        )
    if rows.inputs.shape[1:] != original.input_shape:
        raise InputError(
            f"{name}: its rows have shape {rows.inputs.shape[1:]}, those of {origin['dataset']} "
            f"{original.input_shape}; distil again"
        )
    rows = checked_rows(name, *rows, original.num_outputs)
    train = Split(rows.inputs.astype(np.float32), rows.targets.astype(np.int32))
    splits = {"train": train, "validation": original.validation, "test": original.test}
    checksum = trees.checksum({part: split._asdict() for part, split in splits.items()})
    return original._replace(name=name, train=train, checksum=checksum)
