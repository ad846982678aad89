"""Grids of settings: which networks there are, and how few compiled programs they take.

A *traced* axis is a number that enters a program as data: its values are networks of one program, side by side as seeds
are. A *static* axis is any other setting: a program for each of its values.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np

from asymjax.config import GridConfig, ModelConfig, OptimizerConfig
from asymjax.errors import InputError, choose
from asymjax.experiments.variants import GATED, MASKED, SETTINGS
from asymjax.models.asymmetry import METHODS
from asymjax.models.backbones import BACKBONES
from asymjax.models.backbones.backbone import ACTIVATIONS
from asymjax.train.optimizers import DECAYING

FIELDS: dict[str, Any] = get_type_hints(ModelConfig) | get_type_hints(OptimizerConfig)
REGISTRIES: dict[str, Mapping[str, Any]] = {"arch": METHODS, "backbone": BACKBONES, "activation": ACTIVATIONS}
RECIPE = frozenset({"learning_rate", "weight_decay", "label_smoothing"})
TRACED = RECIPE | {"fixed_scale", "mask_seed"}
MATTERS_TO: dict[str, tuple[str, frozenset[str]]] = {
    **{name: ("arch", setting.archs) for name, setting in SETTINGS.items() if setting.archs is not None},
    "mask_kind": ("arch", MASKED),
    "widths": ("backbone", frozenset(BACKBONES) - {"resnet"}),
    "depth": ("backbone", frozenset({"resnet"})),
    "width_multiplier": ("backbone", frozenset({"resnet"})),
    "weight_decay": ("optimizer", DECAYING),
}
"""Settings that do not matter everywhere -> the setting that decides, and its values where they do."""
DECIDING = frozenset(field for field, _ in MATTERS_TO.values())


class Point(NamedTuple):
    """One compiled program of a grid, and its networks: all values of the traced axes, each with every seed.

    Attributes
    ----------
    name : its static settings that vary, ``"arch=w_asym,widths=16-16"``; empty where none does.
    model, optimizer : its configuration; ``fixed_scale`` is 1 where it is traced, since its values multiply that.
    coordinates : traced setting -> its value [network], and last ``seed`` int [network], which runs fastest.
    hyper : what a trainer takes for each network [network]; empty without traced axes.
    """

    name: str
    model: ModelConfig
    optimizer: OptimizerConfig
    coordinates: dict[str, np.ndarray]
    hyper: dict[str, np.ndarray]


def grid_points(config: GridConfig, model: ModelConfig, optimizer: OptimizerConfig, num_seeds: int) -> list[Point]:
    """Return the programs of a grid; one of ``num_seeds`` networks where nothing varies.

    Where a setting does not matter (``fixed_scale`` to standard networks), nothing is repeated over its values.

    Parameters
    ----------
    config : the axes.
    model, optimizer : settings that are no axis.
    num_seeds : networks of each combination of settings.

    Raises
    ------
    InputError
        If an axis is unknown, empty or given twice, has a value twice or one of a wrong kind, or matters nowhere.
    """
    axes = parse_axes(config.grid)
    points, used = [], set()
    for decided in _combinations(axes, DECIDING):
        settings = vars(model) | vars(optimizer) | decided
        own = {name for name in axes if name not in DECIDING and _matters(name, settings)}
        traced = {name for name in own if _is_traced(axes[name], name, settings["arch"])}
        used |= own
        for chosen in _combinations(axes, own - traced):
            static = {name: (decided | chosen)[name] for name in axes if name in decided | chosen}
            points.append(
                _point(static, {name: axes[name] for name in axes if name in traced}, model, optimizer, num_seeds)
            )
    if unused := axes.keys() - used - DECIDING:
        name = min(unused)
        field, values = MATTERS_TO[name]
        raise InputError(f"grid has {name}, which matters where {field} is {' or '.join(sorted(values))}; leave it out")
    return points


def _combinations(axes: Mapping[str, Sequence[Any]], names: Iterable[str]) -> list[dict[str, Any]]:
    """Return all combinations of the values of some axes, the last axis fastest."""
    chosen = [name for name in axes if name in names]
    return [dict(zip(chosen, values, strict=True)) for values in product(*(axes[name] for name in chosen))]


def _matters(name: str, settings: Mapping[str, Any]) -> bool:
    if name not in MATTERS_TO:
        return True
    field, values = MATTERS_TO[name]
    return settings[field] in values


def _is_traced(values: Sequence[Any], name: str, arch: str) -> bool:
    # As data, a scale multiplies what is fixed in all layers, gates too.
    if name == "fixed_scale":
        return arch not in GATED and all(len(value) == 1 for value in values)
    return name in TRACED


def _point(
    static: Mapping[str, Any],
    traced: Mapping[str, Sequence[Any]],
    model: ModelConfig,
    optimizer: OptimizerConfig,
    num_seeds: int,
) -> Point:
    """Make one program.

    Raises
    ------
    InputError
        If what varies is drawn as well.
    """
    model = replace(model, **{name: value for name, value in static.items() if hasattr(model, name)})
    optimizer = replace(optimizer, **{name: value for name, value in static.items() if hasattr(optimizer, name)})
    if optimizer.recipe == "drawn" and (both := RECIPE & traced.keys()):
        raise InputError(f"grid has {min(both)}, which recipe drawn draws for each network; give one of the two")
    columns = np.meshgrid(*map(np.ravel, map(np.array, traced.values())), np.arange(num_seeds), indexing="ij")
    coordinates = {name: column.ravel() for name, column in zip([*traced, "seed"], columns, strict=True)}
    hyper = {name: coordinates[name].astype(np.int32 if name == "mask_seed" else np.float32) for name in traced}
    if "fixed_scale" in traced:
        model = replace(model, fixed_scale=(1.0,))  # Which the values multiply.
        hyper.setdefault("mask_seed", np.full(len(coordinates["seed"]), model.mask_seed, np.int32))
    return Point(
        ",".join(f"{name}={_word(value)}" for name, value in static.items()), model, optimizer, coordinates, hyper
    )


def _word(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


# From words ------------------------------------------------------------------------------------------------------


def parse_axes(words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Read ``NAME=V1,V2,...`` into name -> values; ``16/32`` is a tuple, ``0:8`` the whole numbers from 0 to 7.

    Raises
    ------
    InputError
        If a name is unknown or there twice, or values are missing, there twice or of a wrong kind.
    """
    axes: dict[str, tuple[Any, ...]] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise InputError(f"grid has {word!r}; write NAME=V1,V2,..., for example learning_rate=1e-4,1e-3")
        choose(FIELDS, name, "setting of a grid")
        if name in axes:
            raise InputError(f"grid has {name} twice; join its values with commas")
        axes[name] = _values(name, text)
    return axes


