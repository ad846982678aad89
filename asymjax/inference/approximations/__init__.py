"""Approximations: each module a frozen dataclass of settings that makes an ``Approximation``, a density to draw from.

In: the ``Target`` of one chain. Out: independent draws of what was fitted to it. To add one: a module here, a line in
``APPROXIMATIONS``.
"""

from asymjax.inference.algorithm import Algorithm
from asymjax.inference.approximations.swag import SWAG

APPROXIMATIONS: dict[str, type[Algorithm]] = {"swag": SWAG}

__all__ = ["APPROXIMATIONS", "SWAG"]
