"""The arms of a study: every network by every sampler, and the arms that each is held against."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from asymjax.experiments.compare_posteriors.config import StudyConfig
from asymjax.experiments.compare_posteriors.priors import BASELINE
from asymjax.experiments.variants import Variant
from asymjax.experiments.words import read_named
from asymjax.inference import ALGORITHMS, Algorithm
from asymjax.inference.vi import MeanField

REFERENCE = "hmc"
"""Name of the sampler that references are made by."""


class Arm(NamedTuple):
    """One network by one sampler.

    Attributes
    ----------
    network : name of the variant of model and posterior.
    sampler : name of the sampler and the settings given for it, ``"meanfield,symmetrise=bethe"``.
    variant : what is sampled, and how.
    """

    network: str
    sampler: str
    variant: Variant

    @property
    def algorithm(self) -> str:
        """Name of the sampler alone."""
        return algorithm_of(self.sampler)


def algorithm_of(sampler: str) -> str:
    """Return the name of a sampler without the settings given for it."""
    return sampler.partition(",")[0]


def read_samplers(study: StudyConfig) -> dict[str, Algorithm]:
    """Read the samplers of a study, by their names with the settings given for them.

    Raises
    ------
    InputError
        If there is none, a sampler or one of its settings is unknown, has no effect or is out of range, or two
        samplers are the same.
    """
    return read_named("samplers", study.samplers, ALGORITHMS, "sampler", study.steps)


def make_arms(networks: Mapping[str, Variant], samplers: Mapping[str, Algorithm]) -> dict[str, Arm]:
    """Return the arms by name: of the network, and where there are several samplers a hyphen and that of the sampler.

    Parameters
    ----------
    networks : name -> variant of model and posterior, whose sampler is not looked at.
    samplers : name, as of :func:`read_samplers` -> sampler.
    """
    return {
        network if len(samplers) == 1 else f"{network}-{name}": Arm(network, name, replace(variant, sampler=sampler))
        for network, variant in networks.items()
        for name, sampler in samplers.items()
    }


def baseline_of(name: str, arms: Mapping[str, Arm]) -> str | None:
    """Return the ``standard`` arm of the same backbone, posterior and sampler; None where there is none.

    Scales of outputs are matched, and so may differ.
    """
    own = arms[name].variant
    for other, (_, sampler, variant) in arms.items():
        scale = variant.posterior.output_prior_scale
        is_alike = variant.posterior == replace(own.posterior, output_prior_scale=scale)
        is_alike &= variant.model.backbone == own.model.backbone and sampler == arms[name].sampler
        if variant.model.arch == BASELINE and is_alike:
            return other
    return None


def plain_family_of(name: str, arms: Mapping[str, Arm]) -> str | None:
    """Return the first arm of plain ``meanfield`` of the same network, which a fit is held against.

    It counts the likelihood as often, so that both bound one integral. None where there is no other, or the arm is no
    fit.
    """
    own = arms[name]
    if not own.variant.sampler.is_fit:
        return None
    plain = next((other for other, arm in arms.items() if _is_plain(arm) and _is_of_one_integral(arm, own)), None)
    return None if plain == name else plain


def _is_plain(arm: Arm) -> bool:
    return isinstance(arm.variant.sampler, MeanField) and arm.variant.sampler.symmetrise == "no"


def _is_of_one_integral(first: Arm, second: Arm) -> bool:
    weights = {getattr(arm.variant.sampler, "likelihood_weight", 1.0) for arm in (first, second)}
    return first.network == second.network and len(weights) == 1
