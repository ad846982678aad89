"""Variational inference: each module a frozen dataclass of settings of one family of densities, fitted by steps.

In: the ``Target`` of one fit. Out: independent draws of what was fitted, and bounds on the evidence. To add a family:
a module here, and a line in ``FAMILIES``.
"""

from asymjax.inference.algorithm import Algorithm
from asymjax.inference.vi.fullrank import FullRank
from asymjax.inference.vi.lowrank import LowRank
from asymjax.inference.vi.meanfield import MeanField

FAMILIES: dict[str, type[Algorithm]] = {"meanfield": MeanField, "fullrank": FullRank, "lowrank": LowRank}

__all__ = ["FAMILIES", "FullRank", "LowRank", "MeanField"]
