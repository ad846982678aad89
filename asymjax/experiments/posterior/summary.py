"""What a finished posterior leaves: the numbers of its summary, and the arrays of its figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.diagnostics.convergence import efficiency
from asymjax.diagnostics.modes import summarise_modes
from asymjax.diagnostics.scores import figure_arrays, score, score_members
from asymjax.diagnostics.shift import MAX_SHIFT_DRAWS, make_shift_predict, shift_scores, shifted_inputs
from asymjax.diagnostics.variances import function_variance, weight_variance
from asymjax.diagnostics.verdict import verdict
from asymjax.experiments.posterior.config import Config
from asymjax.experiments.posterior.draws import WEIGHTS, evaluate_draws, read_outputs, thinned_positions
from asymjax.inference import ALGORITHMS, Algorithm
from asymjax.inference.posterior import Posterior, PosteriorConfig
from asymjax.inference.starts import logdensity_and_gradient_norm
from asymjax.lab import results, run_files
from asymjax.lab.rundir import RunDir
from asymjax.settings import name_of
from asymjax.symmetry import unit_counts
from asymjax.types import Dataset, Position

MAX_ALIGNED_DRAWS = 100
"""Draws a chain that are aligned, evenly spaced; each takes milliseconds."""
NUM_BARRIER_POINTS = 11


def summarise_posterior(
    run: RunDir,
    dataset: Dataset,
    problem: Posterior,
    posterior: PosteriorConfig,
    config: Config,
    optima: Position | None,
    tuned: Any,
    inputs: jax.Array,
) -> tuple[dict[str, Any], results.Named]:
    """Diagnose and score the draws of a run directory.

    Parameters
    ----------
    run, dataset, problem, posterior, config : the run.
    optima : MAP networks [member, ...], or None.
    tuned : what warmup tuned, [chain, ...].
    inputs : where outputs of draws were kept: test inputs, then noise.

    Returns
    -------
    The summary, but for what it says of data and network; and ``diagnostics`` and ``predictions`` for the results.
    """
    num_superchains = config.start.num_starts(config.chains.num_chains) if config.start.chains_per_start > 1 else None
    has_scale_head = posterior.has_scale_head(dataset.task)
    summary, diagnostics = evaluate_draws(run.path, dataset, has_scale_head, num_superchains)
    summary["sampler"] = _sampler_summary(run.path, config.sampler, tuned)
    summary["fixed_to_free_ratio"] = fixed_to_free_ratio(problem)
    costs = efficiency(summary["function_space"], run.seconds["sample"], summary["sampler"]["num_grad_evals"])
    summary["function_space"] |= {name: value for name, value in costs.items() if name.endswith("_per_grad_eval")}
    summary["test"], predictions = _predictions(run, dataset, problem, optima, inputs, summary.pop("posterior"))
    has_weights = summary["weight_space"] is not None
    summary["shift"] = _shift(run.path, dataset, problem, optima, config.chains.num_draws) if has_weights else None
    summary["modes"], summary["test"]["mean_network"] = None, None
    has_units = bool(unit_counts(problem.model.params_shape, problem.model.permutation_spec))
    positions = results.tree_of(results.read_arrays(run.path, WEIGHTS), WEIGHTS) if has_weights else None
    summary["variance"] = _variances(run.path, dataset, problem, positions)
    if positions is not None and has_units:
        summary["modes"], summary["test"]["mean_network"] = _modes(dataset, problem, positions, num_superchains)
    summary["seconds"] = _seconds(run, costs)
    num_coordinates = trees.num_entries(problem.shape)
    summary["verdict"] = _verdict(summary, config, num_coordinates)
    return summary, {**diagnostics, **predictions}


def fixed_to_free_ratio(problem: Posterior) -> dict[str, float]:
    """Return, a kernel, the scale of the fixed part of the pre-activations over that of the free part.

    For white inputs, under the prior: the root mean square of the kernel at position zero over the standard deviation
    that the prior gives to its free entries. Infinite where nothing is free.
    """
    shape = problem.shape
    fixed = trees.flatten(problem.model.merge(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shape), problem.frozen))
    free, scales = trees.flatten(shape), trees.flatten(problem.prior_scale)
    ratios = {}
    for path in (path for path in fixed if path.endswith("/kernel")):
        variance = scales[path] ** 2 * int(np.prod(free[path].shape)) if path in free else 0.0
        ratios[path] = float(np.sqrt(np.sum(np.square(fixed[path])) / variance)) if variance else float("inf")
    return ratios


def _sampler_summary(path: Path, sampler: Algorithm, tuned: Any) -> dict[str, Any]:
    stats = {name.rpartition("/")[-1]: draws for name, draws in results.read_arrays(path, "sample_stats/").items()}
    num_grad_evals = stats["num_grad_evals"].astype(np.float64)
    warmup = [line for line in run_files.read_metrics(path) if line["phase"] == "warmup"]
    leaves = {field: value for field, value in tuned._asdict().items() if isinstance(value, np.ndarray | jax.Array)}
    scalars = {field: np.asarray(value) for field, value in leaves.items() if value.ndim == 1}
    return {
        "name": name_of(ALGORITHMS, sampler),
        **scalars,
        "grad_evals_per_draw": float(num_grad_evals.mean()),
        "acceptance_rate": float(stats["acceptance_rate"].mean()),
        "mean_squared_energy_change": float(np.mean(np.square(stats["energy_error"], dtype=np.float64))),
        "num_divergent": int(stats["diverging"].sum()),
        "cut_share": float(np.mean(num_grad_evals >= sampler.thinning * sampler.max_gradients)),
        "num_grad_evals": float(num_grad_evals.sum()),
        "num_grad_evals_in_lockstep": float(num_grad_evals.max(0).sum() * len(num_grad_evals)),
        "num_warmup_grad_evals": float(np.sum([line["num_grad_evals"] for line in warmup])),
    }


def _verdict(summary: Mapping[str, Any], config: Config, num_coordinates: int) -> dict[str, Any]:
    sampler, num_chains = summary["sampler"], config.chains.num_chains
    judged = verdict(
        summary["function_space"],
        summary["weight_space"],
        num_chains,
        num_chains * config.chains.num_draws,
        sampler["num_divergent"],
        sampler["acceptance_rate"],
        sampler["mean_squared_energy_change"] / num_coordinates,
        sampler["cut_share"],
        is_fit=config.sampler.is_fit,
    )
    return judged._asdict()


def _predictions(
    run: RunDir,
    dataset: Dataset,
    problem: Posterior,
    optima: Position | None,
    inputs: jax.Array,
    posterior_scores: dict[str, float],
) -> tuple[dict[str, Any], results.Named]:
    """Score MAP networks and their ensemble beside the posterior, and gather the arrays of the figures."""
    num_test = len(dataset.test.targets)
    targets = np.asarray(dataset.test.targets)
    num_noise = len(inputs) - num_test
    padded = np.concatenate([targets, np.zeros((num_noise, *targets.shape[1:]), targets.dtype)])
    mixtures = {"posterior": figure_arrays(dataset.task, read_outputs(run.path), padded)}
    test: dict[str, Any] = {"map": None, "ensemble": None}
    if optima is not None:
        predict = jax.jit(jax.vmap(problem.predict, in_axes=(0, None, None)))
        outputs = np.asarray(predict(optima, problem.frozen, inputs))
        logdensity, gradient_norm = logdensity_and_gradient_norm(problem, optima)
        test = score_members(dataset, outputs[:, :num_test])
        test["optimum"] = {"logdensity": logdensity, "gradient_norm": gradient_norm}
        mixtures |= {"ensemble": figure_arrays(dataset.task, [outputs], padded)}
        mixtures |= {"map": figure_arrays(dataset.task, [outputs[:1]], padded)}
    arrays: dict[str, Any] = {
        f"predictions/{name}": (("input", "output")[: values.ndim], values)
        for name, values in trees.flatten(mixtures).items()
    }
    arrays["predictions/targets"] = (("test_input", "output")[: targets.ndim], targets)
    return test | {"posterior": posterior_scores}, arrays


def _modes(
    dataset: Dataset, problem: Posterior, positions: Position, num_superchains: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Summarise the modes of kept weights, and score networks at their mean: as drawn, aligned, of each chain."""
    frozen, logdensity = problem.frozen, problem.logdensity
    summary, means = summarise_modes(
        problem.model,
        frozen,
        positions,
        logdensity,
        (frozen, problem.data, *problem.given),
        MAX_ALIGNED_DRAWS,
        NUM_BARRIER_POINTS,
        num_superchains,
        inputs=dataset.train.inputs,
    )
    predict = jax.jit(problem.predict)

    def scored(position: Position) -> dict[str, float]:
        return score(dataset, [np.asarray(predict(position, frozen, dataset.test.inputs))[None]])

    num_chains = len(jax.tree.leaves(means.of_chains)[0])
    chains = [scored(jax.tree.map(lambda leaf, i=i: leaf[i], means.of_chains)) for i in range(num_chains)]
    return summary, {
        "raw": scored(means.position),
        "aligned": None if means.aligned_position is None else scored(means.aligned_position),
        "own": {name: float(np.mean([chain[name] for chain in chains])) for name in chains[0]},
    }


