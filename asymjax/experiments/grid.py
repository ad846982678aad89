"""Grids of settings: which networks there are, and how few compiled programs they take.

A *traced* axis is a number that enters a program as data: its values are networks of one program, side by side as seeds
are. A *static* axis is any other setting: a program for each of its values.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np

from asymjax.errors import InputError, choose
from asymjax.experiments.variants import GATED, MASKED, SETTINGS
from asymjax.inference.chains_config import ChainsConfig
from asymjax.inference.posterior import PosteriorConfig
from asymjax.models.backbones import BACKBONES
from asymjax.models.backbones.backbone import ACTIVATIONS
from asymjax.models.config import ModelConfig
from asymjax.models.methods import METHODS
from asymjax.train.optimizers import DECAYING, OptimizerConfig, check_number, check_optimizer

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
    "noise_scale": ("noise", frozenset({"fixed"})),
    "trajectory_length": ("sampler", frozenset({"hmc", "mhmc", "dynamic_hmc", "adjusted_mclmc"})),
    "jitter": ("sampler", frozenset({"hmc", "mhmc", "adjusted_mclmc"})),
    "num_cycles": ("sampler", frozenset({"csgld"})),
    "exploration": ("sampler", frozenset({"csgld"})),
    "momentum": ("sampler", frozenset({"sghmc", "sgnht"})),
    "norm_decay": ("sampler", frozenset({"psgld"})),
    "norm_floor": ("sampler", frozenset({"psgld"})),
}
"""Settings that do not matter everywhere -> the setting that decides, and its values where they do."""
DECIDING = frozenset(field for field, _ in MATTERS_TO.values())
NUM_MASK_SEEDS = 2**32  # JAX takes seeds modulo that.


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
        If an axis is unknown, empty or given twice, has a value twice or one that cannot be, or matters nowhere, or if
        there are no seeds.
    """
    if num_seeds < 1:
        raise InputError(f"num_seeds is {num_seeds}; give 1 at least")
    axes = parse_axes(config.grid)
    programs = _programs(axes, vars(model) | vars(optimizer), _is_traced)
    return [_point(static, traced, model, optimizer, num_seeds) for static, traced in programs]


class PosteriorPoint(NamedTuple):
    """One posterior of a grid.

    Attributes
    ----------
    name : its settings that vary, ``"temperature=0.1,arch=w_asym"``; empty where none does.
    coordinates : the same by name.
    model, posterior, chains : its configuration.
    """

    name: str
    coordinates: dict[str, Any]
    model: ModelConfig
    posterior: PosteriorConfig
    chains: ChainsConfig


def posterior_points(
    config: GridConfig, model: ModelConfig, posterior: PosteriorConfig, chains: ChainsConfig
) -> list[PosteriorPoint]:
    """Return the posteriors of a grid; a single one where nothing varies.

    Parameters
    ----------
    config : the axes, fields of the other three.
    model, posterior, chains : settings that are no axis.

    Raises
    ------
    InputError
        As :func:`grid_points`.
    """
    base = (model, posterior, chains)
    kinds = {name: kind for one in base for name, kind in get_type_hints(type(one)).items()}
    settings = {name: value for one in base for name, value in vars(one).items()}
    chosen = [static for static, _ in _programs(parse_axes(config.grid, kinds), settings, lambda *axis: False)]
    return [PosteriorPoint(_name(own), own, *(_with(one, own) for one in base)) for own in chosen]


