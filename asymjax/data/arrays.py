"""Arrays of the user's own, as inputs and targets: checked, with errors that name the row and column at fault."""

from typing import Any, NamedTuple

import jax
import numpy as np

from asymjax import trees
from asymjax.data.assemble import FLOAT32_MAX, moments
from asymjax.errors import InputError
from asymjax.types import Split


class Units(NamedTuple):
    """From what the user has to what the network sees: ``(raw - mean) / scale``, 0 and 1 where they are the same.

    Attributes
    ----------
    inputs : of each array of the inputs, its mean and scale [*input_shape].
    target_mean, target_scale : [targets], or 0 and 1 for classes.
    """

    inputs: Any = None
    target_mean: Any = 0.0
    target_scale: Any = 1.0

    def see(self, raw: Any, example: Any) -> Any:
        """Return checked inputs as the network sees them, of the structure and dtypes of its ``example``.

        Raises
        ------
        InputError
            As :func:`read_inputs`.
        """
        arrays, units = read_inputs(raw, example), self.inputs or [(0.0, 1.0)] * len(jax.tree.leaves(example))
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(example)]
        seen = [
            ((array - mean) / scale).astype(dtype)
            for array, (mean, scale), dtype in zip(arrays, units, dtypes, strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(example), seen)


def plain_array(values: Any, name: str) -> np.ndarray:
    """Return what was given as an array of numbers of its own type; objects of Python as what they are.

    Raises
    ------
    InputError
        For rows of several lengths, masked entries, and what is no real number: words, dates, complex numbers.
    """
    if num_masked := np.ma.count_masked(values) if np.ma.isMaskedArray(values) else 0:
        raise InputError(f"{name}: {num_masked} entries are masked; leave these rows out, or fill them")
    try:
        array = np.asarray(values)
        array = np.asarray(array.tolist()) if array.dtype == object else array
        array = array.astype(np.float64) if array.dtype == object else array  # As fractions are.
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: {_first_ragged(values) or f'not numbers ({error})'}") from None
    if array.dtype.kind in "cmMSU":
        raise InputError(f"{name}: not numbers ({array.dtype}); give real numbers, and classes as whole ones from 0")
    return array


def are_classes(targets: Any) -> bool:
    """Return whether targets are class indices by their type: whole numbers, or false and true."""
    return plain_array(targets, "targets").dtype.kind in "biu"


def read_numbers(values: Any, name: str) -> np.ndarray:
    """Return finite float32 numbers [rows, ...] as float64.

    Raises
    ------
    InputError
        As :func:`plain_array`; for nothing at all, NaN, infinity and what is too large; names row and column, from 0.
    """
    array = plain_array(values, name).astype(np.float64)
    if array.ndim == 0 or array.size == 0:
        raise InputError(f"{name} have shape {array.shape}; give at least one row")
    bad = np.argwhere(~(np.abs(array) <= FLOAT32_MAX))
    if len(bad):
        row, *column = (int(index) for index in bad[0])
        where = f"row {row}" + (f", column {', '.join(map(str, column))}" if column else "")
        raise InputError(f"{name}: {where} is {array[tuple(bad[0])]}; give finite numbers, which float32 can hold")
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
            f"from 0 to {num_classes - 1}; or floats, for a regression"
        )
    return array.astype(np.int32)


def read_inputs(raw: Any, example: Any) -> list[np.ndarray]:
    """Return the arrays of raw inputs, checked, float64 [rows, ...], in the order of the leaves of ``example``.

    Parameters
    ----------
    raw : [rows, ...], or a tree of such arrays as ``example`` is one.
    example : tree of arrays or of ``jax.ShapeDtypeStruct``.

    Raises
    ------
    InputError
        As :func:`read_numbers`; for another structure, rows of other shapes, numbers of rows that differ, and for what
        is not whole where the network takes whole numbers.
    """
    structure: Any = jax.tree.structure(example)
    try:
        parts = structure.flatten_up_to(raw)
    except ValueError:
        raise InputError(f"inputs are a {type(raw).__name__}; the network takes {structure}") from None
    paths = [trees.path_of(keys) for keys, _ in jax.tree.leaves_with_path(example)]
    names = [f"inputs {path}".rstrip() for path in paths]
    arrays = [read_numbers(part, name) for part, name in zip(parts, names, strict=True)]
    for array, name, like in zip(arrays, names, jax.tree.leaves(example), strict=True):
        if array.shape[1:] != tuple(like.shape[1:]):
            wanted = ", ".join(["rows", *map(str, like.shape[1:])])
            raise InputError(f"{name} have shape {array.shape}; the network takes [{wanted}]")
        if np.issubdtype(like.dtype, np.integer):
            most = np.iinfo(jax.dtypes.canonicalize_dtype(like.dtype)).max
            bad = np.argwhere((array != np.round(array)) | (np.abs(array) > most))
            if len(bad):
                raise InputError(f"{name}: row {bad[0][0]} is not whole; give whole numbers, of {most} at most")
    if len({len(array) for array in arrays}) > 1:
        raise InputError(f"inputs have {', '.join(str(len(array)) for array in arrays)} rows; give as many of each")
    return arrays


def read_arrays(
    inputs: Any, targets: Any, example: Any, num_classes: int | None, standardise: bool = False
) -> tuple[Split, Units]:
    """Return rows as the network sees them, and the units that they came in.

    Parameters
    ----------
    inputs : [rows, *input_shape], or a tree of such arrays.
    targets : class indices [rows], or numbers [rows] or [rows, targets].
    example : inputs as the network takes them; see :func:`read_inputs`.
    num_classes : outputs of the network, for classes; None for numbers.
    standardise : give each column of the inputs, and of numbers as targets, mean 0 and standard deviation 1; a column
        that is constant keeps its scale, and so do whole numbers that the network takes as such.

    Raises
    ------
    InputError
        As :func:`read_inputs` and :func:`read_labels`, and for as many inputs as there are no targets.
    """
    arrays = read_inputs(inputs, example)
    y: np.ndarray = read_numbers(targets, "targets") if num_classes is None else read_labels(targets, num_classes)
    if len(arrays[0]) != len(y):
        raise InputError(f"inputs have {len(arrays[0])} rows, targets {len(y)}; give one target a row")
    if num_classes is None:
        y = y.reshape(len(y), -1)
    units = Units()
    if standardise:
        leaves = jax.tree.leaves(example)
        is_whole = [np.issubdtype(leaf.dtype, np.integer) for leaf in leaves]
        own = [(0.0, 1.0) if whole else moments(array, (0,)) for whole, array in zip(is_whole, arrays, strict=True)]
        units = Units(own, *(moments(y) if num_classes is None else ()))
    seen = y if num_classes is not None else ((y - units.target_mean) / units.target_scale).astype(np.float32)
    return Split(units.see(inputs, example), seen), units


def check_split(split: Split, num_rows: int, num_classes: int | None) -> None:
    """Check targets that a network is given as they are.

    Parameters
    ----------
    split : its inputs and targets.
    num_rows : rows of the outputs.
    num_classes : outputs of the network, for classes; None for numbers.

    Raises
    ------
    InputError
        For as many targets as there are no outputs, a class that is none, and numbers that are not [rows, targets].
    """
    shape = np.shape(split.targets)
    if num_classes is not None:
        read_labels(split.targets, num_classes)
    elif len(shape) != 2:
        raise InputError(f"targets have shape {shape}; give numbers [rows, targets] in a Split")
    if shape[0] != num_rows:
        raise InputError(f"inputs have {num_rows} rows, targets {shape[0]}; give one target a row")
