"""UCI regression sets: the folders of the probabilistic-backpropagation benchmark, or a folder with one table.

The benchmark (Hernandez-Lobato and Adams, ICML 2015) gives ``NAME/data/data.txt`` and index files, numbered from 0:
``index_features.txt``, ``index_target.txt`` and, for every split k, ``index_train_k.txt`` and ``index_test_k.txt``.
"""

from pathlib import Path

import numpy as np

from asymjax.data.assemble import checked_rows, keep_test, take
from asymjax.data.files import data_folder, existing_file, existing_folder, listing
from asymjax.data.table import TableConfig, load_table, read_index, read_table
from asymjax.errors import InputError
from asymjax.types import Dataset

# Row number, date, and the two counts whose sum is the target.
DROPPED = {"bikesharing": ("instant", "dteday", "casual", "registered")}


def load(name: str, data_dir: str | Path | None, data_seed: int) -> Dataset:
    """Load ``"uci/NAME"`` or ``"uci/NAME/SPLIT"`` from folder NAME below ``data_dir``; see :func:`asymjax.data.load`.

    With index files, the test rows of the split (default 0) are kept, and 10 % of its training rows, chosen by
    ``data_seed``, are the validation set. Without a ``data`` folder, the one table ``*.dat`` or ``*.csv`` of NAME is
    split at random, its last column the target.
    """
    member, _, split = name.removeprefix("uci/").partition("/")
    folder = existing_folder(data_folder(name, data_dir, "uci") / member)
    if (folder / "data").is_dir():
        return _load_indexed(name, folder / "data", split or "0", data_seed)
    if split:
        raise InputError(f"{name}: {folder} has no data folder with index files, so no split {split}; use uci/{member}")
    tables = [*folder.glob("*.dat"), *folder.glob("*.csv")]
    if len(tables) != 1:
        raise FileNotFoundError(
            f"{name}: expected data/data.txt, or just one *.dat or *.csv, in {folder}; {listing(folder)}. "
            "A single table loads as table/FILE"
        )
    return load_table(name, tables[0], data_seed, TableConfig(drop=DROPPED.get(member, ())))


def _load_indexed(name: str, folder: Path, split: str, data_seed: int) -> Dataset:
    splits = [path.stem.removeprefix("index_train_") for path in folder.glob("index_train_*.txt")]
    if split not in splits:
        splits.sort(key=lambda number: (len(number), number))
        raise FileNotFoundError(f"{name}: no index_train_{split}.txt in {folder}; splits there: {', '.join(splits)}")
    path = existing_file(folder, "data.txt")
    table = read_table(path)
    num_rows, num_columns = table.shape
    features, target = _read_disjoint(folder, "index_features.txt", "index_target.txt", num_columns)
    train, test = _read_disjoint(folder, f"index_train_{split}.txt", f"index_test_{split}.txt", num_rows)
    if left_out := num_rows - len(train) - len(test):
        raise InputError(f"{folder}: split {split} leaves out {left_out} of {num_rows} rows, expected each row once")
    rows = checked_rows(path, table[:, features], table[:, target])
    return keep_test(name, take(rows, train), take(rows, test), (), data_seed)


def _read_disjoint(folder: Path, first: str, second: str, bound: int) -> tuple[np.ndarray, np.ndarray]:
    one, other = (read_index(existing_file(folder, file), 0, bound) for file in (first, second))
    if len(shared := np.intersect1d(one, other)):
        raise InputError(f"{folder}: {first} and {second} share {len(shared)} entries, the first {shared[0]}")
    return one, other
