"""From flat configurations, as the scripts have them, to the settings of samplers, starts, priors and likelihoods."""

import math
from dataclasses import fields
from typing import Any

from asymjax.config import ChainsConfig, ModelConfig, PosteriorConfig
from asymjax.errors import InputError, choose
from asymjax.inference import ALGORITHMS, Algorithm
from asymjax.inference.likelihoods import Categorical, Gaussian, Likelihood
from asymjax.inference.posterior import Posterior, make_posterior
from asymjax.inference.starts import Start
from asymjax.models import build_model, draw_frozen
from asymjax.types import Dataset, Frozen, Model, Split


def algorithm_of(config: ChainsConfig) -> Algorithm:
    """Return the algorithm that a flat configuration names, with those of its settings that it has.

    Raises
    ------
    InputError
        If its name is unknown.
    """
    algorithm = choose(ALGORITHMS, config.sampler, "sampler")
    settings: dict[str, Any] = {field.name: getattr(config, field.name) for field in fields(algorithm)}
    return algorithm(**{name: value for name, value in settings.items() if value != "auto"})


def start_of(config: ChainsConfig) -> Start:
    """Return where the chains of a flat configuration start."""
    return Start(**{field.name: getattr(config, field.name) for field in fields(Start)})


def likelihood_of(config: PosteriorConfig, task: str) -> Likelihood:
    """Return the likelihood of a task."""
    return Categorical() if task == "classification" else Gaussian(config.noise, config.noise_scale)


def check_posterior(config: PosteriorConfig) -> None:
    """Look at the numbers of a posterior.

    Raises
    ------
    InputError
        If the temperature or the scale of the prior is not a number above 0.
    """
    for name in ("temperature", "prior_scale"):
        value = getattr(config, name)
        if not 0 < value < math.inf:
            raise InputError(f"{name} is {value}; give a number above 0")


def posterior_of(model: Model, task: str, config: PosteriorConfig, frozen: Frozen, data: Split) -> Posterior:
    """Return the posterior of a network, with the task's defaults filled in by the caller."""
    likelihood = likelihood_of(config, task)
    return make_posterior(model, data, config.normal_prior, likelihood, config.temperature, frozen)


def build_posterior(model_config: ModelConfig, config: PosteriorConfig, dataset: Dataset) -> Posterior:
    """Build the model of a posterior on a dataset, draw its constants, and return its posterior."""
    num_outputs = likelihood_of(config, dataset.task).num_network_outputs(dataset.num_outputs)
    model = build_model(model_config, dataset.input_shape, num_outputs, config)
    return posterior_of(model, dataset.task, config, draw_frozen(model, model_config.mask_seed), dataset.train)
