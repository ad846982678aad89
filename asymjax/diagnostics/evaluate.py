"""From the draws in a run directory to the numbers of its summary and the arrays of its figures."""

from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from asymjax import results, trees
from asymjax.diagnostics.convergence import (
    classification_coordinates,
    nested_rhat,
    per_coordinate,
    ravel_positions,
    regression_coordinates,
    summarise,
    summarise_coordinates,
)
from asymjax.diagnostics.predictive import (
    ClassificationSums,
    RegressionSums,
    classification_metrics,
    classification_sums,
    classification_uncertainty,
    combine,
    regression_metrics,
    regression_sums,
    regression_uncertainty,
)
from asymjax.types import Dataset

NUM_PROBES = 100
"""Function space is probed at this many test inputs, the first ones; all outputs, all chains, nothing dropped."""


MIN_DRAWS = 8
"""Draws a chain below which convergence is not judged."""
NUM_POINTS = 10
"""Points of a curve of convergence."""
CURVE = ("num_draws", "num_grad_evals", "rhat_max", "ess_bulk_min", "lppd")


def function_coordinates(task: str, outputs: np.ndarray, has_scale_head: bool) -> np.ndarray:
    """Return the function-space coordinates [chain, draw, coordinate] of predictive parameters on the probe set.

    Parameters
    ----------
    task : ``"classification"`` or ``"regression"``.
    outputs : [chain, draw, input, ...] logits, or means and log noise scales side by side.
    has_scale_head : whether the noise scale is an output of the network.
    """
    if task == "classification":
        return classification_coordinates(outputs)
    mean, log_scale = np.split(outputs, 2, axis=-1)
    return regression_coordinates(mean, np.exp(log_scale) if has_scale_head else None)


def predictive_sums(task: str, outputs: np.ndarray, targets: np.ndarray) -> ClassificationSums | RegressionSums:
    """Fold predictive parameters [..., input, output] into the running sums of a mixture."""
    if task == "classification":
        return classification_sums(outputs, targets)
    mean, log_scale = np.split(outputs.astype(np.float64), 2, axis=-1)
    return regression_sums(mean, np.exp(log_scale), targets)


def mixture(sums: Iterable[ClassificationSums | RegressionSums]) -> ClassificationSums | RegressionSums:
    """Combine the running sums of chunks, all of one task."""
    return reduce(combine, sums)  # type: ignore[arg-type]


def predictive_metrics(sums: ClassificationSums | RegressionSums, dataset: Dataset) -> dict[str, float]:
    """Score a mixture by the metrics of its task; regression in standardised and in raw units."""
    if isinstance(sums, ClassificationSums):
        return classification_metrics(sums)
    return regression_metrics(sums, dataset.target_scale)


def score(dataset: Dataset, outputs: Iterable[np.ndarray]) -> dict[str, float]:
    """Score the mixture of all members in chunks of predictive parameters [..., test input, output]."""
    targets = np.asarray(dataset.test.targets)
    sums = (predictive_sums(dataset.task, chunk[..., : len(targets), :], targets) for chunk in outputs)
    return predictive_metrics(mixture(sums), dataset)


def score_members(dataset: Dataset, outputs: np.ndarray) -> dict[str, Any]:
    """Score networks [member, test input, output] alone and together.

    Returns
    -------
    ``map`` (mean over members of each metric), ``map_best`` (the member with the lowest negative log-likelihood),
    ``map_by_seed`` (lists) and ``ensemble`` (their mixture).
    """
    rows = [score(dataset, [member]) for member in outputs]
    best = max(rows, key=lambda row: row["lppd"])
    return {
        "map": {name: float(np.mean([row[name] for row in rows])) for name in rows[0]},
        "map_best": best,
        "map_by_seed": {name: [row[name] for row in rows] for name in rows[0]},
        "ensemble": score(dataset, [outputs]),
    }


def evaluate_draws(
    path: Path, dataset: Dataset, has_scale_head: bool, num_superchains: int | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
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
    per-coordinate statistics ``<space>/<statistic>`` behind them.
    """
    num_probes = min(NUM_PROBES, len(dataset.test.targets))
    probes = np.concatenate(
        [chunk["outputs"][:, :, :num_probes] for chunk in results.read_chunks(path, "outputs")], axis=1
    )
    coordinates = function_coordinates(dataset.task, probes, has_scale_head)
    values = {"function_space": per_coordinate(coordinates)}
    positions = results.read_draws(path, "position/")
    if positions:
        values["weight_space"] = per_coordinate(ravel_positions(positions)[0])
    summary: dict[str, Any] = {space: summarise_coordinates(statistics) for space, statistics in values.items()}
    summary.setdefault("weight_space", None)
    if num_superchains is not None:
        summary["function_space"]["nested_rhat_max"] = float(np.nanmax(nested_rhat(coordinates, num_superchains)))
    summary["posterior"] = score(dataset, (chunk["outputs"] for chunk in results.read_chunks(path, "outputs")))
    return summary, trees.flatten(values)


def gradients_spent(path: Path) -> np.ndarray:
    """Return how many gradients over all data all chains took up to each draw, warmup included, float64 [draw]."""
    warmup = [line["num_grad_evals"] for line in results.read_metrics(path) if line["phase"] == "warmup"]
    draws = results.read_draws(path, "num_grad_evals")["num_grad_evals"]
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
    for chunk in results.read_chunks(path, "outputs"):
        cuts = [stop - num_draws for stop in stops if 0 < stop - num_draws < chunk["outputs"].shape[1]]
        for piece in np.split(chunk["outputs"], cuts, axis=1):
            probes.append(piece[:, :, :num_probes])
            sums.append(predictive_sums(dataset.task, piece[..., :num_test, :], targets))
            num_draws += piece.shape[1]
            if num_draws in stops and num_draws >= MIN_DRAWS:
                draws = np.concatenate(probes, axis=1)
                summary = summarise(function_coordinates(dataset.task, draws, has_scale_head))
                lppd = predictive_metrics(mixture(sums), dataset)["lppd"]
                points.append((num_draws, spent[num_draws - 1], summary["rhat_max"], summary["ess_bulk_min"], lppd))
    return dict(zip(CURVE, np.array(points, np.float64).reshape(-1, len(CURVE)).T, strict=True))


def figure_arrays(task: str, outputs: Iterable[np.ndarray], targets: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a figure needs of a mixture, each [input, ...].

    Parameters
    ----------
    task : ``"classification"`` or ``"regression"``.
    outputs : chunks of predictive parameters [..., input, output].
    targets : of the same inputs; any values where there are none, since only predictions are returned.

    Returns
    -------
    Classification: ``probability`` [input, class], ``entropy_total`` and ``entropy_epistemic`` in nats. Regression:
    ``mean``, ``aleatoric_scale`` and ``epistemic_scale``, standard deviations [input, target].
    """
    sums = mixture(predictive_sums(task, chunk, targets) for chunk in outputs)
    if isinstance(sums, ClassificationSums):
        entropy = classification_uncertainty(sums)
        probability = sums.probability / sums.num_members
        return {"probability": probability, **{f"entropy_{name}": entropy[name] for name in ("total", "epistemic")}}
    scales = {f"{name}_scale": np.sqrt(value) for name, value in regression_uncertainty(sums).items()}
    return {"mean": sums.mean / sums.num_members, **scales}
