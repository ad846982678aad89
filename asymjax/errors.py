"""Errors that are not bugs: what a user can mend, and how a run ended early."""


class InputError(ValueError):
    """What was given cannot be used; the message says what was given, what was expected and what to do."""


class DivergedError(ArithmeticError):
    """A loss or log density left the finite numbers; the message names the seed or chain and the step."""


class StopRequestedError(Exception):
    """The process was asked to stop (SIGTERM), and has checkpointed."""