def _programs(
    axes: Mapping[str, Sequence[Any]], settings: Mapping[str, Any], is_traced: Callable[..., bool]
) -> list[tuple[dict[str, Any], dict[str, Sequence[Any]]]]:
    """Return of each combination of static settings the values, and with them the traced axes.

    Raises
    ------
    InputError
        If an axis matters nowhere.
    """
    programs, used = [], set()
    for decided in _combinations(axes, DECIDING):
        known = {**settings, **decided}
        own = {name for name in axes if name not in DECIDING and _matters(name, known)}
        traced = {name: axes[name] for name in axes if name in own and is_traced(axes[name], name, known["arch"])}
        used |= own
        for chosen in _combinations(axes, own - traced.keys()):
            programs.append(({name: (decided | chosen)[name] for name in axes if name in decided | chosen}, traced))
    if unused := axes.keys() - used - DECIDING:
        name = min(unused)
        field, values = MATTERS_TO[name]
        raise InputError(f"grid has {name}, which matters where {field} is {' or '.join(sorted(values))}; leave it out")
    return programs


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
        If a number of the optimizer cannot be, or what varies is drawn as well.
    """
    model, optimizer = _with(model, static), _with(optimizer, static)
    check_optimizer(optimizer)
    if optimizer.recipe == "drawn" and (both := RECIPE & traced.keys()):
        raise InputError(f"grid has {min(both)}, which recipe drawn draws for each network; give one of the two")
    columns = np.meshgrid(*map(np.ravel, map(np.array, traced.values())), np.arange(num_seeds), indexing="ij")
    coordinates = {name: column.ravel() for name, column in zip([*traced, "seed"], columns, strict=True)}
    hyper = {name: coordinates[name].astype(np.int32 if name == "mask_seed" else np.float32) for name in traced}
    if "fixed_scale" in traced:
        model = replace(model, fixed_scale=(1.0,))  # Which the values multiply.
        hyper.setdefault("mask_seed", np.full(len(coordinates["seed"]), model.mask_seed, np.int32))
    return Point(_name(static), model, optimizer, coordinates, hyper)


def _with(config: Any, values: Mapping[str, Any]) -> Any:
    return replace(config, **{name: value for name, value in values.items() if hasattr(config, name)})


def _name(values: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={_word(value)}" for name, value in values.items())


def _word(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


# From words ------------------------------------------------------------------------------------------------------


def parse_axes(words: Sequence[str], kinds: Mapping[str, Any] = FIELDS) -> dict[str, tuple[Any, ...]]:
    """Read ``NAME=V1,V2,...`` into name -> values; ``16/32`` is a tuple, ``0:8`` the whole numbers from 0 to 7.

    Parameters
    ----------
    words : one an axis.
    kinds : name of a setting -> the type of its values.

    Raises
    ------
    InputError
        If a name is unknown or there twice, or values are missing, there twice, of a wrong kind or out of range.
    """
    axes: dict[str, tuple[Any, ...]] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise InputError(f"grid has {word!r}; write NAME=V1,V2,..., for example arch=standard,w_asym")
        choose(kinds, name, "setting of a grid")
        if name in axes:
            raise InputError(f"grid has {name} twice; join its values with commas")
        axes[name] = _values(name, text, kinds[name])
    return axes


def _values(name: str, text: str, kind: Any) -> tuple[Any, ...]:
    values = [value for part in text.split(",") for value in _part(name, part, kind)] if text else []
    if not values:
        raise InputError(f"grid has no value of {name} ({name}={text}); give one at least")
    for value, count in Counter(values).items():
        if count > 1:
            raise InputError(f"grid has {name} = {_word(value)} twice; give each value once")
        _check_value(name, value)
    return tuple(values)


def _check_value(name: str, value: Any) -> None:
    if name in REGISTRIES:
        choose(REGISTRIES[name], value, name)
    check_number(name, value)
    if name in TRACED and np.min(value) < 0:
        raise InputError(f"grid has {name} = {_word(value)}; give 0 or more")
    if name == "mask_seed" and value >= NUM_MASK_SEEDS:
        raise InputError(f"grid has mask_seed = {value}; give less than {NUM_MASK_SEEDS}, from which on seeds repeat")


def _part(name: str, text: str, kind: Any) -> Sequence[Any]:
    """Read what stands between two commas: one value, or a range of whole numbers."""
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
