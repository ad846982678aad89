"""Values of settings from words of a command line."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from asymjax.errors import InputError, choose
from asymjax.settings import Settings, kinds_of

Named = TypeVar("Named", bound=Settings)
TRUTHS = {"yes": True, "no": False}


def parse_axes(words: Sequence[str], kinds: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Read ``NAME=V1,V2,...`` into name -> values; ``16/32`` is a tuple, ``0:8`` the whole numbers from 0 to 7.

    Parameters
    ----------
    words : one an axis.
    kinds : name of a setting -> the type of its values.

    Raises
    ------
    InputError
        If a name is unknown or there twice, or values are missing, there twice or of a wrong kind.
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
            raise InputError(f"grid has {name} = {as_word(value)} twice; give each value once")
    return tuple(values)


def as_word(value: Any) -> str:
    """Write a value as a word of a file name, or of what :func:`read_value` reads."""
    if isinstance(value, bool):
        return next(word for word, truth in TRUTHS.items() if truth is value)
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _part(name: str, text: str, kind: Any) -> Sequence[Any]:
    """Read what stands between two commas: one value, or a range of whole numbers."""
    if kind in (int, int | None) and (ends := re.fullmatch(r"(\d+):(\d+)", text)):
        return range(int(ends[1]), int(ends[2]))
    return [read_value(f"grid has {name} =", text, kind)]


def read_value(what: str, text: str, kind: Any) -> Any:
    """Read one value of a type.

    Raises
    ------
    InputError
        If it is none; the message begins with ``what``.
    """
    try:
        return _read(kind, text)
    except ValueError:
        raise InputError(f"{what} {text!r}; give {_expected(kind)}") from None


def read_named(
    field: str, words: Sequence[str], registry: Mapping[str, type[Named]], what: str, common: Mapping[str, Any] = {}
) -> dict[str, Named]:
    """Read ``NAME,SETTING=VALUE,...`` into settings of the classes of a registry, by the name with what was given.

    Parameters
    ----------
    field : the setting that the words are of, in messages.
    words : one a thing.
    registry : name -> class.
    what : what a class stands for, in messages.
    common : settings that each has, where it knows them.

    Raises
    ------
    InputError
        If there is none, a name or setting is unknown, has no effect or is out of range, or two are the same.
    """
    found: dict[str, Named] = {}
    for word in words:
        name, one = _read_named(field, word, registry, what, common)
        if one in found.values():
            raise InputError(f"{field} has {word!r}, which is the same as one before it; give each {what} once")
        found[name] = one
    if not found:
        raise InputError(f"{field} is empty; name one at least, out of {', '.join(registry)}")
    return found


def _read_named(
    field: str, word: str, registry: Mapping[str, type[Named]], what: str, common: Mapping[str, Any]
) -> tuple[str, Named]:
    name, *pairs = word.split(",")
    kinds = kinds_of(choose(registry, name, what))
    given: dict[str, Any] = {}
    for pair in pairs:
        setting, sign, text = pair.partition("=")
        if not sign or setting in given:
            raise InputError(f"{field} has {word!r}; write NAME,SETTING=VALUE,..., each setting once")
        given[setting] = read_value(f"{setting} of {name} is", text, choose(kinds, setting, f"setting of {name}"))
    one = registry[name]().having({**common, **given})
    if idle := given.keys() & one.unused():
        raise InputError(f"{field} has {word!r}, where {min(idle)} has no effect; leave it out")
    return ",".join([name, *(f"{setting}={as_word(value)}" for setting, value in given.items())]), one


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
    if kind is bool:
        if text not in TRUTHS:
            raise ValueError(text)
        return TRUTHS[text]
    value = kind(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(text)
    return value


def _expected(kind: Any) -> str:
    """Return what values of a type look like."""
    if get_origin(kind) is tuple:
        return f"{_expected(get_args(kind)[0])}, or several joined by /"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_expected, get_args(kind)))
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    return {int: "a whole number", float: "a number", str: "a name", bool: "yes or no", NoneType: "none"}[kind]
