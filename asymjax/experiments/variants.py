"""Variants: networks or posteriors that differ in their seeds alone, and which of them an experiment compares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax

from asymjax import trees
from asymjax.errors import InputError, choose
from asymjax.experiments.words import as_word, read_value
from asymjax.inference import ALGORITHMS, Algorithm
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.samplers import HMC
from asymjax.inference.starts import Start
from asymjax.lab.chains import ChainsConfig
from asymjax.models import ModelConfig, Models, draw_frozen
from asymjax.models.backbones import BACKBONES, Backbone
from asymjax.models.methods import METHODS
from asymjax.settings import Settings, carried, kinds_of, that_have
from asymjax.train.optimizers import OptimizerConfig
from asymjax.types import Dataset, Model

TRAINING, SAMPLING = ("optimizer",), ("posterior", "sampler", "start", "chains")
"""Parts of a variant beside its model: of networks that are trained, of posteriors that are sampled."""

PARTS = ("method", "backbone")
"""Parts of a model, which are chosen by name."""


@dataclass(frozen=True)
class Variant:
    """What networks or posteriors of one kind have in common.

    Attributes
    ----------
    model : the model.
    optimizer : how networks are trained.
    posterior, sampler, start, chains : what is sampled, and how. What an experiment has no use for has its default.
    donor : model at whose effective weights networks begin; None for their own initialisation.
    masks : ``"shared"`` by all networks, or their ``"own"``: network i has that of mask seed + i.
    varied : name -> value of the settings that set it apart from others.
    """

    model: ModelConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    sampler: Algorithm = field(default_factory=HMC)
    start: Start = field(default_factory=Start)
    chains: ChainsConfig = field(default_factory=ChainsConfig)
    donor: ModelConfig | None = None
    masks: Literal["shared", "own"] = "shared"
    varied: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its settings that vary, ``"arch=w_asym,widths=16-16"``; empty where none does."""
        return ",".join(f"{name}={as_word(value)}" for name, value in self.varied.items())

    def has(self, name: str, parts: tuple[str, ...]) -> bool:
        """Return whether a setting of the model or one of the parts has an effect."""
        own: list[Settings] = [getattr(self, part) for part in parts]
        if name in ("arch", "backbone", *self.model.settings):
            return name not in self.model.unused()
        if name == "sampler":
            return "sampler" in parts
        return any(name in kinds_of(type(part)) and name not in part.unused() for part in own)

    def having(self, name: str, value: Any) -> "Variant":
        """Return it with another value of one setting of its model, training, posterior or chains; ``width`` is one."""
        if name == "width":
            return replace(self, model=replace(self.model, backbone=self.model.backbone.with_width(value)))
        if name in ("arch", "backbone", *self.model.settings):
            return replace(self, model=self.model.having({name: value}))
        if name == "sampler":
            return replace(self, sampler=carried(self.sampler, ALGORITHMS, value, "sampler"))
        parts = {part: getattr(self, part).having({name: value}) for part in (*TRAINING, *SAMPLING)}
        return replace(self, **parts)

    def record(self) -> dict[str, Any]:
        """Return how networks are trained, as config.json has it."""
        own = {name: getattr(self, name) for name in ("optimizer", "masks", "varied")}
        return {"model": self.model.record(), "donor": self.donor and self.donor.record(), **own}

    def build(self, dataset: Dataset) -> Model:
        """Build the model for a dataset."""
        return self.model.build(dataset.input_shape, dataset.num_outputs)


def owners_of_settings(base: Variant, parts: tuple[str, ...]) -> dict[str, type[Settings]]:
    """Return a class that has it for every setting of models, and of the given parts of a variant, by its name."""
    classes: list[type[Settings]] = [Backbone, *METHODS.values(), *BACKBONES.values()]
    classes += [type(getattr(base, part)) for part in parts]
    classes += [ModelConfig, *(ALGORITHMS.values() if "sampler" in parts else ())]
    owners: dict[str, type[Settings]] = {}
    for settings in classes:
        owners |= {name: settings for name in kinds_of(settings) if name not in owners}
    return {name: owner for name, owner in owners.items() if name not in PARTS}


def kinds_of_settings(base: Variant, parts: tuple[str, ...]) -> dict[str, Any]:
    """Return the type of each of these settings, and of the names that choose between classes, by its name."""
    kinds = {name: kinds_of(owner)[name] for name, owner in owners_of_settings(base, parts).items()}
    return {"arch": str, "backbone": str} | ({"sampler": str} if "sampler" in parts else {}) | kinds


# Which are compared ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VariedConfig(Settings):
    """A setting that sets variants apart, beside their methods."""

    vary: str = "none"
    """A setting that takes each of --values in turn, for the methods that it matters to; the others stay as they are.
    Any setting of methods, backbone and training (of a study of posteriors: and of the posterior), or width: the units
    of every hidden layer, or a resnet's width multiplier."""
    values: tuple[float, ...] = ()
    """The values of the setting that varies."""


