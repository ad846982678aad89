"""What removing symmetries does to sampling: posteriors of several methods, repeated, at one prior scale and budget."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.errors import InputError
from asymjax.experiments.child_runs import make_points
from asymjax.experiments.compare_posteriors.arms import Arm, make_arms
from asymjax.experiments.compare_posteriors.config import StudyConfig
from asymjax.experiments.compare_posteriors.summary import compare
from asymjax.experiments.posterior.run import check_lengths, run_posterior
from asymjax.experiments.setup import describe_data, load_data, refuse_graph
from asymjax.inference.chains_config import ChainsConfig, HMCConfig, chains_of
from asymjax.inference.posterior import PosteriorConfig
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import Summary, config_hash, open_run
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig

EXPERIMENT = "compare_posteriors"
NUM_REFERENCES = 2


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
    The run directory, with ``posteriors/ARM/REPEAT``, ``references/ARM/{0,1}`` for classes and other samplers
    than hmc, summary.json and study.npz.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If a loss or log density is not finite; all other runs are finished then.
    StopRequestedError
        If SIGTERM came.
    """
    family, chains, reference = _chains(config)
    dataset = load_data(data_config)
    refuse_graph(dataset, data_config.dataset)
    arms, priors = make_arms(config, model_config, posterior_config, dataset)
    identity = {"dataset": data_config.dataset, "data_seed": data_config.data_seed}
    settings = {"posterior": posterior_config.for_task(dataset.task), "study": config, "seeds": seeds}
    name = f"{model_config.backbone}-{data_config.dataset.replace('/', '_')}-{config.sampler}"
    run = open_run(EXPERIMENT, name, {"data": identity, "model": model_config, **settings}, run_config)
    run.identify(dataset=dataset.checksum, priors=config_hash({arm: prior["after"] for arm, prior in priors.items()}))

    def sample(folder: str, count: int, first: int, family: str, chains: ChainsConfig) -> dict[str, list[Path]]:
        own = SeedConfig(seeds.init_seed + first, seeds.seed + first)
        return _sample_arms(run.path, folder, arms, count, family, chains, data_config, own, run_config)

    posteriors = sample("posteriors", config.num_repeats, 0, family, chains)
    # Repeats of hmc are references of one another; predictive distributions are compared for classes alone.
    is_referred = config.sampler != "hmc" and dataset.task == "classification"
    num_references = NUM_REFERENCES if is_referred else 0
    references = sample("references", num_references, config.num_repeats, "hmc", reference)

    def summarise() -> Summary:
        summary, arrays = compare(dataset, arms, posteriors, references)
        for arm, prior in priors.items():
            summary["arms"][arm]["prior"] = prior
        shared = describe_data(dataset, data_config.dataset) | {"backbone": model_config.backbone}
        shared |= {"sampler": config.sampler, "num_repeats": config.num_repeats}
        return shared | summary, {"study.npz": arrays}

    run.finish(summarise)
    return run.path


def _sample_arms(
    parent: Path,
    folder: str,
    arms: Mapping[str, Arm],
    count: int,
    family: str,
    chains: ChainsConfig,
    data_config: DataConfig,
    seeds: SeedConfig,
    run_config: RunConfig,
) -> dict[str, list[Path]]:
    """Make the runs of all arms that are not finished, and return all; repeat i has both seeds + i.

    Raises
    ------
    DivergedError
        If some diverge, once all others are finished; names them.
    """

    def sample(arm: Arm, number: int, where: RunConfig) -> Path:
        own = SeedConfig(seeds.init_seed + number, seeds.seed + number)
        return run_posterior(family, data_config, arm.model, arm.posterior, chains, own, where)

    names = {arm: [f"{folder}/{arm}/{number}" for number in range(count)] for arm in arms}
    points = {names[arm][number]: partial(sample, arms[arm], number) for arm in arms for number in range(count)}
    make_points(parent, points, run_config)
    return {arm: [parent / name for name in names[arm]] for arm in arms}


def _chains(config: StudyConfig) -> tuple[str, ChainsConfig, HMCConfig]:
    """Return the family and the settings of the sampler, and the settings of the references.

    Raises
    ------
    InputError
        If the sampler is unknown, or repeats, steps or draws are too few.
    """
    if config.num_repeats < 2:
        raise InputError(f"num_repeats is {config.num_repeats}; an interval takes 2 at least")
    optional = {"num_warmup": config.num_warmup, "thinning": config.thinning}
    given = {name: value for name, value in optional.items() if value is not None}
    num_chains, map_steps = config.num_chains, config.map_steps
    family, chains = chains_of(
        config.sampler, num_chains=num_chains, num_draws=config.num_draws, map_steps=map_steps, **given
    )
    num_draws = 2 * config.num_draws if config.reference_draws is None else config.reference_draws
    reference = HMCConfig(num_chains=num_chains, num_draws=num_draws, map_steps=map_steps)
    check_lengths(chains)
    check_lengths(reference)
    return family, chains, reference
