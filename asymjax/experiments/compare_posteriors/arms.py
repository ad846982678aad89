"""Arms of a study of posteriors: the models and priors that are compared, on one prior-predictive scale."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from asymjax.errors import InputError
from asymjax.experiments.compare_posteriors.config import StudyConfig
from asymjax.experiments.variants import KindsConfig, make_variants
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.prior_predictive import OutputVariance, matched_scale, output_variance
from asymjax.models.config import ModelConfig
from asymjax.train.optimizers import OptimizerConfig
from asymjax.types import Dataset

BASELINE = "standard"


class Arm(NamedTuple):
    """What the runs of one arm sample.

    Attributes
    ----------
    model, posterior : the network, and its prior and likelihood with the task's defaults filled in.
    varied : name and value of the setting that varies, where one does.
    """

    model: ModelConfig
    posterior: PosteriorConfig
    varied: tuple[str, float] | None = None


def make_arms(
    config: StudyConfig, model: ModelConfig, posterior: PosteriorConfig, dataset: Dataset
) -> tuple[dict[str, Arm], dict[str, dict[str, float]]]:
    """Return the arms by name, on one prior-predictive scale, and what was done to bring them there.

    Raises
    ------
    InputError
        As :func:`~asymjax.experiments.variants.make_variants`, if ``standard`` has no matching scale, or a temperature
        is not positive.
    """
    arms = _arms_as_given(config, model, posterior.for_task(dataset.task), (dataset.input_shape, dataset.num_outputs))
    return match_priors(arms, dataset)


def _arms_as_given(
    config: StudyConfig, model: ModelConfig, posterior: PosteriorConfig, shapes: tuple[tuple[int, ...], int]
) -> dict[str, Arm]:
    if config.vary != "temperature":
        kinds = KindsConfig(archs=config.archs, vary=config.vary, values=config.values)
        variants = make_variants(kinds, model, OptimizerConfig(), shapes)
        return {name: Arm(variant.model, posterior, variant.varied) for name, variant in variants.items()}
    if not config.values or min(config.values) <= 0:
        raise InputError(f"vary is temperature and values are {config.values}; give one or more above 0")
    variants = make_variants(KindsConfig(archs=config.archs), model, OptimizerConfig(), shapes)
    return {
        f"{name}-temperature-{value:g}": Arm(
            variant.model, replace(posterior, temperature=value), ("temperature", value)
        )
        for name, variant in variants.items()
        for value in config.values
    }


def match_priors(arms: Mapping[str, Arm], dataset: Dataset) -> tuple[dict[str, Arm], dict[str, dict[str, float]]]:
    """Choose ``output_prior_scale`` so that outputs vary under every arm's prior as under that of ``standard``.

    Returns
    -------
    The arms, and of each the ``output_prior_scale`` ``before`` and ``after``, and the standard deviations of the
    outputs: ``std_before``, ``std_after`` and the ``std_wanted``; see
    :func:`~asymjax.inference.prior_predictive.output_variance`.

    Raises
    ------
    InputError
        If an arm has no such scale.
    """
    variances: dict[tuple[ModelConfig, float], OutputVariance] = {}

    def variance_of(model: ModelConfig, posterior: PosteriorConfig) -> OutputVariance:
        case = model, posterior.temperature  # Posteriors differ in temperature alone.
        if case not in variances:
            variances[case] = output_variance(model, posterior, dataset)
        return variances[case]

    matched, found = {}, {}
    for name, (model, posterior, varied) in arms.items():
        before = posterior.output_prior_scale
        assert before is not None
        variance = variance_of(model, posterior)
        target = variance_of(replace(model, arch=BASELINE), posterior).at(before)
        try:
            after = before if model.arch == BASELINE else matched_scale(variance, target)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        matched[name] = Arm(model, replace(posterior, output_prior_scale=after), varied)
        reached = {"std_before": variance.at(before), "std_after": variance.at(after), "std_wanted": target}
        found[name] = {"before": before, "after": after} | {part: math.sqrt(value) for part, value in reached.items()}
    return matched, found


def baseline_of(name: str, arms: Mapping[str, Arm]) -> str | None:
    """Return the ``standard`` arm at the same temperature; None where there is none."""
    temperature = arms[name].posterior.temperature
    return next(
        (
            other
            for other, arm in arms.items()
            if arm.model.arch == BASELINE and arm.posterior.temperature == temperature
        ),
        None,
    )
