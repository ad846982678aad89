"""Grids of settings: which variants there are, and how few compiled programs their networks take.

A *traced* axis is a number that enters a program as data: its values are networks of one program, side by side as seeds
are. A *static* axis is any other setting: a variant, and a program, for each of its values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from asymjax.errors import InputError, choose
from asymjax.experiments.variants import SAMPLING, TRAINING, Variant, kinds_of_settings, owners_of_settings, refuse_idle
from asymjax.experiments.words import parse_axes
from asymjax.inference import ALGORITHMS
from asymjax.models.backbones.backbone import ACTIVATIONS
from asymjax.models.config import REGISTRIES
from asymjax.models.methods import SigmaAsym
from asymjax.settings import Settings

RECIPE = frozenset({"learning_rate", "weight_decay", "label_smoothing"})
TRACED = RECIPE | {"fixed_scale", "mask_seed"}
NAMES: dict[str, Mapping[str, Any]] = {**REGISTRIES, "activation": ACTIVATIONS, "sampler": ALGORITHMS}


class Program(NamedTuple):
    """One compiled program of a grid, and its networks: all values of the traced axes, each with every seed.

    Attributes
    ----------
    variant : what they have in common; ``fixed_scale`` is 1 where it is traced, since its values multiply that.
    coordinates : traced setting -> its value [network], and last ``seed`` int [network], which runs fastest.
    hyper : what a trainer takes for each network [network]; empty without traced axes.
    """

    variant: Variant
    coordinates: dict[str, np.ndarray]
    hyper: dict[str, np.ndarray]


def grid_programs(words: Sequence[str], base: Variant, num_seeds: int) -> list[Program]:
    """Return the programs of a grid; one of ``num_seeds`` networks where nothing varies.

    Where a setting has no effect (``fixed_scale`` on standard networks), nothing is repeated over its values.

    Parameters
    ----------
    words : the axes.
    base : settings that are no axis.
    num_seeds : networks of each combination of settings.

    Raises
    ------
    InputError
        If an axis is unknown, empty or given twice, has a value twice or one that cannot be, or matters nowhere, or if
        there are no seeds.
    """
    if num_seeds < 1:
        raise InputError(f"num_seeds is {num_seeds}; give 1 at least")
    axes = read_axes(words, base, TRAINING)
    fixed = {name: values for name, values in axes.items() if name not in TRACED}
    programs: list[Program] = []
    used: set[str] = set()
    for variant in combinations(fixed, base, TRAINING):
        own = {name: values for name, values in axes.items() if variant.has(name, TRAINING)}
        traced = {name: values for name, values in own.items() if _is_traced(name, values, variant)}
        used |= own.keys()
        # A scale that is no data makes variants; these have all static axes, in the order of the axes.
        static = {name: own[name] for name in own if name not in traced}
        chosen = {name: [variant.varied[name]] if name in variant.varied else static[name] for name in static}
        for one in combinations(chosen, base, TRAINING):
            programs.append(_program(one, traced, num_seeds))
    _refuse_unused(axes, used)
    return programs


def grid_variants(words: Sequence[str], base: Variant) -> list[Variant]:
    """Return the posteriors of a grid; a single one where nothing varies.

    Raises
    ------
    InputError
        As :func:`grid_programs`.
    """
    axes = read_axes(words, base, SAMPLING)
    variants = combinations(axes, base, SAMPLING)
    _refuse_unused(axes, {name for variant in variants for name in variant.varied})
    return variants


def combinations(axes: Mapping[str, Sequence[Any]], base: Variant, parts: tuple[str, ...]) -> list[Variant]:
    """Return a variant of each combination of values, the last axis fastest, without the axes of no effect on it."""
    found: dict[str, Variant] = {}
    # What decides whether others have an effect comes first.
    order = sorted(axes, key=lambda name: name not in DECIDING)
    for values in product(*axes.values()):
        given, variant = dict(zip(axes, values, strict=True)), base
        effective = set()
        for name in order:
            if variant.has(name, parts):
                variant = variant.having(name, given[name])
                effective.add(name)
        variant = replace(variant, varied={name: given[name] for name in axes if name in effective})
        found.setdefault(variant.name, variant)
    return list(found.values())


DECIDING = frozenset({"arch", "backbone", "optimizer", "noise", "sampler"})
"""Settings that decide whether others have an effect."""


def _refuse_unused(axes: Mapping[str, Any], used: set[str]) -> None:
    if unused := axes.keys() - used:
        refuse_idle("grid", min(unused))


def _is_traced(name: str, values: Sequence[Any], variant: Variant) -> bool:
    # As data, a scale multiplies what is fixed in all layers, gates too.
    if name == "fixed_scale":
        return not isinstance(variant.model.method, SigmaAsym) and all(len(value) == 1 for value in values)
    return name in TRACED


def _program(variant: Variant, traced: Mapping[str, Sequence[Any]], num_seeds: int) -> Program:
    """Make one program.

    Raises
    ------
    InputError
        If a number of the optimizer cannot be, or what varies is drawn as well.
    """
    drawn = RECIPE | ({"num_epochs"} if variant.optimizer.min_epochs is not None else set())
    if variant.optimizer.recipe == "drawn" and (both := drawn & {*traced, *variant.varied}):
        raise InputError(f"grid has {min(both)}, which recipe drawn draws for each network; give one of the two")
    columns = np.meshgrid(*map(np.ravel, map(np.array, traced.values())), np.arange(num_seeds), indexing="ij")
    coordinates = {name: column.ravel() for name, column in zip([*traced, "seed"], columns, strict=True)}
    hyper = {name: coordinates[name].astype(np.int32 if name == "mask_seed" else np.float32) for name in traced}
    if "fixed_scale" in traced:
        hyper.setdefault("mask_seed", np.full(len(coordinates["seed"]), variant.model.mask_seed, np.int32))
        variant = variant.having("fixed_scale", (1.0,))  # Which the values multiply.
    return Program(variant, coordinates, hyper)


def read_axes(words: Sequence[str], base: Variant, parts: tuple[str, ...]) -> dict[str, tuple[Any, ...]]:
    """Read the axes of a grid, and check their values.

    Raises
    ------
    InputError
        As :func:`~asymjax.experiments.words.parse_axes`, or if a value is out of range.
    """
    axes = parse_axes(words, kinds_of_settings(base, parts))
    owners = owners_of_settings(base, parts)
    for name, values in axes.items():
        for value in values:
            _check_value(name, value, owners.get(name))
    return axes


def _check_value(name: str, value: Any, owner: type[Settings] | None) -> None:
    if name in NAMES:
        choose(NAMES[name], value, name)
    if owner is not None:
        owner.require(name, value)
