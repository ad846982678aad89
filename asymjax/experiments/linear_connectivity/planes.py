"""Loss and accuracy on the plane through three networks of a variant."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from asymjax import trees
from asymjax.errors import InputError
from asymjax.experiments.linear_connectivity.config import ConnectivityConfig
from asymjax.lab.measure import measure_members
from asymjax.lab.results import Named
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import RunDir
from asymjax.symmetry.connectivity import Measure, Rows, first_batches
from asymjax.symmetry.planes import corners, inner_products, on_plane, plane_grid, shares
from asymjax.types import Array, Frozen, Params, PyTree

MIN_POINTS_PER_CHUNK = 64
MAX_BATCHES = 2  # A picture needs no more.
MIN_POINTS = 3


def check_plane(config: ConnectivityConfig) -> None:
    """Refuse a grid that is none, before any work.

    Raises
    ------
    InputError
        If there are too few points.
    """
    if config.plane_points != 0 and config.plane_points < MIN_POINTS:
        raise InputError(f"plane_points is {config.plane_points}; give 0 for no plane, or {MIN_POINTS} at least")


def measure_plane(
    run: RunDir,
    name: str,
    networks: Params,
    names: Sequence[str],
    frozen: Frozen,
    measure: Measure,
    rows: Rows,
    config: ConnectivityConfig,
    run_config: RunConfig,
) -> tuple[dict[str, Any] | None, Named]:
    """Measure a grid on the plane through the first three networks of a variant.

    Parameters
    ----------
    run, name : where chunks are committed, and what the kind is called.
    networks, names : effective parameters, leaves [network, ...], and what each network is called.
    frozen : constants of all of them.
    measure : the measurement of one network.
    rows : test rows, of which the first ``MAX_BATCHES`` batches are used.
    config : the grid.
    run_config : where work runs.

    Returns
    -------
    The plane's entry in summary.json and the arrays of its figure; None and none where no plane is asked for or there
    are fewer than three networks, not on one line.
    """
    if config.plane_points == 0 or len(names) < 3:
        return None, {}
    networks = jax.tree.map(lambda leaf: np.asarray(leaf[:3]), networks)
    try:
        places = corners(inner_products(networks, config.plane_metric))
    except InputError as error:
        print(f"{name}: no plane is drawn, {error}", flush=True)
        return None, {}
    first, second = plane_grid(places, config.plane_points)
    points = np.stack(np.meshgrid(first, second), axis=-1)
    steps = shares(places, points.reshape(-1, 2)).astype(np.float32)
    rows = first_batches(rows, MAX_BATCHES)

    def at(steps: Array, networks: Params, frozen: Frozen, rows: Rows) -> PyTree:
        return measure(on_plane(networks, steps), frozen, {"test": rows})["test"]

    measured = measure_members(
        run,
        f"plane-{name}",
        at,
        lambda indices: [steps[indices]],
        (networks, frozen, rows),
        len(steps),
        MIN_POINTS_PER_CHUNK,
        "points",
        run_config,
    )
    arrays: dict[str, Any] = {"corners": (("corner", "axis"), places)}
    arrays |= {"first": (("first_place",), first), "second": (("second_place",), second)}
    for metric, values in trees.flatten(measured).items():
        arrays[metric] = (("second_place", "first_place"), values.reshape(points.shape[:2]))
    entry = {"networks": list(names[:3]), "metric": config.plane_metric, "num_rows": len(rows.targets)}
    return entry, {f"plane/{name}": values for name, values in arrays.items()}
