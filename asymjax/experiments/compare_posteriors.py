"""What removing symmetries does to sampling: posteriors of several methods, repeated, at one prior scale and budget."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asymjax import data, results, trees
from asymjax.config import (
    DataConfig,
    HMCConfig,
    ModelConfig,
    PosteriorConfig,
    RunConfig,
    SeedConfig,
    StudyConfig,
    chains_of,
)
from asymjax.diagnostics.evaluate import convergence_curve
from asymjax.diagnostics.flat import bias_shifts
from asymjax.diagnostics.predictive import agreement, total_variation
from asymjax.errors import InputError
from asymjax.experiments.arms import Arm, baseline_of, make_arms
from asymjax.experiments.opening import refuse_graph
from asymjax.experiments.posterior import check_lengths, run_posterior
from asymjax.inference.posterior import num_network_outputs
from asymjax.models import build_model
from asymjax.rundir import open_run
from asymjax.symmetry.connectivity import all_pairs, over_pairs
from asymjax.symmetry.interpolation import over_networks
from asymjax.types import Dataset

EXPERIMENT = "compare_posteriors"
NUM_REFERENCES = 2
PER = 1000
"""Gradients that effective sample sizes are given for."""

METRICS: dict[str, tuple[str, float]] = {
    "function_rhat_max": ("function_space/rhat_max", 1),
    "function_ess_min": ("function_space/ess_bulk_min", 1),
    "function_ess_per_1000": ("function_space/ess_bulk_min_per_grad_eval", PER),
    "weight_rhat_median": ("weight_space/rhat_median", 1),
    "weight_rhat_max": ("weight_space/rhat_max", 1),
    "aligned_rhat_median": ("modes/aligned_weight_space/rhat_median", 1),
    "aligned_rhat_max": ("modes/aligned_weight_space/rhat_max", 1),
    "permutation_share": ("modes/covariance/permutation_share", 1),
    "switches": ("modes/chambers/switches_mean", 1),
    "identity_share": ("modes/chambers/identity_share", 1),
    "occupancy_entropy": ("modes/chambers/occupancy_entropy", 1),
    "barrier": ("modes/barrier/maximum/mean", 1),
    "num_divergent": ("sampler/num_divergent", 1),
    "nll": ("test/posterior/lppd", -1),
    "ensemble_nll": ("test/ensemble/lppd", -1),
    "map_nll": ("test/map/lppd", -1),
    "mean_network_nll": ("test/mean_network/raw/lppd", -1),
    "aligned_mean_network_nll": ("test/mean_network/aligned/lppd", -1),
    "accuracy": ("test/posterior/accuracy", 1),
    "ece": ("test/posterior/ece", 1),
    "rmse": ("test/posterior/rmse", 1),
    "coverage_error": ("test/posterior/coverage_error", 1),
}
"""Numbers of one run: their name here -> where they are in its summary, and a factor."""
AT_BUDGET = ("rhat_max", "ess_bulk_min", "lppd")

Measure = Callable[[np.ndarray, np.ndarray], float]
MEASURES: dict[str, Measure] = {"agreement": agreement, "total_variation": total_variation}
"""How alike two predictive distributions are, [input, class]."""


class Sampled(NamedTuple):
    """What a study reads of one finished run.

    Attributes
    ----------
    metrics : see ``METRICS``, and what :func:`read_sampled` adds; NaN where a run has none.
    curve : see :func:`~asymjax.diagnostics.evaluate.convergence_curve`.
    shifts : see :func:`~asymjax.diagnostics.flat.bias_shifts`, the ESS per 1,000 gradients.
    """

    metrics: dict[str, float]
    curve: dict[str, np.ndarray]
    shifts: dict[str, dict[str, float]]


def run_study(
    data_config: DataConfig,
    model_config: ModelConfig,
    posterior_config: PosteriorConfig,
    config: StudyConfig,
    seeds: SeedConfig,
    run_config: RunConfig,
) -> Path:
    """Sample every arm several times, each as a run directory of its own, and compare them; resumes what is unfinished.

    Parameters
    ----------
    model_config, posterior_config : what all arms have in common; the method and the scale of the output kernel aside.
    config : the arms, and how each is sampled.

    Returns
    -------
    The run directory, with ``posteriors/ARM/REPEAT``, ``references/ARM/{0,1}`` for other samplers than hmc,
    summary.json and study.npz.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If a loss or log density is not finite.
    StopRequestedError
        If SIGTERM came.
    """
    if config.num_repeats < 2:
        raise InputError(f"num_repeats is {config.num_repeats}; an interval takes 2 at least")
    family, chains = _chains(config)
    reference = HMCConfig(
        num_chains=config.num_chains,
        num_draws=config.reference_draws or 2 * config.num_draws,
        map_steps=config.map_steps,
    )
    for lengths in (chains, reference):
        check_lengths(lengths)
    dataset = data.load(data_config.dataset, data_config.data_dir, data_config.data_seed)
    refuse_graph(dataset, data_config.dataset)
    arms, priors = make_arms(config, model_config, posterior_config, dataset)
    identity = {"dataset": data_config.dataset, "data_seed": data_config.data_seed}
    settings = {"posterior": posterior_config.for_task(dataset.task), "study": config, "seeds": seeds}
    name = f"{model_config.backbone}-{data_config.dataset.replace('/', '_')}-{config.sampler}"
    run = open_run(EXPERIMENT, name, {"data": identity, "model": model_config, **settings}, run_config)
    run.identify(dataset=dataset.checksum)

    def sample(folder: str, arm: str, number: int, family: str, chains: Any, first_seed: int = 0) -> Path:
        path = run.path / folder / arm / str(number)
        if not (path / "DONE").exists():
            print(f"{folder}/{arm}/{number}: ", end="", flush=True)
            own = SeedConfig(seeds.init_seed + first_seed + number, seeds.seed + first_seed + number)
            where = replace(run_config, run_dir=path, force=False)
            run_posterior(family, data_config, arms[arm].model, arms[arm].posterior, chains, own, where)
        return path

    posteriors = {
        arm: [sample("posteriors", arm, number, family, chains) for number in range(config.num_repeats)] for arm in arms
    }
    references = {}
    if config.sampler != "hmc":
        again = partial(sample, family="hmc", chains=reference, first_seed=config.num_repeats)
        references = {arm: [again("references", arm, number) for number in range(NUM_REFERENCES)] for arm in arms}
    summary, arrays = compare(dataset, arms, posteriors, references)
    for arm, prior in priors.items():
        summary["arms"][arm]["prior"] = prior
    run.write_arrays("study.npz", arrays)
    shared = {"backbone": model_config.backbone, "dataset": data_config.dataset, "task": dataset.task}
    run.finish(shared | {"sampler": config.sampler, "num_repeats": config.num_repeats} | summary)
    return run.path


def _chains(config: StudyConfig) -> tuple[str, Any]:
    optional = {name: getattr(config, name) for name in ("num_warmup", "thinning")}
    given = {name: value for name, value in optional.items() if value is not None}
    required = {name: getattr(config, name) for name in ("num_chains", "num_draws", "map_steps")}
    return chains_of(config.sampler, **required, **given)


# One run ---------------------------------------------------------------------------------------------------------


def read_sampled(path: Path, dataset: Dataset, arm: Arm) -> Sampled:
    """Read what a study compares of a finished run."""
    summary = results.read_json(path / "summary.json")
    metrics = summary_metrics(summary)
    has_scale_head = dataset.task == "regression" and arm.posterior.noise == "heteroscedastic"
    shifts = _bias_shifts(path, dataset, arm)
    for values in shifts.values():
        values["ess_per_1000"] = PER * values.pop("ess") / summary["sampler"]["num_grad_evals"]
    if dataset.task == "classification":
        entropy = results.read_arrays(path / "predictions.npz", "posterior/entropy_total")["posterior/entropy_total"]
        test, noise = np.split(entropy, [len(dataset.test.targets)])
        metrics |= {"test_entropy": float(test.mean()), "noise_entropy": float(noise.mean())}
    return Sampled(metrics, convergence_curve(path, dataset, has_scale_head), shifts)


def summary_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return ``METRICS`` of a run's summary, and what follows from them; NaN for what it has not."""
    flat = trees.flatten(summary)
    metrics = {name: factor * float(flat.get(path, np.nan)) for name, (path, factor) in METRICS.items()}
    gradients = summary["sampler"]["num_grad_evals"]
    return metrics | {
        "num_grad_evals": gradients + summary["sampler"]["num_warmup_grad_evals"],
        "weight_ess_median_per_1000": PER * float(flat.get("weight_space/ess_bulk_median", np.nan)) / gradients,
        "mean_network_excess": metrics["mean_network_nll"] - metrics["nll"],
        "aligned_mean_network_excess": metrics["aligned_mean_network_nll"] - metrics["nll"],
    }


