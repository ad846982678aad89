"""A few scalars over all draws: the log density, and what mixes worst and at the median in each space."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax

from asymjax.lab import results

QUANTITIES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "probability of class {}": lambda outputs, index: np.exp(log_softmax(outputs, axis=-1)[..., index]),
    "log probability of class {}": lambda outputs, index: log_softmax(outputs, axis=-1)[..., index],
    "mean of target {}": lambda outputs, index: outputs[..., index],
    "log noise scale of target {}": lambda outputs, index: np.split(outputs, 2, axis=-1)[1][..., index],
}
"""Function-space quantities, each from the outputs of draws at one input [chain, draw, output]."""


class Trace(NamedTuple):
    """One scalar over the draws.

    Attributes
    ----------
    label : what it is.
    quantity : the same in a word or two, for an axis.
    values : [chain, draw].
    statistics : its ``rhat`` and ``ess_bulk``; empty where the run did not measure them.
    """

    label: str
    quantity: str
    values: np.ndarray
    statistics: dict[str, float]


class _Scalar(NamedTuple):
    label: str
    quantity: str
    array: str
    take: Callable[[np.ndarray], np.ndarray]  # From that array of a chunk, [chain, draw, ...], to [chain, draw].


def read_traces(
    path: Path, diagnostics: Mapping[str, np.ndarray], quantities: Sequence[str], num_outputs: int
) -> list[Trace]:
    """Read the log density of a run, and the coordinates of both spaces with the worst and the median R-hat.

    Parameters
    ----------
    path : the run directory.
    diagnostics : convergence statistics [coordinate], ``"<space>/<statistic>"``.
    quantities : keys of ``QUANTITIES``, in the order of the function-space coordinates.
    num_outputs : number of classes or targets.
    """
    tree = results.open_results(path)
    weights = tree["posterior"].data_vars if "posterior" in tree.children else {}
    order = sorted(map(str, weights), key=lambda name: name.replace(".", "/"))  # That in which trees are raveled.
    shapes = {f"posterior/{name}": weights[name].shape[2:] for name in order}
    makers = {
        "function_space": partial(_function_scalar, quantities, num_outputs, len(diagnostics["function_space/rhat"])),
        "weight_space": partial(_weight_scalar, shapes),
    }
    found: list[tuple[_Scalar, dict[str, float]]] = [
        (_Scalar("log density", "nats", "sample_stats/lp", np.asarray), {})
    ]
    for space, make in makers.items():
        for rank, index in worst_and_median(diagnostics.get(f"{space}/rhat", np.array([]))).items():
            scalar = make(index)
            label = f"{rank} R-hat in {space.replace('_', ' ')}: {scalar.label}"
            statistics = {name: float(diagnostics[f"{space}/{name}"][index]) for name in ("rhat", "ess_bulk")}
            found.append((scalar._replace(label=label), statistics))
    values = _read_values(path, [scalar for scalar, _ in found])
    return [Trace(one.label, one.quantity, value, numbers) for (one, numbers), value in zip(found, values, strict=True)]


def worst_and_median(rhat: np.ndarray) -> dict[str, int]:
    """Return the coordinates with the largest and the median R-hat; none where no coordinate has one (NaN)."""
    order = np.argsort(rhat)[: np.sum(~np.isnan(rhat))]
    return {"worst": int(order[-1]), "median": int(order[len(order) // 2])} if len(order) else {}


def _function_scalar(quantities: Sequence[str], num_outputs: int, num_coordinates: int, index: int) -> _Scalar:
    """Coordinates run over quantities, probe inputs and outputs, the last one fastest."""
    place, output = divmod(index, num_outputs)
    quantity, point = divmod(place, num_coordinates // num_outputs // len(quantities))
    template = quantities[quantity]
    label, word = f"{template.format(output)}, test input {point}", template.partition(" of ")[0]
    return _Scalar(
        label, word, "posterior_predictive/outputs", lambda outputs: QUANTITIES[template](outputs[:, :, point], output)
    )


def _weight_scalar(shapes: Mapping[str, tuple[int, ...]], index: int) -> _Scalar:
    """Coordinates run over leaves in sorted order, each raveled."""
    ends = np.cumsum([prod(shape) for shape in shapes.values()])
    leaf = int(np.searchsorted(ends, index, side="right"))
    name, shape = list(shapes.items())[leaf]
    entry = index - int(ends[leaf]) + prod(shape)
    place = ",".join(map(str, np.unravel_index(entry, shape)))
    label = f"{name.removeprefix('posterior/').replace('.', '/')}[{place}]"
    return _Scalar(label, "weight", name, lambda values: values.reshape(*values.shape[:2], -1)[:, :, entry])


def _read_values(path: Path, scalars: Sequence[_Scalar]) -> list[np.ndarray]:
    """Read scalars over all chunks, each [chain, draw]."""
    chunks = results.read_chunks(path, *(scalar.array for scalar in scalars))
    pieces = [[scalar.take(chunk[scalar.array]) for scalar in scalars] for chunk in chunks]
    return [np.concatenate(piece, axis=1) for piece in zip(*pieces, strict=True)]
