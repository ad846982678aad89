"""From the directory of a finished run to a zoo."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import xarray

from asymjax.errors import InputError
from asymjax.experiments.predictions import PER_NETWORK, read_positions, rebuild
from asymjax.experiments.zoo.draws import PREFIX, read_draws
from asymjax.lab.evaluate import SPLITS
from asymjax.lab.results import NETWORKS, open_networks, tree_of, values_of
from asymjax.lab.stored import stored_tree
from asymjax.lab.sweep import why_failed
from asymjax.metanets.reader import is_large
from asymjax.metanets.zoo import Zoo, finite_zoo
from asymjax.report.read import naming_edits, read_record
from asymjax.types import Position

EXPERIMENTS = ("zoo", "train_sweep")


def read_zoo(run_dir: str | Path) -> Zoo:
    """Read the networks of a finished run as a zoo, from its directory alone: no data set is loaded.

    Parameters
    ----------
    run_dir : of ``runs/zoo.py`` or ``runs/train_sweep.py``, or of a posterior, ``runs/bnn_*.py``, whose draws are
        networks then; of a grid, one of the directories in it.

    Returns
    -------
    The networks whose parameters and scores are finite; ``excluded`` names the others. Ids are their places in the run;
    of draws, see :func:`~asymjax.experiments.zoo.draws.read_draws`. Weights of a sweep of more than a GiB stay in the
    directory, and rows of leaves are read when they are asked for; draws are read into memory.

    Raises
    ------
    InputError
        If it is no such directory, its run is not finished or kept no weights, its networks are of several programs or
        differ in what is fixed, fewer than 40 are finite, chains have fewer than 80 draws, or files are lost or
        damaged.

    Examples
    --------
    >>> import asymjax
    >>> zoo = asymjax.read_zoo("results/zoo/mlp-standard-digits-adamw-5b0bba0c")  # doctest: +SKIP
    >>> zoo.num_networks, sorted(zoo.recipes), zoo.target("test.accuracy").mean()  # doctest: +SKIP
    """
    path = Path(run_dir)
    record = read_record(path)
    if record["experiment"].startswith(PREFIX):
        return read_draws(path, record)
    with naming_edits(path):
        _refuse(path, record)
    made = rebuild(path, record)
    positions, _ = read_positions(path, made, partial(_weights, path))
    networks = open_networks(path)
    scores = {str(name): values_of(networks, name) for name in networks if str(name).partition(".")[0] in SPLITS}
    recipes = {str(name): values_of(networks, name) for name in networks.coords if name != "seed"}
    failed = why_failed(values_of(networks, "failed_step"))
    return finite_zoo(made.model, made.frozen, positions, scores, recipes, failed, str(path))


def _weights(path: Path, networks: xarray.Dataset, prefix: str) -> Position:
    """Return the weights of networks: in memory, or as rows of the store where they are large."""
    num_bytes = sum(array.nbytes for name, array in networks.items() if str(name).startswith(prefix))
    return stored_tree(path, NETWORKS, prefix) if is_large(num_bytes) else tree_of(networks, prefix)


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
        raise InputError(f"{path} is a run of {experiment}; give one of {', '.join(EXPERIMENTS)} or {PREFIX}*")
    if own := set(PER_NETWORK) & set(config.get("coordinates", ())):
        raise InputError(f"{path}: {min(own)} differs between its networks, so they are not of one model; give others")
