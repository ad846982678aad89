"""The posterior of one network by any sampler: MAP ensemble, warmup, draws, diagnostics."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np

from asymjax import rng, trees
from asymjax.diagnostics.scores import MIN_DRAWS
from asymjax.diagnostics.shift import noise_inputs
from asymjax.errors import InputError
from asymjax.experiments.posterior.config import Config, family_of, sampling_record
from asymjax.experiments.posterior.summary import summarise_posterior
from asymjax.experiments.setup import describe, open_experiment
from asymjax.inference import ALGORITHMS, Algorithm
from asymjax.inference.posterior import DENSITY_SETTINGS, PosteriorConfig
from asymjax.lab import devices, processes, run_files
from asymjax.lab.chains import (
    ChainsConfig,
    keep_outputs,
    keep_weights,
    keeps_weights,
    sample_chains,
    state_plan,
    warm_up,
)
from asymjax.lab.rundir import Summary
from asymjax.lab.starts import find_start
from asymjax.settings import name_of
from asymjax.train.trainer import Member
from asymjax.types import Dataset, PyTree

NUM_NOISE_INPUTS = 100
MAX_FEW_VALUES = 20


def run_posterior(config: Config, coordinates: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """Sample, diagnose, and write a run directory; resumes one that is not finished.

    Parameters
    ----------
    config : what is sampled, how and where; its grid aside.
    coordinates : those of the settings that set this posterior apart from others, for the summary; temperature and
        prior scale among them are data of the compiled programs, which then serve all their values.

    Returns
    -------
    The run directory, with summary.json and results.zarr: draws, ``diagnostics`` and ``predictions``.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If a loss or log density is not finite.
    StopRequestedError
        If SIGTERM came.
    """
    sampler, chains, seeds = config.sampler, config.chains, config.seeds
    check_sampling(config)  # First, for this refuses what cannot be.
    settings = {**sampling_record(config), "seeds": seeds} | ({"coordinates": coordinates} if coordinates else {})
    placement = devices.place(chains.num_chains, config.run.num_devices, config.run.placement)
    name = name_of(ALGORITHMS, sampler)
    opening = open_experiment(
        f"bnn_{family_of(sampler)}", name, config.data, config.model, settings, config.run, config.posterior
    )
    dataset, model, frozen, posterior, run = opening
    assert posterior is not None
    configured, traced = split_density(posterior, coordinates)
    varied = configured.of(model, dataset.task, frozen, dataset.train)
    problem = varied.having(traced)
    keep_position = keeps_weights(chains, trees.num_entries(problem.shape))
    inputs = jnp.asarray(evaluation_inputs(dataset, config.data.data_seed))
    if words := warn_of_few_values(dataset, config.posterior):
        print(words, file=sys.stderr, flush=True)
    print(f"{placement}; {state_plan(run, problem, sampler, chains, inputs, keep_position)}", flush=True)

    def members(seed: int, role: str, count: int = chains.num_chains) -> PyTree:
        keys = rng.member_keys(rng.role_key(seed, role), count)
        hyper = {name: np.full(count, value, np.float32) for name, value in traced.items()}
        return Member(keys, hyper) if hyper else keys

    starts = members(seeds.init_seed, "init", config.start.num_starts(chains.num_chains))
    optima, start = find_start(run, varied, starts, placement, config.start)
    position, tuned = warm_up(run, varied, members(seeds.seed, "warmup"), start, placement, sampler)
    tuned = processes.gather(tuned)
    print(state_cost(run.path, sampler, tuned, chains), flush=True)
    keep = keep_weights if keep_position else keep_outputs
    keys = members(seeds.seed, "sample")
    sample_chains(run, varied, keys, position, tuned, inputs, placement, sampler, chains.num_draws, keep)

    def summarise() -> Summary:
        summary, arrays = summarise_posterior(run, dataset, problem, posterior, config, optima, tuned, inputs)
        summary |= describe(opening, config.data, config.model) | {"coordinates": coordinates}
        summary["num_trainable"] = trees.num_entries(problem.shape)  # With the noise scale where one is learned.
        return summary, arrays

    run.finish(summarise)
    return run.path


def split_density(posterior: PosteriorConfig, coordinates: Mapping[str, Any]) -> tuple[PosteriorConfig, dict[str, Any]]:
    """Return what of a posterior is configured, and what is given to its chains as data: what varies in a grid.

    Both temperature and prior scale where one varies, so that one program serves both.
    """
    names = DENSITY_SETTINGS if coordinates.keys() & set(DENSITY_SETTINGS) else ()
    ones: dict[str, Any] = dict.fromkeys(names, 1.0)
    return replace(posterior, **ones), {name: getattr(posterior, name) for name in names}


def check_sampling(config: Config) -> None:
    """Check the settings of sampler, start and chains.

    Raises
    ------
    InputError
        If numbers of steps, draws or starts cannot be, or the sampler's settings cannot be met.
    """
    num_draws = config.chains.num_draws
    config.sampler.check(num_draws, config.chains.num_chains)
    if num_draws < MIN_DRAWS:
        raise InputError(f"{num_draws} draws; convergence takes {MIN_DRAWS} draws at least")
    config.start.num_starts(config.chains.num_chains)


def warn_of_few_values(dataset: Dataset, posterior: PosteriorConfig) -> str:
    """Return a warning of targets that repeat, where the noise scale is free to shrink to nothing on them; else ""."""
    targets = np.asarray(dataset.train.targets)
    if dataset.task != "regression" or posterior.noise == "fixed":
        return ""
    num_values = len(np.unique(targets, axis=0))
    if num_values > min(MAX_FEW_VALUES, len(targets) // 10):
        return ""
    return (
        f"warning: targets take {num_values} values in {len(targets):,} rows, so that a Gaussian whose noise shrinks "
        "on them has a density without bound: read RMSE and coverage beside LPPD, or give --noise fixed or --task "
        "classification"
    )


def evaluation_inputs(dataset: Dataset, data_seed: int) -> np.ndarray:
    """Return where outputs of draws are kept: all test inputs, then standard normal noise [rows, ...]."""
    return np.concatenate([np.asarray(dataset.test.inputs), noise_inputs(dataset, data_seed, NUM_NOISE_INPUTS)])


def state_cost(path: Path, sampler: Algorithm, tuned: Any, chains: ChainsConfig) -> str:
    """Return in words what warmup tuned, and about how many gradients the draws take at the rate of its last chunk."""
    last = [line for line in run_files.read_metrics(path) if line["phase"] == "warmup"][-1]
    per_step = np.mean(last["num_grad_evals"]) / sampler.stages[-1].num_steps
    num_grad_evals = per_step * chains.num_chains * chains.num_draws * sampler.thinning
    return f"{sampler.describe(tuned)}: about {num_grad_evals:,.0f} gradients to go"
