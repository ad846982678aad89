"""Arrays of the user's own, as inputs and targets: checked, with errors that name the row and column at fault."""

from typing import Any, NamedTuple

import numpy as np

from asymjax.errors import InputError
from asymjax.types import Split


class Units(NamedTuple):
    """From what the user has to what the network sees: ``(raw - mean) / scale``, 0 and 1 where they are the same.

    Attributes
    ----------
    input_mean, input_scale : [*input_shape].
    target_mean, target_scale : [targets], or 0 and 1 for classes.
    """

    input_mean: Any = 0.0
    input_scale: Any = 1.0
    target_mean: Any = 0.0
    target_scale: Any = 1.0

    def inputs(self, raw: Any) -> np.ndarray:
        """Return checked inputs as the network sees them, float32."""
        return ((read_numbers(raw, "inputs") - self.input_mean) / self.input_scale).astype(np.float32)


def read_numbers(values: Any, name: str) -> np.ndarray:
    """Return finite numbers [rows, ...] as float64.

    Raises
    ------
    InputError
        For rows of several lengths, what is no number, nothing at all, NaN and infinity; names row and column, from 0.
    """
    try:
        array = np.asarray(values)
        array = array.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: {_first_ragged(values) or f'not numbers ({error})'}") from None
    if array.ndim == 0 or array.size == 0:
        raise InputError(f"{name} have shape {array.shape}; give at least one row")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        row, *column = (int(index) for index in bad[0])
        where = f"row {row}" + (f", column {', '.join(map(str, column))}" if column else "")
        raise InputError(f"{name}: {where} is {array[tuple(bad[0])]}; give finite numbers")
    return array


def _first_ragged(values: Any) -> str:
    """Return a sentence about the first row that is not as long as row 0, or nothing."""
    lengths = [len(row) if hasattr(row, "__len__") and not isinstance(row, str) else 1 for row in values]
    row = next((row for row, length in enumerate(lengths) if length != lengths[0]), None)
    return "" if row is None else f"row {row} has {lengths[row]} entries, row 0 has {lengths[0]}"


def read_labels(values: Any, num_classes: int) -> np.ndarray:
    """Return class indices int32 [rows].

    Raises
    ------
    InputError
        For what is no whole number from 0 to ``num_classes - 1``; names the row.
    """
    array = read_numbers(values, "targets")
    if array.ndim != 1:
        raise InputError(f"targets have shape {array.shape}; give one class index a row, [rows]")
    bad = np.flatnonzero((array != np.round(array)) | (array < 0) | (array >= num_classes))
    if len(bad):
        raise InputError(
            f"targets: row {bad[0]} is {array[bad[0]]:g}; the network has {num_classes} outputs, so give whole numbers "
            f"from 0 to {num_classes - 1}"
        )
    return array.astype(np.int32)


def read_arrays(inputs: Any, targets: Any, num_classes: int | None, standardise: bool = False) -> tuple[Split, Units]:
    """Return rows as the network sees them, and the units that they came in.

    Parameters
    ----------
    inputs : [rows, *input_shape].
    targets : class indices [rows], or numbers [rows] or [rows, targets].
    num_classes : outputs of the network, for classes; None for numbers.
    standardise : give each column of the inputs, and of numbers as targets, mean 0 and standard deviation 1; a column
        that is constant keeps its scale.

    Raises
    ------
    InputError
        As :func:`read_numbers` and :func:`read_labels`, and for as many inputs as there are no targets.
    """
    x = read_numbers(inputs, "inputs")
    y: np.ndarray = read_numbers(targets, "targets") if num_classes is None else read_labels(targets, num_classes)
    if len(x) != len(y):
        raise InputError(f"inputs have {len(x)} rows, targets {len(y)}; give one target a row")
    if x.ndim == 1:
        raise InputError(f"inputs have shape {x.shape}; give [rows, ...], for one feature [rows, 1]")
    if num_classes is None:
        y = y.reshape(len(y), -1)
    units = Units()
    if standardise:
        of_inputs = _moments(x)
        units = Units(*of_inputs, *(_moments(y) if num_classes is None else ()))
    seen = y if num_classes is not None else ((y - units.target_mean) / units.target_scale).astype(np.float32)
    return Split(((x - units.input_mean) / units.input_scale).astype(np.float32), seen), units


def _moments(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = array.std(axis=0)
    return array.mean(axis=0), np.where(scale > 0, scale, 1.0)
