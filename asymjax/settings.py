"""What frozen dataclasses of settings share, and which of them have a setting."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, get_origin, get_type_hints

from asymjax.errors import choose

Own = TypeVar("Own", bound="Settings")


@dataclass(frozen=True)
class Settings:
    """A frozen dataclass whose fields are settings; their docstrings are the command line's help.

    Where a setting is a tuple, one value stands for a tuple of one, and a list for a tuple.
    """

    def __post_init__(self) -> None:
        for name, kind in kinds_of(type(self)).items():
            value = getattr(self, name)
            if get_origin(kind) is tuple and not isinstance(value, tuple):
                object.__setattr__(self, name, tuple(value) if isinstance(value, list) else (value,))

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
