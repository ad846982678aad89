"""Values of settings from words of a command line."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from asymjax.errors import InputError, choose


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
    """Write a value as a word of a file name."""
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
    """Return what values of a type look like."""
    if get_origin(kind) is tuple:
        return f"{_expected(get_args(kind)[0])}, or several joined by /"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_expected, get_args(kind)))
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    return {int: "a whole number", float: "a number", str: "a name", NoneType: "none"}[kind]
