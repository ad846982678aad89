"""The arms of a study: every network by every sampler, and the arms that each is held against."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from asymjax.errors import InputError, choose
from asymjax.experiments.compare_posteriors.config import StudyConfig
from asymjax.experiments.compare_posteriors.priors import BASELINE
from asymjax.experiments.variants import Variant
from asymjax.experiments.words import as_word, read_value
from asymjax.inference import ALGORITHMS, Algorithm
from asymjax.inference.vi import MeanField
from asymjax.settings import kinds_of

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
    found: dict[str, Algorithm] = {}
    for word in study.samplers:
        name, sampler = _read_sampler(word, study)
        if sampler in found.values():
            raise InputError(f"samplers has {word!r}, which is the same as one before it; give each sampler once")
        found[name] = sampler
    if not found:
        raise InputError(f"samplers is empty; name one at least, out of {', '.join(ALGORITHMS)}")
    return found


def _read_sampler(word: str, study: StudyConfig) -> tuple[str, Algorithm]:
    name, *pairs = word.split(",")
    kinds = kinds_of(choose(ALGORITHMS, name, "sampler"))
    given: dict[str, Any] = {}
    for pair in pairs:
        setting, sign, text = pair.partition("=")
        if not sign or setting in given:
            raise InputError(f"samplers has {word!r}; write NAME,SETTING=VALUE,..., each setting once")
        given[setting] = read_value(f"{setting} of {name} is", text, choose(kinds, setting, f"setting of {name}"))
    sampler = ALGORITHMS[name]().having(study.steps | given)
    if idle := given.keys() & sampler.unused():
        raise InputError(f"samplers has {word!r}, where {min(idle)} has no effect; leave it out")
    return ",".join([name, *(f"{setting}={as_word(value)}" for setting, value in given.items())]), sampler


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
