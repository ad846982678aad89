"""Draws as an xarray.DataTree of named dimensions, which ArviZ reads."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray
from numpy.typing import ArrayLike

from asymjax.errors import InputError
from asymjax.tree_paths import flatten

STATISTICS = {
    "logdensity": "lp",
    "acceptance_rate": "acceptance_rate",
    "is_divergent": "diverging",
    "num_grad_evals": "num_grad_evals",
    "energy_change": "energy_error",
}
"""Names of draws' statistics here -> in ArviZ."""
LEADING = ("chain", "draw")


def to_datatree(draws: Mapping[str, Any], log_likelihood: ArrayLike | None = None) -> xarray.DataTree:
    """Convert draws to an ``xarray.DataTree`` of groups that ArviZ knows.

    ArviZ 1 takes it as it is, ArviZ 0 after ``arviz.from_datatree``.

    Parameters
    ----------
    draws : name -> [chain, draw, ...]: ``position/dense_0/kernel`` and all other weights, ``outputs`` [chain, draw,
        input, output], those of ``STATISTICS`` [chain, draw], and whatever else was kept. Nested mappings and None will
        do.
    log_likelihood : [chain, draw, input], for ``arviz.loo``.

    Returns
    -------
    DataTree
        Of what is given: ``posterior`` with weights as ``dense_0.kernel``, ``sample_stats`` with statistics under
        ArviZ's names, ``posterior_predictive`` with ``outputs``, and ``log_likelihood`` with ``targets``. All have
        coordinates ``chain`` and ``draw`` that count from 0.

    Raises
    ------
    InputError
        If an array does not begin with the same chains and draws as the others, or a statistic has further axes.
    """
    given = {name: np.asarray(values) for name, values in flatten(draws).items() if values is not None}
    given |= {} if log_likelihood is None else {"log_likelihood": np.asarray(log_likelihood)}
    shapes = {name: values.shape[:2] for name, values in given.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) < 2 for shape in shapes.values()):
        raise InputError(f"numbers of chains and draws differ: {shapes}; give arrays [chain, draw, ...] of one run")
    groups: dict[str, dict[str, xarray.Variable]] = {}
    for name, values in given.items():
        group, variable, axes = _place(name, values.ndim - len(LEADING))
        if len(axes) != values.ndim - len(LEADING):
            raise InputError(f"{name} has shape {values.shape}, expected [{', '.join((*LEADING, *axes))}]")
        groups.setdefault(group, {})[variable] = xarray.Variable((*LEADING, *axes), values)
    counts = next(iter(shapes.values()), ())
    coordinates = {name: np.arange(count) for name, count in zip(LEADING, counts, strict=False)}
    return xarray.DataTree.from_dict({name: xarray.Dataset(data, coordinates) for name, data in groups.items()})


def _place(name: str, num_axes: int) -> tuple[str, str, tuple[str, ...]]:
    """Return the group of an array, its name there, and the names of its axes after chain and draw."""
    if name in STATISTICS:
        return "sample_stats", STATISTICS[name], ()
    if name == "log_likelihood":
        return name, "targets", ("input",)
    if name == "outputs":
        return "posterior_predictive", name, ("input", "output")
    variable = name.removeprefix("position/").replace("/", ".")
    return "posterior", variable, tuple(f"{variable}_dim_{axis}" for axis in range(num_axes))
