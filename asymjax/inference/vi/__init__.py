"""Variational inference: each module a frozen dataclass of settings of one family of densities, fitted to a posterior.

In: the ``Target`` of one fit. Out: independent draws of what was fitted, and bounds on the evidence. To add a family:
a module here, and a line in ``FAMILIES``.
"""

from asymjax.inference.algorithm import Algorithm
from asymjax.inference.vi.fullrank import FullRank
from asymjax.inference.vi.ivon import IVON
from asymjax.inference.vi.laplace import Laplace
from asymjax.inference.vi.lowrank import LowRank
from asymjax.inference.vi.meanfield import MeanField
from asymjax.inference.vi.ordered import Ordered
from asymjax.inference.vi.pathfinder import Pathfinder
from asymjax.inference.vi.svgd import SVGD

FAMILIES: dict[str, type[Algorithm]] = {
    "meanfield": MeanField,
    "ivon": IVON,
    "lowrank": LowRank,
    "fullrank": FullRank,
    "ordered": Ordered,
    "laplace": Laplace,
    "pathfinder": Pathfinder,
    "svgd": SVGD,
}

__all__ = [
    *("FAMILIES", "IVON", "SVGD", "FullRank", "Laplace", "LowRank", "MeanField", "Ordered", "Pathfinder"),
]
