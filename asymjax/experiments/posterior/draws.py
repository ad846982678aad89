"""The draws of a run directory: read, diagnosed and scored."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asymjax import trees
from asymjax.diagnostics.aligned import thin
from asymjax.diagnostics.convergence import (
    nested_rhat,
    per_coordinate,
    ravel_positions,
    summarise,
    summarise_coordinates,
)
from asymjax.diagnostics.predictive import ClassificationSums, RegressionSums, cell_edges, cell_probabilities
from asymjax.diagnostics.scores import (
    MIN_DRAWS,
    NUM_PROBES,
    function_coordinates,
    mixture,
    predictive_metrics,
    predictive_sums,
    score,
)
from asymjax.lab import results, run_files
from asymjax.types import Dataset, Position

NUM_POINTS = 10
OUTPUTS, WEIGHTS = "posterior_predictive/outputs", "posterior/"
"""Draws in the results of a run."""

CURVE = ("num_draws", "num_grad_evals", "rhat_max", "ess_bulk_min", "lppd")


def evaluate_draws(
    path: Path, dataset: Dataset, has_scale_head: bool, num_superchains: int | None = None
) -> tuple[dict[str, Any], results.Named]:
    """Diagnose and score the draws of a run directory.

    Parameters
    ----------
    path : the run directory.
    dataset : the data of the run; outputs of the draws are on its test inputs, then on noise.
    has_scale_head : whether the noise scale is an output of the network.
    num_superchains : groups of consecutive chains that began at one place, for nested R-hat; without it there is none.

    Returns
    -------
    Summary entries ``weight_space`` (None where no weights were kept), ``function_space`` and ``posterior``, and the
    statistics [coordinate] behind them, ``diagnostics/<space>/<statistic>`` in the results.
    """
    num_probes = min(NUM_PROBES, len(dataset.test.targets))
    probes = np.concatenate([outputs[:, :, :num_probes] for outputs in read_outputs(path)], axis=1)
    coordinates = function_coordinates(dataset.task, probes, has_scale_head)
    values = {"function_space": per_coordinate(coordinates)}
    positions = results.read_arrays(path, WEIGHTS)
    if positions:
        values["weight_space"] = per_coordinate(ravel_positions(positions)[0])
    summary: dict[str, Any] = {space: summarise_coordinates(statistics) for space, statistics in values.items()}
    summary.setdefault("weight_space", None)
    if num_superchains is not None:
        summary["function_space"]["nested_rhat_max"] = float(np.nanmax(nested_rhat(coordinates, num_superchains)))
    summary["posterior"] = score(dataset, read_outputs(path))
    return summary, {f"diagnostics/{name}": (("coordinate",), found) for name, found in trees.flatten(values).items()}


def read_outputs(path: Path) -> Iterator[np.ndarray]:
    """Yield outputs of draws [chain, draw, input, output] of a run directory, chunk by chunk."""
    return (chunk[OUTPUTS] for chunk in results.read_chunks(path, OUTPUTS))


def read_predictive(path: Path, dataset: Dataset) -> np.ndarray:
    """Return the posterior predictive distributions of a run directory on the test inputs.

    Returns
    -------
    Class probabilities [input, class]; of real targets the probabilities of cells [input and target, cell], the same
    cells for all runs on these data.
    """
    num_test = len(dataset.test.targets)
    if dataset.task == "classification":
        (stored,) = results.read_arrays(path, "predictions/posterior/probability").values()
        return stored[:num_test]
    edges = cell_edges(dataset.test.targets)
    cells, sizes = [], []
    for outputs in read_outputs(path):
        mean, log_scale = np.split(outputs[:, :, :num_test].astype(np.float64), 2, axis=-1)
        cells.append(cell_probabilities(mean, np.exp(log_scale), edges))
        sizes.append(outputs.shape[1])
    of_all = np.average(cells, axis=0, weights=sizes)
    return of_all.reshape(-1, of_all.shape[-1])


def gradients_spent(path: Path) -> np.ndarray:
    """Return how many gradients over all data all chains took up to each draw, warmup included, float64 [draw]."""
    warmup = [line["num_grad_evals"] for line in run_files.read_metrics(path) if line["phase"] == "warmup"]
    (draws,) = results.read_arrays(path, "sample_stats/num_grad_evals").values()
    return np.sum(warmup) + np.cumsum(draws.sum(axis=0, dtype=np.float64))


def convergence_curve(
    path: Path, dataset: Dataset, has_scale_head: bool, stops: Sequence[int] | None = None
) -> dict[str, np.ndarray]:
    """Follow convergence and score of the draws of a run directory as they were made.

    Parameters
    ----------
    path, dataset, has_scale_head : as of :func:`evaluate_draws`.
    stops : draws a chain after which to look, with all draws up to there; those below ``MIN_DRAWS`` are left out.
        Default: every tenth of the draws.

    Returns
    -------
    Arrays [point]: ``num_draws`` a chain; ``num_grad_evals`` as of :func:`gradients_spent`; ``rhat_max`` and
    ``ess_bulk_min`` over function space; ``lppd`` on the test rows.
    """
    num_test = len(dataset.test.targets)
    targets, num_probes = np.asarray(dataset.test.targets), min(NUM_PROBES, num_test)
    spent = gradients_spent(path)
    if stops is None:
        stops = np.linspace(0, len(spent), NUM_POINTS + 1)[1:].round().astype(int).tolist()
    probes: list[np.ndarray] = []
    sums: list[ClassificationSums | RegressionSums] = []
    points, num_draws = [], 0
    for outputs in read_outputs(path):
        cuts = [stop - num_draws for stop in stops if 0 < stop - num_draws < outputs.shape[1]]
        for piece in np.split(outputs, cuts, axis=1):
            probes.append(piece[:, :, :num_probes])
            sums.append(predictive_sums(dataset.task, piece[..., :num_test, :], targets))
            num_draws += piece.shape[1]
            if num_draws in stops and num_draws >= MIN_DRAWS:
                draws = np.concatenate(probes, axis=1)
                summary = summarise(function_coordinates(dataset.task, draws, has_scale_head))
                lppd = predictive_metrics(mixture(sums), dataset)["lppd"]
                points.append((num_draws, spent[num_draws - 1], summary["rhat_max"], summary["ess_bulk_min"], lppd))
    return dict(zip(CURVE, np.array(points, np.float64).reshape(-1, len(CURVE)).T, strict=True))


def thinned_positions(path: Path, num_draws: int, max_draws: int | None) -> Iterator[Position]:
    """Yield positions [chain, ...] of a run directory that kept weights, one a draw, and one chunk in memory.

    Parameters
    ----------
    path : the run directory.
    num_draws : draws of each chain there.
    max_draws : draws to yield at most, evenly spaced up to the last; None yields all.
    """
    kept = thin(num_draws, max_draws)
    first = 0
    for chunk in results.read_chunks(path, WEIGHTS):
        last = first + next(iter(chunk.values())).shape[1]
        for draw in kept[(kept >= first) & (kept < last)] - first:
            yield results.tree_of({name: leaf[:, draw] for name, leaf in chunk.items()}, WEIGHTS)
        first = last
