"""A grid of posteriors: every combination of settings has chains and a run directory of its own.

Chains of other posteriors are no replicates of one another, so each combination is diagnosed alone.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from asymjax.experiments.child_runs import finish_runs
from asymjax.experiments.grid import grid_variants
from asymjax.experiments.posterior.config import Config, family_of, sampling_record
from asymjax.experiments.posterior.run import check_sampling, run_posterior
from asymjax.experiments.setup import load_data, refuse_graph
from asymjax.experiments.variants import SAMPLING, Variant
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import open_run

KEPT = ("coordinates", "arch", "num_trainable", "function_space", "weight_space", "sampler", "test", "seconds")


def run_posterior_grid(config: Config) -> Path:
    """Sample the posterior of every combination of settings, one after the other; resumes what is not finished.

    Values of temperature and prior scale are data of compiled programs, as masks are, so that all but the first are
    found in the compilation cache.

    Returns
    -------
    The run directory: that of a single posterior, or one with a directory for each, and the main numbers of their
    summaries by name in summary.json.

    Raises
    ------
    InputError
        If the axes or any of their combinations cannot be used, data are damaged, or the directory is not this run's.
    DivergedError
        If a loss or log density is not finite; all other posteriors are finished then.
    StopRequestedError
        If SIGTERM came.
    """

    def sample(variant: Variant, where: RunConfig) -> Path:
        return run_posterior(replace(configured(variant), run=where), variant.varied)

    def configured(variant: Variant) -> Config:
        return replace(config, model=variant.model, **{part: getattr(variant, part) for part in SAMPLING})

    base = Variant(config.model, **{part: getattr(config, part) for part in SAMPLING})
    variants = grid_variants(config.grid, base)
    if len(variants) == 1:
        return sample(variants[0], config.run)
    dataset = load_data(config.data)
    refuse_graph(dataset, config.data.dataset)
    for variant in variants:  # Refuse what cannot be before any is sampled.
        check_sampling(configured(variant))
        variant.build(dataset)
    settings: dict[str, Any] = {name: getattr(config, name) for name in ("posterior", "seeds", "grid")}
    settings |= {"data": config.data.identity(dataset), "model": config.model.record(), **sampling_record(config)}
    run = open_run(
        f"bnn_{family_of(config.sampler)}_grid", f"{config.data.slug}-{len(variants)}_posteriors", settings, config.run
    )
    makers = {variant.name: partial(sample, variant) for variant in variants}
    return finish_runs(run, makers, config.run, lambda summary: {name: summary[name] for name in KEPT})