def _bias_shifts(path: Path, dataset: Dataset, arm: Arm) -> dict[str, dict[str, float]]:
    """Measure the biases of layers that feed a layer norm, where they are sampled and kept."""
    num_outputs = num_network_outputs(dataset.task, dataset.num_outputs, arm.posterior.noise)
    model = build_model(arm.model, dataset.input_shape, num_outputs, arm.posterior)
    normed = [layer for layer, place in model.feeds.items() if f"{place}/scale" in model.permutation_spec]
    if arm.model.norm != "layer" or not normed:
        return {}
    draws = results.read_draws(path, *(f"position/{layer}/bias" for layer in normed))
    biases = {name.removeprefix("position/"): values for name, values in draws.items()}
    root = np.sqrt(arm.posterior.temperature)
    return bias_shifts(
        biases, {name: root * arm.posterior.scale_of(name, values.shape[2:]) for name, values in biases.items()}
    )


# All runs --------------------------------------------------------------------------------------------------------


def compare(
    dataset: Dataset,
    arms: Mapping[str, Arm],
    posteriors: Mapping[str, Sequence[Path]],
    references: Mapping[str, Sequence[Path]],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Compare the finished runs of all arms.

    Returns
    -------
    Entries of summary.json, and arrays: ``<arm>/<repeat>/<name>`` of the curves of convergence, ``agreement`` and
    ``total_variation`` [arm, arm, repeat, repeat] (classification).
    """
    sampled = {name: [read_sampled(path, dataset, arms[name]) for path in paths] for name, paths in posteriors.items()}
    budget = min(run.curve["num_grad_evals"][-1] for runs in sampled.values() for run in runs)
    for run in (run for runs in sampled.values() for run in runs):
        run.metrics.update(at_budget(run.curve, budget))
    entries: dict[str, dict[str, Any]] = {}
    for name, runs in sampled.items():
        baseline = baseline_of(name, arms)
        first = results.read_json(posteriors[name][0] / "summary.json")
        entries[name] = {
            **{field: first[field] for field in ("arch", "num_trainable", "num_fixed")},
            "varied": arms[name].varied,
            "baseline": baseline,
            "metrics": _over_arm(runs, None if baseline in (None, name) else sampled[baseline]),
            "shifts": _over_shifts(runs),
            "reference": None,
        }
    arrays = {
        f"{name}/{number}/{field}": values
        for name, runs in sampled.items()
        for number, run in enumerate(runs)
        for field, values in run.curve.items()
    }
    if dataset.task == "classification":
        predictions = [[run.probability for run in runs] for runs in sampled.values()]
        arrays |= {
            "agreement": between(predictions, agreement),
            "total_variation": between(predictions, total_variation),
        }
        for name, entry in entries.items():
            entry["reference"] = _against(
                predictions[name], [_probability(path, dataset) for path in references.get(name, ())]
            )
            entry["predictions"] = _predictions(arrays, list(entries), name, entry["baseline"])
    first = results.read_json(next(iter(posteriors.values()))[0] / "summary.json")
    return {"num_rows": first["num_rows"], "budget": float(budget), "arms": entries}, arrays


def at_budget(curve: Mapping[str, np.ndarray], budget: float) -> dict[str, float]:
    """Return the last point of a curve of convergence within a number of gradients; NaN where all are beyond it."""
    within = np.flatnonzero(curve["num_grad_evals"] <= budget)
    return {
        f"{name}_at_budget": float(curve[name][within[-1]]) if within.size else np.nan
        for name in ("num_grad_evals", *AT_BUDGET)
    }


def over_repeats(values: Sequence[float], baseline: Sequence[float] | None = None) -> dict[str, Any]:
    """Return the values of repeats, their statistics, and those of the differences to a baseline's same repeats.

    Returns
    -------
    ``repeats``; ``mean``, ``std``, ``low`` and ``high`` as of :func:`~asymjax.symmetry.interpolation.over_networks`
    (Student's t); and ``difference``, the same of values - baseline, None without one.
    """
    own = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):  # R-hats may be infinite.
        difference = None if baseline is None else over_networks(own - np.asarray(baseline))
        return {"repeats": own, **over_networks(own), "difference": difference}


def _over_arm(runs: Sequence[Sampled], baseline: Sequence[Sampled] | None) -> dict[str, dict[str, Any]]:
    return {
        name: over_repeats(
            [run.metrics[name] for run in runs], None if baseline is None else [run.metrics[name] for run in baseline]
        )
        for name in runs[0].metrics
    }


def _over_shifts(runs: Sequence[Sampled]) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        layer: {name: over_repeats([run.shifts[layer][name] for run in runs]) for name in values}
        for layer, values in runs[0].shifts.items()
    }


def _probability(path: Path, dataset: Dataset) -> np.ndarray:
    arrays = results.read_arrays(path / "predictions.npz", "posterior/probability")
    return arrays["posterior/probability"][: len(dataset.test.targets)]


def _against(runs: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> dict[str, Any] | None:
    """Hold runs against reference runs, and these against each other, which is the most that can be expected."""
    if not references:
        return None
    return {
        name: over_repeats([float(np.mean([measure(run, other) for other in references])) for run in runs])
        | {"ceiling": measure(*references)}
        for name, measure in MEASURES.items()
    }


def between(predictions: Sequence[Sequence[np.ndarray]], measure: Measure) -> np.ndarray:
    """Measure the predictions of all repeats of all arms against each other [arm, arm, repeat, repeat]."""
    return np.array([[[[measure(p, q) for q in other] for p in own] for other in predictions] for own in predictions])


def excess(values: np.ndarray, own: int, other: int) -> dict[str, float]:
    """Say by how much repeats of two arms differ more than repeats of one arm do, with a 95 % interval.

    Of each pair of different repeats the mean of both values between the arms, less that of both within one. Zero where
    the arms predict the same up to Monte Carlo error.

    Parameters
    ----------
    values : [arm, arm, repeat, repeat] distances, as of :func:`between`.
    own, other : indices of the arms.

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
    arrays: Mapping[str, np.ndarray], names: Sequence[str], name: str, baseline: str | None
) -> dict[str, Any]:
    """Summarise how predictions of one arm differ among its repeats, and from those of its baseline."""
    own = names.index(name)
    found: dict[str, Any] = {}
    for measure in MEASURES:
        values = arrays[measure]
        apart = ~np.eye(values.shape[-1], dtype=bool)  # Different repeats.
        found[measure] = {"within": float(values[own, own][apart].mean()), "baseline": None}
        if baseline not in (None, name):
            found[measure]["baseline"] = float(values[own, names.index(baseline)][apart].mean())
    found["excess"] = (
        None if baseline in (None, name) else excess(arrays["total_variation"], own, names.index(baseline))
    )
    return found
