"""Datasets.

In: a dataset's name, the folder that holds its files (none for embedded sets) and a data seed.
Out: a ``Dataset``: checked, split, standardised with the training rows; NumPy arrays throughout.
To add one: a module whose ``load(name, data_dir, data_seed)`` makes ``checked_rows`` and returns ``split_at_random`` or
``keep_test`` of them, and one line in ``DATASETS``. A key that ends in "/" is a family whose names go on.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asymjax.data import cifar, distilled, embedded, graphs, idx, planetoid, table, uci
from asymjax.data.table import TableConfig
from asymjax.errors import InputError
from asymjax.types import Dataset

__all__ = ["DATASETS", "load"]


def _load_distilled(name: str, data_dir: str | Path | None, data_seed: int) -> Dataset:
    def original(origin: Mapping[str, Any]) -> Dataset:
        return load(origin["dataset"], data_dir, data_seed, TableConfig().having(origin))

    return distilled.join(name, data_seed, original)


DATASETS: dict[str, Callable[[str, str | Path | None, int], Dataset]] = {
    "digits": embedded.load,
    "diabetes": embedded.load,
    "breast_cancer": embedded.load,
    "wine": embedded.load,
    "mnist5k": embedded.load,
    "toy1d": embedded.load,
    "teacher": embedded.load,
    "digits_graph": graphs.load,
    "mnist": idx.load,
    "cifar10": cifar.load,
    "cifar100": cifar.load,
    "planetoid/": planetoid.load,
    "uci/": uci.load,
    "table/": table.load,
    "distilled/": _load_distilled,
}


def load(
    name: str,
    data_dir: str | Path | None = None,
    data_seed: int = 0,
    config: TableConfig = TableConfig(),  # noqa: B008
) -> Dataset:
    """Load a dataset.

    Sets without an official test set are shuffled and split 70/10/20 into training, validation and test rows. A set
    with one keeps it exactly; its validation rows are a random 10 % of its training rows. The inputs of a graph are a
    ``Graph`` in every split, with all nodes and edges and the rows of the split.

    Parameters
    ----------
    name : a key of ``DATASETS``, or such a key with its rest: ``"uci/energy"``, ``"uci/energy/3"``, ``"table/a.csv"``,
        ``"distilled/RUN_DIR"`` of a finished run of ``runs/distill.py``.
    data_dir : folder that holds the files; embedded sets ignore it.
    data_seed : decides the random splits and the order of rows; 0 or more.
    config : how a table of one's own is read.

    Raises
    ------
    InputError
        For an unknown name, and for content that is not what the format says; the message names file and place.
    FileNotFoundError
        For a file or folder that is missing; the message names what is there.
    ImportError
        For ``"mnist5k"`` without the extra that holds it.
    """
    family, slash, _ = name.partition("/")
    if family + slash not in DATASETS:
        raise InputError(
            f"unknown dataset {name!r}, choose from {', '.join(DATASETS)}; "
            "where a name ends in '/', go on with planetoid/NAME, uci/NAME, "
            "uci/NAME/SPLIT, table/FILE or distilled/RUN_DIR"
        )
    if data_seed < 0:
        raise InputError(f"data_seed is {data_seed}, expected 0 or more")
    if family + slash == "table/":
        return table.load(name, data_dir, data_seed, config)
    if config != TableConfig():
        raise InputError(f"{name} is no table/FILE, so target, task, header and drop have no effect; leave them out")
    return DATASETS[family + slash](name, data_dir, data_seed)
