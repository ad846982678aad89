"""The posterior of one network by any sampler: MAP ensemble, warmup, draws, diagnostics."""

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
from asymjax.experiments.posterior.config import Config
from asymjax.experiments.posterior.summary import summarise_posterior
from asymjax.experiments.setup import describe, open_experiment
from asymjax.inference.algorithm import Algorithm
from asymjax.inference.chains_config import FAMILY_OF, ChainsConfig
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.problem import DENSITY_SETTINGS, make_problem
from asymjax.inference.samplers import SAMPLERS
from asymjax.inference.starts import num_starts
from asymjax.lab import devices, processes, run_files
from asymjax.lab.chains import keeps_weights, sample_chains, state_plan, warm_up
from asymjax.lab.rundir import Summary
from asymjax.lab.starts import find_start
from asymjax.train.trainer import Member
from asymjax.types import Dataset, PyTree

NUM_NOISE_INPUTS = 100


def run_posterior(given: Config, coordinates: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """Sample, diagnose, and write a run directory; resumes one that is not finished.

    Parameters
    ----------
    given : what is sampled, how and where; its grid aside.
    coordinates : those of the settings that set this posterior apart from others, for the summary; temperature and
        prior scale among them are data of the compiled programs, which then serve all their values.

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
    config, seeds, run_config = given.chains, given.seeds, given.run
    family = FAMILY_OF[config.sampler]
    algorithm = make_algorithm(config)  # First, for this refuses what cannot be.
    settings = {family: config, "seeds": seeds} | ({"coordinates": coordinates} if coordinates else {})
    placement = devices.place(config.num_chains, run_config.num_devices, run_config.placement)
    opening = open_experiment(
        f"bnn_{family}", config.sampler, given.data, given.model, settings, run_config, given.posterior
    )
    dataset, model, frozen, posterior, run = opening
    assert posterior is not None
    configured, traced = split_density(posterior, coordinates)
    varied = make_problem(model, dataset.task, configured, frozen, dataset.train)
    problem = varied.having(traced)
    keep_position = keeps_weights(config, trees.num_entries(problem.shape))
    inputs = jnp.asarray(evaluation_inputs(dataset, given.data.data_seed))
    print(f"{placement}; {state_plan(run, problem, algorithm, config, inputs, keep_position)}", flush=True)

    def members(seed: int, role: str, count: int = config.num_chains) -> PyTree:
        keys = rng.member_keys(rng.role_key(seed, role), count)
        hyper = {name: np.full(count, value, np.float32) for name, value in traced.items()}
        return Member(keys, hyper) if hyper else keys

    starts = members(seeds.init_seed, "init", num_starts(config))
    optima, start = find_start(run, varied, starts, placement, config)
    position, tuned = warm_up(run, varied, members(seeds.seed, "warmup"), start, placement, algorithm)
    tuned = processes.gather(tuned)
    print(state_cost(run.path, algorithm, tuned, config), flush=True)
    chains = members(seeds.seed, "sample")
    sample_chains(run, varied, chains, position, tuned, inputs, placement, algorithm, config, keep_position)

    def summarise() -> Summary:
        summary, files = summarise_posterior(run, dataset, problem, posterior, config, optima, tuned, inputs)
        summary |= describe(opening, given.data, given.model) | {"coordinates": coordinates}
        summary["num_trainable"] = trees.num_entries(problem.shape)  # With the noise scale where one is learned.
        return summary, files

    run.finish(summarise)
    return run.path


def split_density(posterior: PosteriorConfig, coordinates: Mapping[str, Any]) -> tuple[PosteriorConfig, dict[str, Any]]:
    """Return what of a posterior is configured, and what is given to its chains as data: what varies in a grid.

    Both temperature and prior scale where one varies, so that one program serves both.
    """
    names = DENSITY_SETTINGS if coordinates.keys() & set(DENSITY_SETTINGS) else ()
    ones: dict[str, Any] = dict.fromkeys(names, 1.0)
    return replace(posterior, **ones), {name: getattr(posterior, name) for name in names}


def make_algorithm(config: ChainsConfig) -> Algorithm:
    """Return the sampler of some chains, whose settings are looked at.

    Raises
    ------
    InputError
        If numbers of steps, draws or starts cannot be, or the sampler's settings cannot be met.
    """
    check_lengths(config)
    num_starts(config)
    return SAMPLERS[config.sampler](config)


def check_lengths(config: ChainsConfig) -> None:
    """Look at the numbers of steps and draws.

    Raises
    ------
    InputError
        If there is no warmup, or there are too few draws to diagnose.
    """
    if config.num_warmup < 1:
        raise InputError(f"num_warmup is {config.num_warmup}; step sizes are tuned there, give 1 at least")
    if config.num_draws < MIN_DRAWS or config.thinning < 1:
        raise InputError(
            f"{config.num_draws} draws, one in {config.thinning} steps; convergence takes {MIN_DRAWS} draws at least"
        )


def evaluation_inputs(dataset: Dataset, data_seed: int) -> np.ndarray:
    """Return where outputs of draws are kept: all test inputs, then standard normal noise [rows, ...]."""
    return np.concatenate([np.asarray(dataset.test.inputs), noise_inputs(dataset, data_seed, NUM_NOISE_INPUTS)])


def state_cost(path: Path, algorithm: Algorithm, tuned: Any, config: ChainsConfig) -> str:
    """Say what warmup tuned, and about how many gradients the draws take at the rate of its last chunk."""
    last = [line for line in run_files.read_metrics(path) if line["phase"] == "warmup"][-1]
    per_step = np.mean(last["num_grad_evals"]) / algorithm.stages[-1].num_steps
    num_grad_evals = per_step * config.num_chains * config.num_draws * config.thinning
    return f"step size {np.mean(tuned.step_size):.4g}: about {num_grad_evals:,.0f} gradients to go"
