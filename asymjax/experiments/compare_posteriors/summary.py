"""What the finished runs of a study say together: repeats with intervals, differences to a baseline, predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asymjax import trees
from asymjax.diagnostics.flat import bias_shifts
from asymjax.experiments.compare_posteriors.arms import Arm, baseline_of, plain_family_of
from asymjax.experiments.compare_posteriors.distances import (
    BETWEEN,
    against,
    between,
    differences_of_predictions,
    measures_of,
)
from asymjax.experiments.compare_posteriors.repeats import correct, over_repeats
from asymjax.experiments.posterior.draws import CURVE, convergence_curve, gradients_spent, read_predictive
from asymjax.experiments.variants import Variant
from asymjax.lab import results, run_files
from asymjax.report.read import as_numbers
from asymjax.types import Dataset

PER = 1000
"""Gradients that effective sample sizes are given for."""

METRICS: dict[str, tuple[str, float]] = {
    "function_rhat_max": ("function_space/rhat_max", 1),
    "function_ess_min": ("function_space/ess_bulk_min", 1),
    "function_ess_per_1000": ("function_space/ess_bulk_min_per_grad_eval", PER),
    "function_ess_median_per_1000": ("function_space/ess_bulk_median_per_grad_eval", PER),
    "weight_rhat_median": ("weight_space/rhat_median", 1),
    "weight_rhat_max": ("weight_space/rhat_max", 1),
    "effective_rhat_median": ("modes/weight_space/rhat_median", 1),
    "effective_rhat_max": ("modes/weight_space/rhat_max", 1),
    "aligned_rhat_median": ("modes/aligned_weight_space/rhat_median", 1),
    "aligned_rhat_max": ("modes/aligned_weight_space/rhat_max", 1),
    "permutation_share": ("modes/covariance/permutation_share", 1),
    "switches": ("modes/chambers/switches_mean", 1),
    "identity_share": ("modes/chambers/identity_share", 1),
    "num_chambers": ("modes/chambers/num_chambers", 1),
    "barrier": ("modes/barrier/maximum/mean", 1),
    "permuted_barrier": ("modes/permuted_barrier", 1),
    "in_place_between": ("modes/units_in_place/between", 1),
    "in_place_chance": ("modes/units_in_place/chance", 1),
    "function_variance": ("variance/functions", 1),
    "weight_variance": ("variance/weights/total", 1),
    "weight_variance_ratio": ("variance/weights/ratio", 1),
    "num_divergent": ("sampler/num_divergent", 1),
    "elbo": ("sampler/elbo", 1),
    "information": ("sampler/information", 1),
    "kl": ("sampler/kl", 1),
    "collapsed": ("sampler/num_collapsed", 1),
    "nll": ("test/posterior/lppd", -1),
    "ensemble_nll": ("test/ensemble/lppd", -1),
    "map_nll": ("test/map/lppd", -1),
    "mean_network_nll": ("test/mean_network/raw/lppd", -1),
    "own_mean_network_nll": ("test/mean_network/own/lppd", -1),
    "aligned_mean_network_nll": ("test/mean_network/aligned/lppd", -1),
    "accuracy": ("test/posterior/accuracy", 1),
    "ece": ("test/posterior/ece", 1),
    "rmse": ("test/posterior/rmse", 1),
    "coverage_error": ("test/posterior/coverage_error", 1),
    "noise_auroc": ("shift/posterior/other/noise/auroc_total", 1),
    "noise_auroc_epistemic": ("shift/posterior/other/noise/auroc_epistemic", 1),
    "patches_auroc": ("shift/posterior/other/patches/auroc_total", 1),
    "patches_auroc_epistemic": ("shift/posterior/other/patches/auroc_epistemic", 1),
}
"""Numbers of one run: their name here -> where they are in its summary, and a factor. Of fits the means over them."""

OPTIMA = ("map_nll", "ensemble_nll")
"""Metrics of the optima, which all samplers of a network share: they are tested once."""

FAMILY = (
    *("function_ess_per_1000", "function_ess_median_per_1000", "weight_ess_median_per_1000"),
    *("barrier", "function_variance", "weight_variance_ratio", "elbo", "reference_total_variation"),
    *("nll", *OPTIMA, "accuracy", "ece", "rmse", "coverage_error", "corrupted_nll", "noise_auroc"),
)
"""Metrics whose differences to the baseline are tested, those of all arms together; the others are described."""

RATIOS = {"function_variance_ratio": "function_variance", "weight_variance_reference_ratio": "weight_variance"}
"""Metrics over their mean in the references: where a family is too narrow, or too wide."""

BESIDE = ("elbo", "nll", "reference_total_variation")
"""Metrics whose differences between families of one network are tested, those of all arms together."""


class Sampled(NamedTuple):
    """What a study reads of one finished run.

    Attributes
    ----------
    metrics : see ``METRICS``, and what :func:`read_sampled` adds; of all arms also ``RATIOS`` and
        ``reference_total_variation``, the mean over references; NaN where a run has none.
    within : ``within_barriers`` and ``units_in_place``, lag in draws -> mean over chains; empty where no weights were
        kept.
    curve : see :func:`~asymjax.experiments.posterior.draws.convergence_curve`.
    flat : see :func:`~asymjax.diagnostics.flat.bias_shifts`, the ESS per 1,000 gradients.
    seconds : of compiling, training, warmup and sampling.
    """

    metrics: dict[str, float]
    within: dict[str, dict[int, float]]
    curve: dict[str, np.ndarray]
    flat: dict[str, dict[str, float]]
    seconds: float


class Reference(NamedTuple):
    """What the runs of one network are held against.

    Attributes
    ----------
    predictions : predictive distributions [input, class or cell] of its two runs.
    metrics : as of ``Sampled``, of each.
    """

    predictions: list[np.ndarray]
    metrics: list[dict[str, float]]


# One run ---------------------------------------------------------------------------------------------------------


def read_sampled(path: Path, dataset: Dataset, variant: Variant, budget: float) -> Sampled:
    """Read what a study compares of a finished run; ``budget`` as of :func:`at_budget`."""
    summary = run_files.read_json(path / "summary.json")
    has_scale_head = variant.posterior.has_scale_head(dataset.task)
    metrics = summary_metrics(summary) | at_budget(path, dataset, has_scale_head, budget)
    flat = read_bias_shifts(path, dataset, variant)
    for values in flat.values():
        values["ess_per_1000"] = PER * values.pop("ess") / sampling_gradients(summary)
    if dataset.task == "classification":
        (entropy,) = results.read_arrays(path, "predictions/posterior/entropy_total").values()
        test, noise = np.split(entropy, [len(dataset.test.targets)])
        metrics |= {"test_entropy": float(test.mean()), "noise_entropy": float(noise.mean())}
    seconds = sum(summary["seconds"][kind] for kind in ("compile", "train", "start", "warmup", "sample"))
    return Sampled(metrics, within_chains(summary), convergence_curve(path, dataset, has_scale_head), flat, seconds)


def sampling_gradients(summary: Mapping[str, Any]) -> float:
    """Return the gradients over all data that the draws of a run took; NaN where draws take none."""
    return summary["sampler"]["num_grad_evals"] or np.nan


def at_budget(path: Path, dataset: Dataset, has_scale_head: bool, budget: float) -> dict[str, float]:
    """Judge the draws of a run up to a number of gradients of all chains, warmup included; NaN where these are few."""
    num_draws = int(np.searchsorted(gradients_spent(path), budget, side="right"))
    point = convergence_curve(path, dataset, has_scale_head, [num_draws])
    return {f"{name}_at_budget": float(point[name][0]) if point[name].size else np.nan for name in CURVE}


def summary_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return ``METRICS`` of a run's summary, and what follows from them; NaN for what it has not."""
    flat = trees.flatten(summary)

    def number(path: str) -> float:
        return float(np.mean(as_numbers(flat.get(path))))

    metrics = {name: factor * number(path) for name, (path, factor) in METRICS.items()}
    ess = number("weight_space/ess_bulk_median")
    within = within_chains(summary)["within_barriers"]
    total = sum(summary["sampler"][name] for name in ("num_grad_evals", "num_warmup_grad_evals"))
    return (
        metrics
        | _corrupted(summary)
        | {
            "num_grad_evals_total": total,
            "weight_ess_median_per_1000": PER * ess / sampling_gradients(summary),
            "barrier_excess": metrics["barrier"] - (within[max(within)] if within else np.nan),
            "own_mean_network_excess": metrics["mean_network_nll"] - metrics["own_mean_network_nll"],
        }
    )


