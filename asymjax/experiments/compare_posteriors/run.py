"""What removing symmetries does to sampling: posteriors of several methods, repeated, at one prior scale and budget."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from asymjax.errors import InputError, choose
from asymjax.experiments.child_runs import make_runs
from asymjax.experiments.compare_posteriors.config import Config, StudyConfig
from asymjax.experiments.compare_posteriors.priors import matched_variants
from asymjax.experiments.compare_posteriors.summary import compare
from asymjax.experiments.posterior.config import Config as PosteriorRun
from asymjax.experiments.posterior.run import check_sampling, run_posterior
from asymjax.experiments.setup import describe_data, load_data, refuse_graph
from asymjax.experiments.variants import Variant
from asymjax.inference import ALGORITHMS, Algorithm
from asymjax.inference.samplers import HMC
from asymjax.inference.starts import Start
from asymjax.lab.chains import ChainsConfig
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import Summary, config_hash, open_run
from asymjax.rng import SeedConfig

EXPERIMENT = "compare_posteriors"
NUM_REFERENCES = 2
# Sampler, start and chains.
Sampling = tuple[Algorithm, Start, ChainsConfig]
NAMES = ("sampler", "start", "chains")


def run_study(config: Config) -> Path:
    """Sample every variant several times, each a run of its own, and compare them; resumes what is unfinished.

    Returns
    -------
    The run directory, with ``posteriors/VARIANT/REPEAT``, ``references/VARIANT/{0,1}`` for classes and other samplers
    than hmc, summary.json and ``study`` in results.zarr.

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
    sampling, reference = _samplings(study)
    dataset = load_data(config.data)
    refuse_graph(dataset, config.data.dataset)
    variants, priors = matched_variants(config, dataset)
    backbone = models.of("standard").backbone_name
    # Repeats of hmc are references of one another; predictive distributions are compared for classes alone.
    is_referred = study.sampler != "hmc" and dataset.task == "classification"
    study = replace(study, masks=_masks(study.masks, config.variants.vary, is_referred))
    settings = {
        "data": config.data.identity(dataset),
        "model": models.record(),
        "posterior": config.posterior.for_task(dataset.task),
        "study": study.as_dict() | {"archs": models.archs} | config.variants.as_dict(),
        "seeds": config.seeds,
    }
    run = open_run(EXPERIMENT, f"{backbone}-{config.data.slug}-{study.sampler}", settings, config.run)
    run.identify(priors=config_hash({name: prior["after"] for name, prior in priors.items()}))
    sample = partial(_sample, replace(config, study=study), run.path, variants)
    posteriors = sample("posteriors", study.num_repeats, 0, sampling)
    references = sample("references", NUM_REFERENCES if is_referred else 0, study.num_repeats, reference)

    def summarise() -> Summary:
        summary, arrays = compare(dataset, variants, posteriors, references)
        for name, prior in priors.items():
            summary["arms"][name]["prior"] = prior
        shared = describe_data(dataset, config.data.dataset) | {"backbone": backbone}
        shared |= {"sampler": study.sampler, "num_repeats": study.num_repeats, "masks": study.masks}
        return shared | summary, arrays

    run.finish(summarise)
    return run.path


def _sample(
    config: Config,
    parent: Path,
    variants: Mapping[str, Variant],
    folder: str,
    count: int,
    first: int,
    sampling: Sampling,
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


def _samplings(study: StudyConfig) -> tuple[Sampling, Sampling]:
    """Return how posteriors and how references are sampled: sampler, start and chains.

    Raises
    ------
    InputError
        If the sampler is unknown, or repeats, steps or draws are too few.
    """
    if study.num_repeats < 2:
        raise InputError(f"num_repeats is {study.num_repeats}; an interval takes 2 at least")
    optional = {"num_warmup": study.num_warmup, "thinning": study.thinning}
    given = {name: value for name, value in optional.items() if value is not None}
    sampler = choose(ALGORITHMS, study.sampler, "sampler")(**given)
    start, chains = Start(map_steps=study.map_steps), ChainsConfig(study.num_chains, study.num_draws)
    num_draws = 2 * study.num_draws if study.reference_draws is None else study.reference_draws
    found = (sampler, start, chains), (HMC(), start, replace(chains, num_draws=num_draws))
    for one in found:
        check_sampling(PosteriorRun(**dict(zip(NAMES, one, strict=True))))
    return found
