"""The variants of a study of posteriors, on one prior-predictive scale."""

import math
from collections.abc import Mapping
from dataclasses import replace

from asymjax.errors import InputError
from asymjax.experiments.compare_posteriors.config import Config
from asymjax.experiments.variants import Variant, make_variants
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.prior_predictive import OutputVariance, matched_scale, output_variance
from asymjax.models import ModelConfig, Models
from asymjax.types import Dataset

BASELINE = "standard"


def matched_variants(config: Config, dataset: Dataset) -> tuple[dict[str, Variant], dict[str, dict[str, float]]]:
    """Return the networks by name, on one prior-predictive scale, and what was done to bring them there.

    Raises
    ------
    InputError
        As :func:`~asymjax.experiments.variants.make_variants`, if ``standard`` has no matching scale, or a number of
        the posterior cannot be.
    """
    study, posterior = config.study, config.posterior.for_task(dataset.task)
    plain = Variant(config.models.of(BASELINE), posterior=posterior, start=study.start, chains=study.chains)
    variants = make_variants(config.variants, config.models, plain, ("posterior",), dataset)
    return match_priors(variants, config.models, dataset)


def match_priors(
    variants: Mapping[str, Variant], models: Models, dataset: Dataset
) -> tuple[dict[str, Variant], dict[str, dict[str, float]]]:
    """Choose ``output_prior_scale`` so that outputs vary under every variant's prior as under that of ``standard``.

    Returns
    -------
    The variants, and of each the ``output_prior_scale`` ``before`` and ``after``, and the standard deviations of the
    outputs: ``std_before``, ``std_after`` and the ``std_wanted``; see
    :func:`~asymjax.inference.prior_predictive.output_variance`.

    Raises
    ------
    InputError
        If a variant has no such scale.
    """
    variances: dict[tuple[ModelConfig, PosteriorConfig], OutputVariance] = {}

    def variance_of(model: ModelConfig, posterior: PosteriorConfig) -> OutputVariance:
        case = model, posterior
        if case not in variances:
            variances[case] = output_variance(model, posterior, dataset)
        return variances[case]

    matched, found = {}, {}
    for name, variant in variants.items():
        model, posterior = variant.model, variant.posterior
        before = posterior.output_prior_scale
        assert before is not None
        variance = variance_of(model, posterior)
        target = variance_of(replace(model, method=models.of(BASELINE).method), posterior).at(before)
        try:
            after = before if model.arch == BASELINE else matched_scale(variance, target)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        matched[name] = replace(variant, posterior=replace(posterior, output_prior_scale=after))
        reached = {"std_before": variance.at(before), "std_after": variance.at(after), "std_wanted": target}
        found[name] = {"before": before, "after": after} | {part: math.sqrt(value) for part, value in reached.items()}
    return matched, found
