"""Variational inference: each module a frozen dataclass of settings of one family of densities, fitted by steps.

In: the ``Target`` of one fit. Out: independent draws of what was fitted, and bounds on the evidence. To add a family:
a module here, and a line in ``FAMILIES``.
"""

from asymjax.inference.algorithm import Algorithm
from asymjax.inference.vi.fullrank import FullRank
from asymjax.inference.vi.ivon import IVON
from asymjax.inference.vi.lowrank import LowRank
from asymjax.inference.vi.meanfield import MeanField
from asymjax.inference.vi.ordered import Ordered

FAMILIES: dict[str, type[Algorithm]] = {
    "meanfield": MeanField,
    "ivon": IVON,
    "lowrank": LowRank,
    "fullrank": FullRank,
    "ordered": Ordered,
}

__all__ = ["FAMILIES", "IVON", "FullRank", "LowRank", "MeanField", "Ordered"]