def within_chains(summary: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Return what a run has of its chains alone, by name: lag in draws -> mean over chains, smallest lag first."""
    modes = summary["modes"] or {}
    places = {"within_barriers": ("within_barrier", "maximum"), "units_in_place": ("units_in_place", "within")}
    found = {name: (modes.get(part) or {"lags": [], values: []}, values) for name, (part, values) in places.items()}
    return {name: dict(zip(part["lags"], part[values], strict=True)) for name, (part, values) in found.items()}


def _corrupted(summary: Mapping[str, Any]) -> dict[str, float]:
    """Average the posterior's scores over the corruptions of the test inputs; NaN where no weights were kept."""
    shift = summary.get("shift")
    rows = [scores for name, scores in shift["posterior"]["corrupted"].items() if name != "none"] if shift else []

    def mean(name: str) -> float:
        return float(np.mean([row.get(name, np.nan) for row in rows])) if rows else np.nan

    return {"corrupted_nll": -mean("lppd")} | {f"corrupted_{name}": mean(name) for name in ("accuracy", "ece", "rmse")}


def read_bias_shifts(path: Path, dataset: Dataset, variant: Variant) -> dict[str, dict[str, float]]:
    """Measure the biases of layers that feed a layer norm, where they are sampled and kept."""
    num_outputs = variant.posterior.likelihood(dataset.task).num_network_outputs(dataset.num_outputs)
    model = variant.model.build(dataset.input_shape, num_outputs, variant.posterior.normal_prior)
    normed = [layer for layer, place in model.feeds.items() if f"{place}/scale" in model.permutation_spec]
    if variant.model.backbone.norm != "layer" or not normed:
        return {}
    draws = results.read_arrays(path, *(f"posterior/{layer.replace('/', '.')}.bias" for layer in normed))
    biases = {name.removeprefix("posterior/").replace(".", "/"): values for name, values in draws.items()}
    root = np.sqrt(variant.posterior.temperature)
    prior = variant.posterior.normal_prior
    return bias_shifts(biases, {name: root * prior.scale_of(model.layers[name]) for name in biases})


# All runs --------------------------------------------------------------------------------------------------------


def compare(
    dataset: Dataset,
    arms: Mapping[str, Arm],
    posteriors: Mapping[str, Sequence[Path]],
    references: Mapping[str, Sequence[Path]],
) -> tuple[dict[str, Any], results.Named]:
    """Compare the finished runs of all arms.

    Parameters
    ----------
    dataset : the data.
    arms : by name.
    posteriors : name of an arm -> its runs, a repeat each.
    references : name of a network -> two runs that its arms are held against; empty without.

    Returns
    -------
    Entries of summary.json, and arrays: ``study/<arm>/<repeat>/<name>`` of the curves of convergence;
    ``study/total_variation`` and ``squared_distance``, of classifiers also ``agreement``, each with the axes
    ``BETWEEN``.
    """
    budget, measures = _budget(arms, posteriors), measures_of(dataset.task)
    predictions = {name: [read_predictive(path, dataset) for path in paths] for name, paths in posteriors.items()}
    distances = {name: between(list(predictions.values()), measure) for name, measure in measures.items()}
    known = {network: _read_reference(paths, dataset) for network, paths in references.items()}
    held, sampled = {}, {}
    for name, arm in arms.items():
        reference = known.get(arm.network, Reference([], []))
        held[name] = against(measures, predictions[name], reference.predictions)
        runs = [read_sampled(path, dataset, arm.variant, budget) for path in posteriors[name]]
        sampled[name] = _hold_against(runs, held[name], reference)
    entries: dict[str, dict[str, Any]] = {}
    for name, arm in arms.items():
        baseline = baseline_of(name, arms)
        first = run_files.read_json(posteriors[name][0] / "summary.json")
        entries[name] = {
            **{field: first[field] for field in ("arch", "num_trainable", "num_fixed")},
            **{"network": arm.network, "sampler": arm.sampler, "is_fit": arm.variant.sampler.is_fit},
            "varied": next(iter(arm.variant.varied.items()), None),
            "baseline": baseline,
            **_over_repeats(sampled, name, baseline if baseline != name else None),
            "plain_family": _beside_plain_family(sampled, name, plain_family_of(name, arms)),
            "predictions": differences_of_predictions(distances, list(arms), name, baseline),
            "reference": held[name],
        }
    _correct(entries)
    curves = {
        f"study/{name}/{number}/{field}": (("point",), values)
        for name, runs in sampled.items()
        for number, run in enumerate(runs)
        for field, values in run.curve.items()
    }
    return {"budget": budget, "arms": entries}, curves | {
        f"study/{name}": (BETWEEN, values) for name, values in distances.items()
    }


def _correct(entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Correct the differences to baselines for their number, and apart from these those between families."""
    first = next(iter(entries.values()))["sampler"]
    metrics = [(entry["metrics"], OPTIMA if entry["sampler"] != first else ()) for entry in entries.values()]
    correct([own[name]["difference"] for own, left_out in metrics for name in FAMILY if name not in left_out])
    families = [entry["plain_family"]["differences"] for entry in entries.values() if entry["plain_family"]]
    correct([difference for differences in families for difference in differences.values()])


def _budget(arms: Mapping[str, Arm], posteriors: Mapping[str, Sequence[Path]]) -> float:
    """Return the fewest gradients that any run of a sampler took in all, since draws of fits take none.

    Of fits, where there is no sampler.
    """
    walked = {name: paths for name, paths in posteriors.items() if not arms[name].variant.sampler.is_fit}
    return min(float(gradients_spent(path)[-1]) for paths in (walked or posteriors).values() for path in paths)


def _read_reference(paths: Sequence[Path], dataset: Dataset) -> Reference:
    summaries = [run_files.read_json(path / "summary.json") for path in paths]
    return Reference([read_predictive(path, dataset) for path in paths], list(map(summary_metrics, summaries)))


def _hold_against(runs: Sequence[Sampled], held: Mapping[str, Any] | None, reference: Reference) -> list[Sampled]:
    """Add to the metrics of runs how they compare with a reference; NaN without one."""
    distances = held["total_variation"]["repeats"] if held else np.full(len(runs), np.nan)
    scales = {
        ratio: np.mean([metrics[name] for metrics in reference.metrics]) if reference.metrics else np.nan
        for ratio, name in RATIOS.items()
    }
    return [
        run._replace(
            metrics=run.metrics
            | {"reference_total_variation": float(distance)}
            | {ratio: float(run.metrics[name] / scales[ratio]) for ratio, name in RATIOS.items()}
        )
        for run, distance in zip(runs, distances, strict=True)
    ]


def _beside_plain_family(
    sampled: Mapping[str, Sequence[Sampled]], name: str, plain: str | None
) -> dict[str, Any] | None:
    """Return the differences of a fit to another family on the same network, repeat by repeat."""
    if plain is None:
        return None
    found = _over_runs(sampled[name], sampled[plain])
    return {"arm": plain, "differences": {metric: found[metric]["difference"] for metric in BESIDE}}


def _over_repeats(sampled: Mapping[str, Sequence[Sampled]], name: str, baseline: str | None) -> dict[str, Any]:
    """Return the statistics of all that the runs of an arm have."""
    runs = sampled[name]
    return {
        "metrics": _over_runs(runs, sampled[baseline] if baseline else None),
        "flat_directions": _over_flat(runs),
        **_over_lags(runs),
        "posterior_seconds": sum(run.seconds for run in runs),
    }


def _over_runs(runs: Sequence[Sampled], baseline: Sequence[Sampled] | None) -> dict[str, dict[str, Any]]:
    return {
        name: over_repeats(
            [run.metrics[name] for run in runs], [run.metrics[name] for run in baseline] if baseline else None
        )
        for name in runs[0].metrics
    }


def _over_flat(runs: Sequence[Sampled]) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        layer: {name: over_repeats([run.flat[layer][name] for run in runs]) for name in values}
        for layer, values in runs[0].flat.items()
    }


def _over_lags(runs: Sequence[Sampled]) -> dict[str, dict[int, dict[str, Any]]]:
    return {
        name: {lag: over_repeats([run.within[name][lag] for run in runs]) for lag in lags}
        for name, lags in runs[0].within.items()
    }
