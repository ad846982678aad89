"""What removing symmetries does to posteriors and to fits of them: several methods and samplers, repeated."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from asymjax.errors import InputError
from asymjax.experiments.child_runs import make_runs
from asymjax.experiments.compare_posteriors.arms import REFERENCE, Arm, algorithm_of, make_arms, read_samplers
from asymjax.experiments.compare_posteriors.config import Config, StudyConfig
from asymjax.experiments.compare_posteriors.priors import matched_variants
from asymjax.experiments.compare_posteriors.summary import compare
from asymjax.experiments.posterior.config import Config as PosteriorRun
from asymjax.experiments.posterior.run import check_sampling, run_posterior
from asymjax.experiments.setup import describe_data, load_data, refuse_graph
from asymjax.experiments.variants import Variant
from asymjax.inference import ALGORITHMS, Algorithm
from asymjax.inference.posterior import Posterior
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import Summary, config_hash, open_run
from asymjax.rng import SeedConfig
from asymjax.types import Dataset, Key, Position

EXPERIMENT = "compare_posteriors"
NUM_REFERENCES = 2


def run_study(config: Config) -> Path:
    """Sample every network by every sampler several times, each a run of its own, and compare them.

    Resumes what is unfinished.

    Returns
    -------
    The run directory, with ``posteriors/ARM/REPEAT``, ``references/NETWORK/{0,1}`` where a sampler is not hmc,
    summary.json and ``study`` in results.zarr.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If a loss or log density is not finite; all other runs are finished then.
    StopRequestedError
        If SIGTERM came.
    """
    study, models = config.study, config.models
    samplers = read_samplers(study)
    _check_sampling(study, samplers)
    dataset = load_data(config.data)
    refuse_graph(dataset, config.data.dataset)
    networks, priors = matched_variants(config, dataset)
    arms = make_arms(networks, samplers)
    _check_arms(arms, dataset)
    backbone = models.of("standard").backbone_name
    # Repeats of hmc are references of one another.
    is_referred = any(algorithm_of(name) != REFERENCE for name in samplers)
    masks = _masks(study.masks, config.variants.vary, is_referred)
    study = replace(study, samplers=tuple(samplers), masks=masks)
    settings = {
        "data": config.data.identity(dataset),
        "model": models.record(),
        "posterior": config.posterior.for_task(dataset.task),
        "study": study.as_dict() | {"archs": models.archs} | config.variants.as_dict(),
        "seeds": config.seeds,
    }
    suffix = next(iter(samplers)) if len(samplers) == 1 else f"{len(samplers)}_samplers"
    run = open_run(EXPERIMENT, f"{backbone}-{config.data.slug}-{suffix}", settings, config.run)
    run.identify(priors=config_hash({name: prior["after"] for name, prior in priors.items()}))
    sample = partial(_sample, replace(config, study=study), run.path)
    posteriors = sample("posteriors", {name: arm.variant for name, arm in arms.items()}, study.num_repeats, 0)
    referred = {name: _reference(network, study) for name, network in networks.items()} if is_referred else {}
    references = sample("references", referred, NUM_REFERENCES, study.num_repeats)

    def summarise() -> Summary:
        summary, arrays = compare(dataset, arms, posteriors, references)
        for name, arm in arms.items():
            summary["arms"][name]["prior"] = priors[arm.network]
        shared = describe_data(dataset, config.data.dataset) | {"backbone": backbone}
        shared |= {"samplers": study.samplers, "num_repeats": study.num_repeats, "masks": study.masks}
        return shared | summary, arrays

    run.finish(summarise)
    return run.path


def _reference(network: Variant, study: StudyConfig) -> Variant:
    """Return what the runs of a network are held against."""
    return replace(network, sampler=ALGORITHMS[REFERENCE](), chains=study.reference_chains)


def _sample(
    config: Config, parent: Path, folder: str, variants: Mapping[str, Variant], count: int, first: int
) -> dict[str, list[Path]]:
    """Make the runs of all variants that are not finished, and return all; repeat i has both seeds + first + i.

    Raises
    ------
    DivergedError
        If some diverge, once all others are finished; names them.
    """

    def make(variant: Variant, number: int, where: RunConfig) -> Path:
        seeds = SeedConfig(config.seeds.init_seed + first + number, config.seeds.seed + first + number)
        model = variant.model
        if config.study.masks == "own":
            model = replace(model, mask_seed=model.mask_seed + number)
        sampling = variant.sampler, variant.start, variant.chains
        return run_posterior(PosteriorRun(config.data, model, variant.posterior, *sampling, seeds, run=where))

    names = {name: [f"{folder}/{name}/{number}" for number in range(count)] for name in variants}
    makers = {
        own: partial(make, variants[name], number) for name, runs in names.items() for number, own in enumerate(runs)
    }
    make_runs(parent, makers, config.run)
    return {name: [parent / own for own in runs] for name, runs in names.items()}


def _masks(given: str | None, vary: str, is_referred: bool) -> Literal["own", "shared"]:
    """Return whose masks runs have.

    Raises
    ------
    InputError
        If masks of their own would be taken for what varies, or for what a sampler does.
    """
    reason = "mask_seed varies" if vary == "mask_seed" else "runs are held against references with the same mask"
    must_share = vary == "mask_seed" or is_referred
    if given == "own" and must_share:
        raise InputError(f"masks is own, but {reason}; give --masks shared")
    return "shared" if must_share or given == "shared" else "own"


def _check_sampling(study: StudyConfig, samplers: Mapping[str, Algorithm]) -> None:
    """Check how posteriors and references are sampled.

    Raises
    ------
    InputError
        If repeats, steps or draws are too few.
    """
    if study.num_repeats < 2:
        raise InputError(f"num_repeats is {study.num_repeats}; an interval takes 2 at least")
    for sampler in samplers.values():
        check_sampling(PosteriorRun(sampler=sampler, start=study.start, chains=study.chains))
    check_sampling(PosteriorRun(start=study.start, chains=study.reference_chains))


def _check_arms(arms: Mapping[str, Arm], dataset: Dataset) -> None:
    """Trace how every fit begins, without computing it; samplers apply to every posterior.

    Raises
    ------
    InputError
        If a family does not apply to a network; names the arm.
    """
    for name, arm in arms.items():
        model, sampler, posterior = arm.variant.model, arm.variant.sampler, arm.variant.posterior
        if not sampler.is_fit:
            continue
        try:
            _trace_warmup(posterior.build(model, dataset), sampler)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None


def _trace_warmup(posterior: Posterior, sampler: Algorithm) -> None:
    """Trace the first chunk of warmup."""
    stage = sampler.stages[0]

    def begin(key: Key, position: Position) -> Any:
        target = sampler.target(posterior)
        state = sampler.begin(key, position, target)
        return stage.advance(key, state, jnp.zeros((), int), jnp.asarray(stage.setting), target)

    jax.eval_shape(begin, jax.random.key(0), posterior.shape)
