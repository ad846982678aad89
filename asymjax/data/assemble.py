"""From raw rows to a ``Dataset``: check, split, standardise, assemble."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.types import Dataset, Graph, Split

FLOAT32_MAX = float(np.finfo(np.float32).max)


class Rows(NamedTuple):
    """Rows as a source holds them; made by :func:`checked_rows`.

    Attributes
    ----------
    inputs : real [rows, *input_shape]; images have their channels last.
    targets : integer [rows] class indices, or real [rows, num_targets].
    """

    inputs: np.ndarray
    targets: np.ndarray


def checked_rows(source: str | Path, inputs: np.ndarray, targets: np.ndarray, num_classes: int = 0) -> Rows:
    """Return rows whose inputs are finite and whose targets fit.

    Parameters
    ----------
    source : file or dataset that the messages name.
    inputs : real [rows, *input_shape].
    targets : integer [rows] in [0, num_classes), or real [rows, num_targets] if ``num_classes`` is 0.
    num_classes : number of classes; 0 for regression.

    Raises
    ------
    InputError
        For no rows, unequal counts, a number that float32 cannot hold, or a label out of range.
    """
    if not inputs.size:
        raise InputError(f"{source}: no rows (inputs of shape {inputs.shape})")
    if len(inputs) != len(targets):
        raise InputError(f"{source}: {len(targets)} targets for {len(inputs)} inputs, expected one for each")
    _check_finite(source, "inputs", inputs)
    if num_classes:
        _check_labels(source, targets, num_classes)
    else:
        _check_finite(source, "targets", targets)
    return Rows(inputs, targets)


def split_at_random(name: str, rows: Rows, class_names: Sequence[str], data_seed: int) -> Dataset:
    """Return a dataset of shuffled rows: 70 % training, 10 % validation, 20 % test, rounded to whole rows.

    Parameters
    ----------
    name : the dataset's name.
    rows : all rows, in any order.
    class_names : one name a class; empty for regression.
    data_seed : decides the shuffle; 0 or more.

    Raises
    ------
    InputError
        For fewer than 3 rows.
    """
    train, validation, test = random_rows(name, len(rows.inputs), data_seed)
    return _assemble(name, take(rows, train), take(rows, validation), take(rows, test), class_names)


def random_rows(name: str, num_rows: int, data_seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shuffled row numbers: 70 % training, 10 % validation, 20 % test, rounded to whole rows.

    Raises
    ------
    InputError
        For fewer than 3 rows.
    """
    if num_rows < 3:
        raise InputError(f"{name}: {num_rows} rows, expected at least 3 to split into training and test rows")
    num_validation, num_test = round(num_rows / 10), round(num_rows / 5)
    order = _shuffled(num_rows, data_seed)
    validation, test, train = np.split(order, [num_validation, num_validation + num_test])
    return train, validation, test


def keep_test(name: str, train: Rows, test: Rows, class_names: Sequence[str], data_seed: int) -> Dataset:
    """Return a dataset with a given test set; a random 10 % of the training rows becomes the validation set.

    Parameters
    ----------
    name : the dataset's name.
    train, test : the official sets; the test rows keep their order.
    class_names : one name a class; empty for regression.
    data_seed : decides which rows are held out, and the order of the training rows; 0 or more.

    Raises
    ------
    InputError
        For training and test inputs of different shapes.
    """
    train_shape, test_shape = train.inputs.shape[1:], test.inputs.shape[1:]
    if train_shape != test_shape:
        raise InputError(f"{name}: training inputs have shape {train_shape}, test inputs {test_shape}; expected equal")
    order = _shuffled(len(train.inputs), data_seed)
    validation, rest = np.split(order, [round(len(order) / 10)])
    return _assemble(name, take(train, rest), take(train, validation), test, class_names)


def take(rows: Rows, index: np.ndarray) -> Rows:
    """Return the rows of an integer index [count], in its order."""
    return Rows(rows.inputs[index], rows.targets[index])


def _check_finite(source: str | Path, what: str, values: np.ndarray) -> None:
    fits = np.abs(values) <= FLOAT32_MAX
    if not fits.all():
        row, *column = place = tuple(np.argwhere(~fits)[0].tolist())
        raise InputError(
            f"{source}: {what} row {row}, column {', '.join(map(str, column))} (from 0) is {values[place]}, "
            "expected a finite float32 number"
        )


def _check_labels(source: str | Path, labels: np.ndarray, num_classes: int) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{source}: labels are {labels.dtype} {labels.shape}, expected one integer a row")
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(bad):
        raise InputError(
            f"{source}: label {labels[bad[0]]} in row {bad[0]} (from 0), expected a class from 0 to {num_classes - 1}"
        )


def _shuffled(num_rows: int, data_seed: int) -> np.ndarray:
    return np.random.default_rng([data_seed, rng.checksum("split")]).permutation(num_rows)


def _assemble(name: str, train: Rows, validation: Rows, test: Rows, class_names: Sequence[str]) -> Dataset:
    input_mean, input_scale = moments(train.inputs)
    if class_names:
        target_mean, target_scale = np.zeros(len(class_names)), np.ones(len(class_names))
    else:
        target_mean, target_scale = moments(train.targets)

    def finish(rows: Rows) -> Split:
        inputs = standardised(rows.inputs, input_mean, input_scale)
        if class_names:
            return Split(inputs, rows.targets.astype(np.int32))
        return Split(inputs, standardised(rows.targets, target_mean, target_scale))

    splits = {"train": finish(train), "validation": finish(validation), "test": finish(test)}
    return Dataset(
        name=name,
        task="classification" if class_names else "regression",
        **splits,
        num_outputs=len(target_mean),
        class_names=tuple(class_names),
        target_mean=target_mean,
        target_scale=target_scale,
        input_mean=input_mean,
        input_scale=input_scale,
        checksum=trees.checksum({part: split._asdict() for part, split in splits.items()}),
    )


def count_repeated(dataset: Dataset) -> int:
    """Return how many test rows have the inputs and the target of a training row; 0 for a graph."""
    if isinstance(dataset.train.inputs, Graph):
        return 0

    def digests(split: Split) -> list[bytes]:
        rows = zip(np.asarray(split.inputs), np.asarray(split.targets), strict=True)
        return [hashlib.blake2b(x.tobytes() + y.tobytes(), digest_size=16).digest() for x, y in rows]

    known = set(digests(dataset.train))
    return sum(row in known for row in digests(dataset.test))


def moments(values: np.ndarray, axes: tuple[int, ...] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and scale over some axes, by default all but the last (features or channels), in float64.

    The scale is the standard deviation, and 1 of what is constant or so small that its square is none.
    """
    axes = tuple(range(values.ndim - 1)) if axes is None else axes
    mean, scale = values.mean(axes, dtype=np.float64), values.std(axes, dtype=np.float64)
    # A constant is found by its range: rounding leaves its standard deviation a little above zero.
    return mean, np.where((values.min(axes) == values.max(axes)) | (scale == 0), 1.0, scale)


def standardised(values: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return (values - mean) / scale in float32."""
    # Writing into float32 keeps the arithmetic in float64 without a float64 copy of all images.
    result = np.empty(values.shape, np.float32)
    np.subtract(values, mean, out=result, casting="same_kind")
    np.divide(result, scale, out=result, casting="same_kind")
    return result