@dataclass(frozen=True)
class VariantsConfig(VariedConfig):
    """Which variants are compared, beside the methods."""

    controls: tuple[str, ...] = ()
    """Further variants: different_masks (w_asym, each network with a mask of its own), w_asym_start (standard networks
    that start at the effective weights of w_asym ones), small_standard (standard, as narrow as w_asym has trainable
    entries), random_features (w_asym, only the output layer trained), soft_gates (sigma_asym with gates of standard
    deviation 1 / sqrt(width))."""


def different_masks(models: Models, plain: Variant, dataset: Dataset) -> Variant:
    """Fix other entries in every network: what networks then share is the method, and not what it fixed."""
    return replace(plain, model=models.of("w_asym"), masks="own")


def w_asym_start(models: Models, plain: Variant, dataset: Dataset) -> Variant:
    """Start standard networks where W-asymmetric ones start, to tell the start from what stays fixed."""
    return replace(plain, model=models.of("standard"), donor=models.of("w_asym"))


def random_features(models: Models, plain: Variant, dataset: Dataset) -> Variant:
    """Train only the output layer of W-asymmetric networks."""
    return replace(plain, model=models.of("w_asym")).having("trained", "output")


def soft_gates(models: Models, plain: Variant, dataset: Dataset) -> Variant:
    """Draw the gates of sigma-asymmetric networks so that they are as soft at every width."""
    return replace(plain, model=models.of("sigma_asym").having({"gate_scale": "inv_sqrt"}))


def small_standard(models: Models, plain: Variant, dataset: Dataset) -> Variant:
    """Make standard networks so narrow that they have as many trainable entries as W-asymmetric ones, or just fewer."""
    target = num_trainable(replace(plain, model=models.of("w_asym")).build(dataset), models.mask_seed)
    standard = models.of("standard")

    def narrowed(thousandths: int) -> Variant:
        model = replace(standard, backbone=standard.backbone.narrowed(thousandths / 1000))
        return replace(plain, model=model)

    low, high = 0, 1000  # Thousandths of the width; the largest that is not too many.
    while high - low > 1:
        middle = (low + high) // 2
        is_too_large = num_trainable(narrowed(middle).build(dataset), models.mask_seed) > target
        low, high = (low, middle) if is_too_large else (middle, high)
    return narrowed(low)


CONTROLS: dict[str, Callable[[Models, Variant, Dataset], Variant]] = {
    "different_masks": different_masks,
    "w_asym_start": w_asym_start,
    "small_standard": small_standard,
    "random_features": random_features,
    "soft_gates": soft_gates,
}


def num_trainable(model: Model, mask_seed: int) -> int:
    """Return how many trainable entries a network has."""
    frozen = jax.eval_shape(lambda: draw_frozen(model, mask_seed))
    return trees.num_entries(jax.eval_shape(model.init, jax.random.key(0), frozen))


def make_variants(
    config: VariedConfig, models: Models, plain: Variant, parts: tuple[str, ...], dataset: Dataset
) -> dict[str, Variant]:
    """Return the variants to compare: methods, with a setting that varies where it matters, then controls.

    Parameters
    ----------
    config, models : which.
    plain : what they have in common; the model aside.
    parts : parts of a variant that matter, beside its model.
    dataset : the data, for the shapes.

    Returns
    -------
    Name -> variant; the name of a method, a control, or a method, the setting and its value joined by hyphens.

    Raises
    ------
    InputError
        If a name is unknown, nothing is to be compared, values and setting do not fit, or a number of the optimizer
        cannot be.
    """
    if (config.vary == "none") != (not config.values):
        raise InputError(f"vary is {config.vary} and values are {config.values}; give both or neither")
    variants: dict[str, Variant] = {}
    for arch in models.archs:
        variants |= _over_values(config, arch, replace(plain, model=models.of(arch)), parts)
    if config.vary != "none" and not any(variant.varied for variant in variants.values()):
        refuse_idle("vary", config.vary)
    for name in getattr(config, "controls", ()):
        variants[name] = choose(CONTROLS, name, "control")(models, plain, dataset)
    if not variants:
        raise InputError("archs and controls are empty; name one method at least")
    return variants


def _over_values(config: VariedConfig, arch: str, variant: Variant, parts: tuple[str, ...]) -> dict[str, Variant]:
    if config.vary == "none":
        return {arch: variant}
    kinds = kinds_of_settings(variant, parts) | {"width": float}
    kind = choose(kinds, config.vary, "setting")
    if config.vary != "width" and not variant.has(config.vary, parts):
        return {arch: variant}
    found = {}
    for value in config.values:
        read = read_value("values has", repr(int(value) if value == int(value) else value), kind)
        found[f"{arch}-{config.vary}-{value:g}"] = replace(
            variant.having(config.vary, read), varied={config.vary: value}
        )
    return found


def refuse_idle(what: str, name: str) -> None:
    """Refuse a setting that nothing has; the message names what would.

    Raises
    ------
    InputError
        Always.
    """
    owners = [owner for registry in (METHODS, BACKBONES, ALGORITHMS) for owner in that_have(name, registry)]
    which = f"is a setting of {', '.join(owners)}" if owners else "has no effect here"
    raise InputError(f"{what} has {name}, which {which}; leave it out")