def _values(name: str, text: str) -> tuple[Any, ...]:
    values = [value for part in text.split(",") for value in _part(name, part)] if text else []
    if not values:
        raise InputError(f"grid has no value of {name} ({name}={text}); give one at least")
    for value in values:
        if values.count(value) > 1:
            raise InputError(f"grid has {name} = {_word(value)} twice; give each value once")
        if name in REGISTRIES:
            choose(REGISTRIES[name], value, name)
        if name in TRACED and np.min(value) < 0:
            raise InputError(f"grid has {name} = {_word(value)}; give 0 or more")
    return tuple(values)


def _part(name: str, text: str) -> Sequence[Any]:
    """Read what stands between two commas: one value, or a range of whole numbers."""
    kind = FIELDS[name]
    if kind in (int, int | None) and (ends := re.fullmatch(r"(\d+):(\d+)", text)):
        return range(int(ends[1]), int(ends[2]))
    try:
        return [_read(kind, text)]
    except ValueError:
        raise InputError(f"grid has {name} = {text!r}; give {_expected(kind)}") from None


def _read(kind: Any, text: str) -> Any:
    """Read a value of a type of the configuration; ValueError where it is none."""
    if get_origin(kind) is tuple:
        return tuple(_read(get_args(kind)[0], part) for part in text.split("/"))
    if get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            with suppress(ValueError):
                return _read(one, text)
        raise ValueError(text)
    if get_origin(kind) is Literal or kind is NoneType:
        words = get_args(kind) or ("none",)
        if text not in words:
            raise ValueError(text)
        return None if kind is NoneType else text
    value = kind(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(text)
    return value


def _expected(kind: Any) -> str:
    """Say what values of a type look like."""
    if get_origin(kind) is tuple:
        return f"{_expected(get_args(kind)[0])}, or several joined by /"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_expected, get_args(kind)))
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    return {int: "a whole number", float: "a number", str: "a name", NoneType: "none"}[kind]
