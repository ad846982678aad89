"""What makes one kind of networks: model, optimizer, and where networks start; methods, controls, and what varies."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax

from asymjax import trees
from asymjax.errors import InputError, choose
from asymjax.models import build_model, draw_frozen
from asymjax.models.config import ModelConfig
from asymjax.models.methods import METHODS
from asymjax.train.optimizers import OptimizerConfig, check_optimizer

Shapes = tuple[tuple[int, ...], int]


@dataclass(frozen=True)
class Variant:
    """How the networks of one kind are made; they differ in their seeds alone.

    Attributes
    ----------
    model, optimizer : model and training.
    start : ``"own"`` initialisation, or that of the effective weights of ``"w_asym"`` networks.
    masks : ``"shared"`` by all networks, or their ``"own"``: network i has that of mask seed + i.
    varied : name and value of the setting that varies, where one does.
    """

    model: ModelConfig
    optimizer: OptimizerConfig
    start: Literal["own", "w_asym"] = "own"
    masks: Literal["shared", "own"] = "shared"
    varied: tuple[str, float] | None = None


# Controls --------------------------------------------------------------------------------------------------------


def different_masks(variant: Variant, shapes: Shapes) -> Variant:
    """Fix other entries in every network: what networks then share is the method, and not what it fixed."""
    return replace(_in_model(variant, arch="w_asym"), masks="own")


def w_asym_start(variant: Variant, shapes: Shapes) -> Variant:
    """Start standard networks where W-asymmetric ones start, to tell the start from what stays fixed."""
    return replace(_in_model(variant, arch="standard"), start="w_asym")


def random_features(variant: Variant, shapes: Shapes) -> Variant:
    """Train only the output layer of W-asymmetric networks."""
    return _in_training(_in_model(variant, arch="w_asym"), trained="output")


def small_standard(variant: Variant, shapes: Shapes) -> Variant:
    """Make standard networks so narrow that they have as many trainable entries as W-asymmetric ones, or just fewer."""
    target = num_trainable(_in_model(variant, arch="w_asym").model, shapes)
    standard = _in_model(variant, arch="standard").model
    low, high = 0, 1000  # Thousandths of the width; the largest that is not too many.
    while high - low > 1:
        middle = (low + high) // 2
        is_too_large = num_trainable(narrowed(standard, middle / 1000), shapes) > target
        low, high = (low, middle) if is_too_large else (middle, high)
    return replace(variant, model=narrowed(standard, low / 1000))


CONTROLS: dict[str, Callable[[Variant, Shapes], Variant]] = {
    "different_masks": different_masks,
    "w_asym_start": w_asym_start,
    "small_standard": small_standard,
    "random_features": random_features,
}


def narrowed(model: ModelConfig, factor: float) -> ModelConfig:
    """Return a model with its hidden layers narrowed by a factor."""
    if model.backbone == "resnet":
        return replace(model, width_multiplier=factor * model.width_multiplier)
    return replace(model, widths=tuple(max(1, round(factor * width)) for width in model.widths))


def num_trainable(model: ModelConfig, shapes: Shapes) -> int:
    """Return how many trainable entries a network has."""
    built = build_model(model, *shapes)
    frozen = jax.eval_shape(lambda: draw_frozen(built, model.mask_seed))
    return trees.num_entries(jax.eval_shape(built.init, jax.random.key(0), frozen))


# What varies -----------------------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """A setting that can vary.

    Attributes
    ----------
    archs : the methods that it matters to; None for all.
    apply : (variant, value) -> variant.
    """

    archs: frozenset[str] | None
    apply: Callable[[Variant, float], Variant]


def _in_model(variant: Variant, **fields: Any) -> Variant:
    return replace(variant, model=replace(variant.model, **fields))


def _in_training(variant: Variant, **fields: Any) -> Variant:
    return replace(variant, optimizer=replace(variant.optimizer, **fields))


def _whole(value: float) -> int:
    """Return a whole number as an int.

    Raises
    ------
    InputError
        If it is not whole.
    """
    if value != int(value):
        raise InputError(f"values has {value}; this setting takes whole numbers")
    return int(value)


def _with_width(variant: Variant, value: float) -> Variant:
    if variant.model.backbone == "resnet":
        return _in_model(variant, width_multiplier=value)
    return _in_model(variant, widths=(_whole(value),) * len(variant.model.widths))


SCALED = frozenset({"w_asym", "w_sigma_asym", "syre", "fixed_bias"})
MASKED, GATED = frozenset({"w_asym", "pruned", "w_sigma_asym"}), frozenset({"sigma_asym", "w_sigma_asym"})
SETTINGS: dict[str, Setting] = {
    "fixed_scale": Setting(
        frozenset({"w_asym", "w_sigma_asym", "syre", "fixed_bias"}), lambda v, x: _in_model(v, fixed_scale=(x,))
    ),
    "num_fixed": Setting(MASKED, lambda v, x: _in_model(v, num_fixed=(x if 0 < x < 1 else _whole(x),))),
    "gate_scale": Setting(GATED, lambda v, x: _in_model(v, gate_scale=x)),
    "mask_seed": Setting(frozenset(METHODS) - {"standard"}, lambda v, x: _in_model(v, mask_seed=_whole(x))),
    "width": Setting(None, _with_width),
    "learning_rate": Setting(None, lambda v, x: _in_training(v, learning_rate=x)),
    "warmup_steps": Setting(None, lambda v, x: _in_training(v, warmup_steps=_whole(x))),
    "weight_decay": Setting(None, lambda v, x: _in_training(v, weight_decay=x)),
    "num_epochs": Setting(None, lambda v, x: _in_training(v, num_epochs=_whole(x))),
}


# All kinds -------------------------------------------------------------------------------------------------------


def make_variants(
    config: KindsConfig, model: ModelConfig, optimizer: OptimizerConfig, shapes: Shapes
) -> dict[str, Variant]:
    """Return the kinds to compare: methods, with a setting that varies where it matters, then controls.

    Parameters
    ----------
    config : which kinds.
    model, optimizer : what they have in common; the method aside.
    shapes : shape of one input, and number of outputs.

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
    plain = Variant(model, optimizer)
    variants: dict[str, Variant] = {}
    for arch in config.archs:
        choose(METHODS, arch, "arch")
        variants |= _over_values(config, arch, _in_model(plain, arch=arch))
    for name in config.controls:
        variants[name] = choose(CONTROLS, name, "control")(plain, shapes)
    if not variants:
        raise InputError("archs and controls are empty; name one kind of networks at least")
    for variant in variants.values():
        check_optimizer(variant.optimizer)
    return variants


def _over_values(config: KindsConfig, arch: str, variant: Variant) -> dict[str, Variant]:
    setting = SETTINGS.get(config.vary)
    if setting is None or (setting.archs is not None and arch not in setting.archs):
        return {arch: variant}
    return {
        f"{arch}-{config.vary}-{value:g}": replace(setting.apply(variant, value), varied=(config.vary, value))
        for value in config.values
    }
