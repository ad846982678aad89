"""What the finished runs of a study say together: repeats with intervals, differences to a baseline, predictions."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from asymjax import trees
from asymjax.diagnostics.flat import bias_shifts
from asymjax.diagnostics.predictive import agreement, squared_distance, total_variation
from asymjax.experiments.compare_posteriors.priors import baseline_of
from asymjax.experiments.posterior.draws import CURVE, convergence_curve, gradients_spent
from asymjax.experiments.variants import Variant
from asymjax.lab import results, run_files
from asymjax.symmetry.connectivity import all_pairs, over_pairs
from asymjax.symmetry.interpolation import over_networks
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
"""Numbers of one run: their name here -> where they are in its summary, and a factor."""

FAMILY = (
    *("function_ess_per_1000", "function_ess_median_per_1000", "weight_ess_median_per_1000"),
    *("barrier", "function_variance", "weight_variance_ratio"),
    *("nll", "map_nll", "ensemble_nll", "accuracy", "ece", "rmse", "coverage_error", "corrupted_nll", "noise_auroc"),
)
"""Metrics whose differences to the baseline are tested, those of all arms together; the others are described."""

BETWEEN = ("arm", "other_arm", "repeat", "other_repeat")
Measure = Callable[[np.ndarray, np.ndarray], float]
MEASURES: dict[str, Measure] = {
    "agreement": agreement,
    "total_variation": total_variation,
    "squared_distance": squared_distance,
}
"""How alike two predictive distributions are, [input, class]."""


class Sampled(NamedTuple):
    """What a study reads of one finished run.

    Attributes
    ----------
    metrics : see ``METRICS``, and what :func:`read_sampled` adds; NaN where a run has none.
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
        value = flat.get(path)
        return np.nan if value is None else float(value)

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
    variants: Mapping[str, Variant],
    posteriors: Mapping[str, Sequence[Path]],
    references: Mapping[str, Sequence[Path]],
) -> tuple[dict[str, Any], results.Named]:
    """Compare the finished runs of all variants.

    Returns
    -------
    Entries of summary.json, and arrays: ``study/<variant>/<repeat>/<name>`` of the curves of convergence; of
    classifiers ``study/agreement``, ``total_variation`` and ``squared_distance``, each with the axes ``BETWEEN``.
    """
    budget = min(float(gradients_spent(path)[-1]) for paths in posteriors.values() for path in paths)
    sampled = {
        name: [read_sampled(path, dataset, variants[name], budget) for path in paths]
        for name, paths in posteriors.items()
    }
    entries: dict[str, dict[str, Any]] = {}
    arrays: dict[str, tuple[Sequence[str], np.ndarray]] = {}
    for name, runs in sampled.items():
        baseline = baseline_of(name, variants)
        paired = sampled[baseline] if baseline and baseline != name else None
        first = run_files.read_json(posteriors[name][0] / "summary.json")
        described = {field: first[field] for field in ("arch", "num_trainable", "num_fixed")}
        entries[name] = {
            **described,
            "varied": next(iter(variants[name].varied.items()), None),
            "baseline": baseline,
            "flat_directions": _over_flat(runs),
            **_over_lags(runs),
        }
        entries[name]["metrics"] = _over_runs(runs, paired)
        entries[name]["posterior_seconds"] = sum(run.seconds for run in runs)
        for number, run in enumerate(runs):
            arrays |= {f"study/{name}/{number}/{field}": (("point",), values) for field, values in run.curve.items()}
    _correct([entry["metrics"][name]["difference"] for entry in entries.values() for name in FAMILY])
    if dataset.task == "classification":
        found, distances = _compare_predictions(dataset, entries, posteriors, references)
        arrays |= {f"study/{name}": (BETWEEN, values) for name, values in distances.items()}
        for name, entry in entries.items():
            entry |= found[name]
    return {"budget": budget, "arms": entries}, arrays


def over_repeats(values: Sequence[float], baseline: Sequence[float] | None = None) -> dict[str, Any]:
    """Return the values of repeats, their statistics, and those of the differences to a baseline's same repeats.

    Returns
    -------
    ``repeats``; ``mean``, ``std``, ``low`` and ``high`` as of :func:`~asymjax.symmetry.interpolation.over_networks`
    (Student's t); and ``difference``, the same of values - baseline and the two-sided ``p_value`` of a paired t-test,
    NaN where all differences are equal; None without a baseline.
    """
    own = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):  # R-hats may be infinite.
        difference = None if baseline is None else _tested(own - np.asarray(baseline))
        return {"repeats": own, **over_networks(own), "difference": difference}


