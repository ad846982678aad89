"""The metric that paths are walked in, where the first of them begins: its spectrum, and its null space in parts."""

from typing import Any

import numpy as np

from asymjax import trees
from asymjax.experiments.invariant_paths.subject import Subject, take
from asymjax.paths.null_space import MOST_PARAMETERS, split_null_space


def measure_spectrum(subject: Subject) -> dict[str, Any]:
    """Count the null directions of the metric on replayed inputs, where the first path begins.

    Returns
    -------
    ``architectural``, ``hidden``, ``data`` and ``rank``, which add up to the number of parameters, and ``eigenvalues``
    of the metric that are not zero, descending. Nothing for a network of more than ``MOST_PARAMETERS``.
    """
    position = take(subject.starts, 0)
    if trees.num_entries(position) > MOST_PARAMETERS or 0 in subject.failed:
        return {}
    inputs = take(subject.replay.inputs, 0)
    found = split_null_space(subject.model, subject.frozen, position, inputs, metric=subject.config.path.metric)
    parts = {name: getattr(found, name) for name in ("architectural", "hidden", "data", "rank")}
    return parts | {"eigenvalues": np.square(found.singular_values[: found.rank])}
