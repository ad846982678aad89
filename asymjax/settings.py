"""What frozen dataclasses of settings share: ranges of their numbers, and which of them have a setting."""

import math
import numbers
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from asymjax.errors import InputError, choose

Own = TypeVar("Own", bound="Settings")


class Range(NamedTuple):
    """What a number of the settings may be: an interval, ``brackets`` as in ``[0, 1)``; infinity is never in it."""

    least: float
    most: float
    brackets: str = "[]"

    def holds(self, value: Any) -> bool:
        """Return whether a number lies in it."""
        is_above = value > self.least if self.brackets[0] == "(" else value >= self.least
        is_below = value < self.most if self.brackets[1] == ")" else value <= self.most
        return is_above and is_below and math.isfinite(value)

    def __str__(self) -> str:
        return f"{self.brackets[0]}{self.least:g}, {self.most:g}{self.brackets[1]}"


MOST = 10**9
"""Of what is counted; more would never end."""
Count = Annotated[int, Range(1, MOST)]
Natural = Annotated[int, Range(0, MOST)]
Seed = Annotated[int, Range(0, 2**32, "[)")]
"""JAX takes seeds modulo 2**32, from which on they repeat."""
Positive = Annotated[float, Range(1e-15, 1e15)]
"""Its square is a number in float32."""
NonNegative = Annotated[float, Range(0, 1e15)]
Share = Annotated[float, Range(0, 1)]
Fraction = Annotated[float, Range(0, 1, "[)")]
Inside = Annotated[float, Range(0, 1, "()")]


@dataclass(frozen=True)
class Settings:
    """A frozen dataclass whose fields are settings; their docstrings are the command line's help.

    Where a setting is a tuple, one value stands for a tuple of one, and a list for a tuple. A number lies in the range
    of its type, as in ``width: Count``, and is finite; what is traced is not checked.

    Raises
    ------
    InputError
        If a number lies outside its range.
    """

    def __post_init__(self) -> None:
        for name, kind in kinds_of(type(self)).items():
            value = getattr(self, name)
            if get_origin(kind) is tuple and not isinstance(value, tuple):
                object.__setattr__(self, name, tuple(value) if isinstance(value, list) else (value,))
            self.require(name, getattr(self, name))

    @classmethod
    def require(cls, name: str, value: Any) -> None:
        """Check a value of a setting by its type.

        Raises
        ------
        InputError
            If a number lies outside its range or should be a whole one, something else stands where a number should,
            or a name is not one of its choices.
        """
        allowed, choices, kinds = _allowed(cls)[name]  # type: ignore[arg-type]
        is_number = bool(kinds & {int, float})
        for one in value if isinstance(value, tuple) else (value,):
            is_real = isinstance(one, numbers.Real) and not isinstance(one, bool)
            if is_real and not allowed.holds(one):
                raise InputError(f"{name} is {one}; give a number in {allowed}")
            if is_real and is_number and float not in kinds and not isinstance(one, numbers.Integral):
                raise InputError(f"{name} is {one}; give a whole number in {allowed}")
            is_name = isinstance(one, str) and bool(choices)
            # What has a dtype may be traced.
            if is_number and not (is_real or is_name or type(one) in kinds or hasattr(one, "dtype")):
                raise InputError(f"{name} is {one!r}; give a number in {allowed}")
            if is_name:
                choose(dict.fromkeys(choices), one, name)

    def as_dict(self) -> dict[str, Any]:
        """Return the value of every setting, by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def unused(self) -> frozenset[str]:
        """Return the settings that have no effect beside the others."""
        return frozenset()

    def having(self: Own, values: Mapping[str, Any]) -> Own:
        """Return it with those of the values that are settings of its own."""
        own = {name: value for name, value in values.items() if name in kinds_of(type(self))}
        return replace(self, **own) if own else self


def kinds_of(settings: type[Settings]) -> dict[str, Any]:
    """Return the type of every setting, by its name."""
    hints = get_type_hints(settings)
    return {field.name: hints[field.name] for field in fields(settings)}


@cache
def _allowed(settings: type[Settings]) -> dict[str, tuple[Range, tuple[str, ...], frozenset[Any]]]:
    """Return range, choices and types of every setting, by its name; all finite numbers where its type has no range."""
    hints = get_type_hints(settings, include_extras=True)
    allowed = {}
    for name in kinds_of(settings):
        inside = list(_inside(hints[name]))
        numbers = next((one for one in inside if isinstance(one, Range)), Range(-math.inf, math.inf, "()"))
        kinds = frozenset(one for one in inside if isinstance(one, type))
        allowed[name] = numbers, tuple(one for one in inside if isinstance(one, str)), kinds
    return allowed


def _inside(kind: Any) -> Iterator[Any]:
    """Return the ranges, choices and types in a type."""
    if isinstance(kind, type):
        yield kind
    if get_origin(kind) in (Annotated, Literal):
        yield from kind.__metadata__ if get_origin(kind) is Annotated else get_args(kind)
    for inner in get_args(kind):
        yield from _inside(inner)


def name_of(registry: Mapping[str, type], settings: Settings) -> str:
    """Return the name of a class in a registry; of one that is not there, its own."""
    own = type(settings)
    return next((name for name, known in registry.items() if known is own), own.__name__)


def that_have(name: str, registry: Mapping[str, type[Settings]]) -> list[str]:
    """Return the names of the classes that have a setting."""
    return [key for key, settings in registry.items() if name in kinds_of(settings)]


def carried(settings: Settings, registry: Mapping[str, type[Own]], name: str, what: str) -> Own:
    """Return a class of a registry with those of the given settings that it has.

    What is at its default there is at its default here, which may be another.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    other: type[Own] = choose(registry, name, what)
    if type(settings) is other:
        return settings
    default = type(settings)()
    changed = {name: value for name, value in settings.as_dict().items() if value != getattr(default, name)}
    return other().having(changed)
