"""The posterior of one network by any sampler: MAP ensemble, warmup, draws, diagnostics."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import parallel, results, rng, trees
from asymjax.config import ChainsConfig, DataConfig, ModelConfig, PosteriorConfig, RunConfig, SeedConfig
from asymjax.diagnostics.convergence import efficiency
from asymjax.diagnostics.evaluate import evaluate_draws, figure_arrays, score, score_members
from asymjax.diagnostics.modes import summarise_modes
from asymjax.errors import InputError
from asymjax.experiments.opening import describe, open_experiment
from asymjax.inference.algorithm import Algorithm
from asymjax.inference.problem import Problem, make_problem
from asymjax.inference.sample import keeps_weights, sample_chains, state_plan, warm_up
from asymjax.inference.samplers import SAMPLERS
from asymjax.inference.start import find_map, logdensity_and_gradient_norm, permuted_copies, prior_start
from asymjax.parallel import Placement
from asymjax.rundir import RunDir
from asymjax.types import Dataset, Position

NUM_NOISE_INPUTS = 100
MAX_ALIGNED_DRAWS = 100
"""Draws a chain that are aligned, evenly spaced; each takes milliseconds."""


def run_posterior(
    family: str,
    data_config: DataConfig,
    model_config: ModelConfig,
    posterior_config: PosteriorConfig,
    config: ChainsConfig,
    seeds: SeedConfig,
    run_config: RunConfig,
) -> Path:
    """Sample, diagnose, and write a run directory; resumes one that is not finished.

    Parameters
    ----------
    family : name of the group of samplers, as in the name of the script: ``"hmc"`` for ``runs/bnn_hmc.py``.
    data_config, model_config, posterior_config, seeds, run_config : what is sampled and where.
    config : the chains; its ``sampler`` names one of ``SAMPLERS``.

    Returns
    -------
    The run directory, with summary.json, draws/, diagnostics.npz and predictions.npz.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If a loss or log density is not finite.
    StopRequestedError
        If SIGTERM came.
    """
    num_starts(config)  # First, for both refuse what cannot be.
    algorithm = SAMPLERS[config.sampler](config)
    settings = {family: config, "seeds": seeds}
    opening = open_experiment(
        f"bnn_{family}",
        config.sampler,
        data_config,
        model_config,
        settings,
        config.num_chains,
        run_config,
        posterior_config,
    )
    dataset, model, frozen, posterior, placement, run = opening
    assert posterior is not None
    problem = make_problem(model, dataset.task, posterior, frozen, dataset.train)
    keep_position = keeps_weights(config, trees.num_entries(problem.shape))
    inputs = jnp.asarray(evaluation_inputs(dataset, data_config.data_seed))
    print(f"{placement}; {state_plan(run, problem, config, inputs, keep_position)}", flush=True)

    keys = partial(_chain_keys, count=config.num_chains)
    optima, start = find_start(run, problem, config, seeds, placement)
    position, tuned = warm_up(run, problem, keys(seeds.seed, "warmup"), start, placement, algorithm)
    print(state_cost(run.path, algorithm, tuned, config), flush=True)
    sample_keys = keys(seeds.seed, "sample")
    sample_chains(run, problem, sample_keys, position, tuned, inputs, placement, algorithm, config, keep_position)
    num_superchains = config.num_chains // config.chains_per_start if config.chains_per_start > 1 else None
    summary, arrays = evaluate_draws(run.path, dataset, _has_scale_head(dataset, posterior), num_superchains)
    run.write_arrays("diagnostics.npz", arrays)
    summary |= describe(opening, data_config, model_config) | _sampler_summary(run.path, config.sampler, tuned)
    summary["num_trainable"] = trees.num_entries(problem.shape)  # With the noise scale where one is learned.
    summary["fixed_to_free_ratio"] = fixed_to_free_ratio(problem)
    costs = efficiency(summary["function_space"], run.seconds["sample"], summary["sampler"]["num_grad_evals"])
    summary["function_space"] |= {name: value for name, value in costs.items() if name.endswith("_per_grad_eval")}
    summary["test"], predictions = _predictions(run, dataset, problem, optima, inputs, summary.pop("posterior"))
    summary["modes"], summary["test"]["mean_network"] = None, None
    if keep_position:
        summary["modes"], summary["test"]["mean_network"] = _modes(run.path, dataset, problem, num_superchains)
    run.write_arrays("predictions.npz", predictions)
    summary["seconds"] = _seconds(run, costs)
    run.finish(summary)
    return run.path


def num_starts(config: ChainsConfig) -> int:
    """Return how many starts the chains have.

    Raises
    ------
    InputError
        If the chains cannot be dealt out evenly.
    """
    if config.chains_per_start < 1 or config.num_chains % config.chains_per_start:
        raise InputError(
            f"{config.num_chains} chains cannot share starts {config.chains_per_start} at a time; choose a divisor"
        )
    return config.num_chains // config.chains_per_start


def find_start(
    run: RunDir, problem: Problem, config: ChainsConfig, seeds: SeedConfig, placement: Placement
) -> tuple[Position | None, Position]:
    """Return the optima that were trained [member, ...], None where none were, and where chains start [chain, ...]."""
    count = num_starts(config)
    keys = _chain_keys(seeds.init_seed, "init", count)
    optima = None
    if config.start == "prior":
        starts = prior_start(problem, keys)
    else:
        num_optima = count if config.start == "map" else 1
        where = placement if num_optima == placement.size else parallel.place(num_optima, inside=placement.inside)
        optima = find_map(run, problem, keys[:num_optima], where, config.map_steps, config.map_learning_rate)
        starts = optima
        if config.start == "permuted":
            starts = permuted_copies(problem, jax.tree.map(lambda leaf: leaf[0], optima), keys)
    return optima, jax.tree.map(lambda leaf: jnp.repeat(leaf, config.chains_per_start, axis=0), starts)


def _has_scale_head(dataset: Dataset, config: PosteriorConfig) -> bool:
    return dataset.task == "regression" and config.noise == "heteroscedastic"


def _chain_keys(seed: int, role: str, count: int) -> jax.Array:
    return rng.member_keys(rng.role_key(seed, role), count)


def evaluation_inputs(dataset: Dataset, data_seed: int) -> np.ndarray:
    """Return where outputs of draws are kept: all test inputs, then standard normal noise [rows, ...]."""
    shape = (NUM_NOISE_INPUTS, *dataset.input_shape)
    noise = np.asarray(jax.random.normal(rng.role_key(data_seed, "noise inputs"), shape))
    return np.concatenate([np.asarray(dataset.test.inputs), noise])


def fixed_to_free_ratio(problem: Problem) -> dict[str, float]:
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


def state_cost(path: Path, algorithm: Algorithm, tuned: Any, config: ChainsConfig) -> str:
    """Say what warmup tuned, and about how many gradients the draws take at the rate of its last chunk."""
    last = [line for line in results.read_metrics(path) if line["phase"] == "warmup"][-1]
    per_step = np.mean(last["num_grad_evals"]) / algorithm.stages[-1].num_steps
    num_grad_evals = per_step * config.num_chains * config.num_draws * config.thinning
    return f"step size {np.mean(tuned.step_size):.4g}: about {num_grad_evals:,.0f} gradients to go"


def _sampler_summary(path: Path, name: str, tuned: Any) -> dict[str, Any]:
    stats = results.read_draws(path, "acceptance_rate", "is_divergent", "num_grad_evals", "energy_change")
    num_grad_evals = stats["num_grad_evals"].astype(np.float64)
    warmup = [line for line in results.read_metrics(path) if line["phase"] == "warmup"]
    scalars = {field: np.asarray(value) for field, value in tuned._asdict().items() if np.ndim(value) == 1}
    return {
        "sampler": {"name": name}
        | scalars
        | {
            "grad_evals_per_draw": float(num_grad_evals.mean()),
            "acceptance_rate": float(stats["acceptance_rate"].mean()),
            "mean_squared_energy_change": float(np.mean(np.square(stats["energy_change"], dtype=np.float64))),
            "num_divergent": int(stats["is_divergent"].sum()),
            "num_grad_evals": float(num_grad_evals.sum()),
            "num_grad_evals_in_lockstep": float(num_grad_evals.max(0).sum() * len(num_grad_evals)),
            "num_warmup_grad_evals": float(np.sum([line["num_grad_evals"] for line in warmup])),
        }
    }


def _predictions(
    run: RunDir,
    dataset: Dataset,
    problem: Problem,
    optima: Position | None,
    inputs: jax.Array,
    posterior_scores: dict[str, float],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Score MAP networks and their ensemble beside the posterior, and gather the arrays of the figures."""
    num_test = len(dataset.test.targets)
    targets = np.asarray(dataset.test.targets)
    padded = np.concatenate([targets, np.zeros((NUM_NOISE_INPUTS, *targets.shape[1:]), targets.dtype)])
    chunks = (chunk["outputs"] for chunk in results.read_chunks(run.path, "outputs"))
    mixtures = {"posterior": figure_arrays(dataset.task, chunks, padded)}
    test: dict[str, Any] = {"map": None, "ensemble": None}
    if optima is not None:
        predict = jax.jit(jax.vmap(problem.predict, in_axes=(0, None, None)))
        outputs = np.asarray(predict(optima, problem.frozen, inputs))
        logdensity, gradient_norm = logdensity_and_gradient_norm(problem, optima)
        test = score_members(dataset, outputs[:, :num_test])
        test["optimum"] = {"logdensity": logdensity, "gradient_norm": gradient_norm}
        mixtures |= {"ensemble": figure_arrays(dataset.task, [outputs], padded)}
        mixtures |= {"map": figure_arrays(dataset.task, [outputs[:1]], padded)}
    arrays = trees.flatten(mixtures) | {"targets": targets, "num_test": np.asarray(num_test)}
    return test | {"posterior": posterior_scores}, arrays


def _modes(
    path: Path, dataset: Dataset, problem: Problem, num_superchains: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Summarise the modes of the kept weights, and score the networks at their mean, as drawn and aligned."""
    positions = trees.unflatten(results.read_draws(path, "position/"))["position"]
    model, frozen, data = problem.model, problem.frozen, problem.data
    summary, means = summarise_modes(
        model, frozen, positions, problem.posterior.logdensity, (frozen, data), MAX_ALIGNED_DRAWS, 11, num_superchains
    )
    predict = jax.jit(problem.predict)

    def scores(position: Position | None) -> dict[str, float] | None:
        return None if position is None else score(dataset, [predict(position, frozen, dataset.test.inputs)[None]])

    return summary, {"raw": scores(means.position), "aligned": scores(means.aligned_position)}


def _seconds(run: RunDir, efficiencies: dict[str, float]) -> dict[str, float]:
    """Return the seconds of each kind of work, and effective draws a second of sampling."""
    seconds = {kind: run.seconds.get(kind, 0.0) for kind in ("compile", "train", "warmup", "sample")}
    return seconds | {name: value for name, value in efficiencies.items() if name.endswith("_per_second")}
