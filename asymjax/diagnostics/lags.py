"""Lags at which draws of a chain are compared."""

from collections.abc import Sequence

from asymjax.errors import InputError


def default_lags(num_draws: int) -> list[int]:
    """Return 1, 4, 16, ... and the largest that so many draws have."""
    return sorted({1, *(4**power for power in range(1, 10) if 4**power < num_draws - 1), num_draws - 1})


def check_lags(lags: Sequence[int], num_draws: int) -> None:
    """Check that so many draws have these lags.

    Raises
    ------
    InputError
        If one is below 1, or not below the number of draws.
    """
    if not all(1 <= lag < num_draws for lag in lags):
        raise InputError(f"lags are {tuple(lags)}; {num_draws} draws have lags from 1 to {num_draws - 1}")