def _tested(differences: np.ndarray) -> dict[str, float]:
    found = over_networks(differences)
    error = found["std"] / np.sqrt(len(differences))
    p_value = 2 * student_t.sf(abs(found["mean"]) / error, len(differences) - 1) if error > 0 else np.nan
    return found | {"p_value": float(p_value)}


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjust p-values [test] for their number (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Rejecting where the adjusted one is at most alpha makes one false rejection or more with a chance of at most alpha,
    however the tests depend on one another. NaN are no tests, and stay.
    """
    adjusted = np.array(p_values, np.float64)
    order = np.argsort(adjusted)[: np.sum(~np.isnan(adjusted))]
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def _correct(differences: Sequence[dict[str, float] | None]) -> None:
    """Add ``p_holm`` to the differences of one family."""
    tested = [difference for difference in differences if difference]
    adjusted = holm([difference["p_value"] for difference in tested])
    for difference, p_value in zip(tested, adjusted, strict=True):
        difference["p_holm"] = float(p_value)


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


def _compare_predictions(
    dataset: Dataset,
    entries: Mapping[str, Mapping[str, Any]],
    posteriors: Mapping[str, Sequence[Path]],
    references: Mapping[str, Sequence[Path]],
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Return of each variant ``predictions`` and, where there are references, ``reference``; and all distances."""

    def read(paths: Sequence[Path]) -> list[np.ndarray]:
        stored = "predictions/posterior/probability"
        num_test = len(dataset.test.targets)
        return [results.read_arrays(path, stored)[stored][:num_test] for path in paths]

    predictions = {name: read(paths) for name, paths in posteriors.items()}
    distances = {name: between(list(predictions.values()), measure) for name, measure in MEASURES.items()}
    found = {
        name: {
            "predictions": _predictions(distances, list(entries), name, entry["baseline"]),
            "reference": against(predictions[name], read(references.get(name, ()))),
        }
        for name, entry in entries.items()
    }
    return found, distances


def against(runs: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> dict[str, Any] | None:
    """Hold predictions of runs against those of two references, and these against each other.

    Parameters
    ----------
    runs, references : predictive distributions [input, class].

    Returns
    -------
    Of each of ``MEASURES`` what :func:`over_repeats` gives of the means over references, and ``between_references``,
    what two independent runs reach. None without references.
    """
    if not references:
        return None
    return {
        name: over_repeats([float(np.mean([measure(run, other) for other in references])) for run in runs])
        | {"between_references": measure(*references)}
        for name, measure in MEASURES.items()
    }


def between(predictions: Sequence[Sequence[np.ndarray]], measure: Measure) -> np.ndarray:
    """Measure the predictions of all repeats of all variants against each other [variant, variant, repeat, repeat]."""
    return np.array([[[[measure(p, q) for q in other] for p in own] for other in predictions] for own in predictions])


def excess(values: np.ndarray, own: int, other: int) -> dict[str, float]:
    """Return by how much repeats of two variants differ more than repeats of one do, with a 95 % interval.

    Of each pair of different repeats the mean of both values between the variants, less that of both within one. For
    squared distances its expectation is the squared distance between the variants' expected predictions, zero where the
    variants differ by Monte Carlo error alone, however large that of each is; for other distances it is not.

    Parameters
    ----------
    values : [variant, variant, repeat, repeat] squared distances, as of :func:`between`.
    own, other : indices of the variants.

    Returns
    -------
    ``mean``, ``std``, ``low`` and ``high`` as of :func:`~asymjax.symmetry.connectivity.over_pairs`, which knows that
    pairs share repeats; NaN but for the mean with two repeats.
    """
    pairs = all_pairs(values.shape[-1])
    first, second = pairs.T
    across = (values[own, other, first, second] + values[own, other, second, first]) / 2
    within = (values[own, own, first, second] + values[other, other, first, second]) / 2
    return {name: float(value) for name, value in over_pairs(across - within, pairs).items()}


def _predictions(
    distances: Mapping[str, np.ndarray], names: Sequence[str], name: str, baseline: str | None
) -> dict[str, Any]:
    """Summarise how predictions of one variant differ among its repeats, and from those of its baseline."""
    own = names.index(name)
    other = names.index(baseline) if baseline and baseline != name else None
    found: dict[str, Any] = {}
    for measure, values in distances.items():
        apart = ~np.eye(values.shape[-1], dtype=bool)  # Different repeats.
        found[measure] = {
            "within": float(values[own, own][apart].mean()),
            "baseline": None if other is None else float(values[own, other][apart].mean()),
        }
    found["excess"] = None if other is None else excess(distances["squared_distance"], own, other)
    return found
