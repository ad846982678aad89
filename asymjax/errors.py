"""Errors that are not bugs: what a user can mend, and how a run ended early."""

from collections.abc import Mapping
from typing import Any


class InputError(ValueError):
    """What was given cannot be used; the message names what was given, what was expected and what to do."""


class ReadingError(AssertionError):
    """What was read of a network failed its test by numbers: a bug of this library, not of the network."""


class DivergedError(ArithmeticError):
    """A loss or log density left the finite numbers; the message names the seed or chain and the step."""


class StopRequestedError(Exception):
    """The process was asked to stop (SIGTERM), and has checkpointed."""


def choose(registry: Mapping[str, Any], name: str, what: str) -> Any:
    """Look a name up.

    Raises
    ------
    InputError
        If the name is unknown; the message lists the known ones.
    """
    if name not in registry:
        raise InputError(f"unknown {what} {name!r}, choose from {', '.join(registry)}")
    return registry[name]