def _variances(path: Path, dataset: Dataset, problem: Posterior, positions: Position | None) -> dict[str, Any]:
    """Return how far the draws spread, on the test inputs and in the weights, where these were kept."""
    num_test = len(dataset.test.targets)
    functions = function_variance(dataset.task, (outputs[:, :, :num_test] for outputs in read_outputs(path)))
    if positions is None:
        return {"functions": functions, "weights": None}
    found = weight_variance(positions, problem.prior_scale, float(problem.temperature))
    return {"functions": functions, "weights": found}


def _shift(
    path: Path, dataset: Dataset, problem: Posterior, optima: Position | None, num_draws: int
) -> dict[str, dict[str, Any] | None]:
    """Score the kept weights, and the ensemble of MAP networks, on corrupted and on other inputs."""
    shifted = shifted_inputs(dataset)
    predict = make_shift_predict(problem.predict, problem.frozen, shifted)
    draws = map(predict, thinned_positions(path, num_draws, MAX_SHIFT_DRAWS))
    return {
        "posterior": shift_scores(dataset, shifted, draws),
        "ensemble": None if optima is None else shift_scores(dataset, shifted, [predict(optima)]),
    }


def _seconds(run: RunDir, efficiencies: dict[str, float]) -> dict[str, float]:
    """Return the seconds of each kind of work, and effective draws a second of sampling."""
    seconds = {kind: run.seconds.get(kind, 0.0) for kind in ("compile", "train", "start", "warmup", "sample")}
    return seconds | {name: value for name, value in efficiencies.items() if name.endswith("_per_second")}
