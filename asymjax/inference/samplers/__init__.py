"""Samplers: each module makes a ``Sampler`` (init, step, collect) from a log density and tuned values.

In: (position) -> log density. Out: draws. To add one: a module here, a line in ``SAMPLERS``.
"""

from collections.abc import Callable

from asymjax.inference.samplers.hmc import make_hmc
from asymjax.types import Sampler

SAMPLERS: dict[str, Callable[..., Sampler]] = {"hmc": make_hmc}

__all__ = ["SAMPLERS"]
