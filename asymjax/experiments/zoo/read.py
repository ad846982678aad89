"""From the directory of a finished run to a zoo."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from asymjax.errors import InputError
from asymjax.experiments.populations import why_failed
from asymjax.experiments.predictions import PER_NETWORK, read_positions, rebuild
from asymjax.experiments.train_sweep.run import SPLITS
from asymjax.lab.results import open_networks
from asymjax.metanets.zoo import MIN_NETWORKS, Zoo
from asymjax.report.read import naming_edits, read_record
from asymjax.symmetry.connectivity import finite_networks

EXPERIMENTS = ("zoo", "train_sweep")


def read_zoo(run_dir: str | Path) -> Zoo:
    """Read the networks of a finished run as a zoo, from its directory alone: no data set is loaded.

    Parameters
    ----------
    run_dir : of ``runs/zoo.py`` or ``runs/train_sweep.py``; of a grid, one of the directories in it. All weights are
        read into memory.

    Returns
    -------
    The networks whose parameters and scores are finite; ``excluded`` names the others. Ids are their places in the run.

    Raises
    ------
    InputError
        If it is no such directory, its run is not finished or kept no weights, its networks are of several programs or
        differ in what is fixed, fewer than 40 are finite, or files are lost or damaged.

    Examples
    --------
    >>> import asymjax
    >>> zoo = asymjax.read_zoo("results/zoo/mlp-standard-digits-adamw-5b0bba0c")  # doctest: +SKIP
    >>> zoo.num_networks, sorted(zoo.recipes), zoo.target("test.accuracy").mean()  # doctest: +SKIP
    """
    path = Path(run_dir)
    record = read_record(path)
    with naming_edits(path):
        _refuse(path, record)
    made = rebuild(path, record)
    positions, _ = read_positions(path, made)
    networks = open_networks(path)
    scores = {str(name): networks[name].values for name in networks if str(name).partition(".")[0] in SPLITS}
    num_networks = networks.sizes["network"]
    is_scored = np.all([np.isfinite(values) for values in scores.values()], axis=0)
    excluded = {
        **dict.fromkeys(np.flatnonzero(~is_scored).tolist(), "a score is not finite"),
        **dict.fromkeys(np.flatnonzero(~finite_networks(positions)).tolist(), "parameters are not finite"),
        **why_failed(networks["failed_step"].values),
    }
    ids = np.setdiff1d(np.arange(num_networks), list(excluded))
    if len(ids) < MIN_NETWORKS:
        raise InputError(f"{path} has {len(ids)} finite networks; a zoo takes {MIN_NETWORKS} at least, train more")
    recipes = {str(name): values.values[ids] for name, values in networks.coords.items() if name != "seed"}
    return Zoo(
        made.model,
        made.frozen,
        jax.tree.map(lambda leaf: leaf[ids], positions),
        {name: values[ids] for name, values in scores.items()},
        recipes,
        ids,
        excluded,
    )


def _refuse(path: Path, record: Mapping[str, Any]) -> None:
    """Refuse what is no sweep of one model.

    Raises
    ------
    InputError
        If it is not.
    """
    config, experiment = record["config"], record["experiment"]
    if experiment == "train_grid":
        raise InputError(f"{path} is a grid of several programs; give one of the directories in it")
    if experiment not in EXPERIMENTS:
        raise InputError(f"{path} is a run of {experiment}; give one of {' or '.join(EXPERIMENTS)}")
    if own := set(PER_NETWORK) & set(config.get("coordinates", ())):
        raise InputError(f"{path}: {min(own)} differs between its networks, so they are not of one model; give others")
