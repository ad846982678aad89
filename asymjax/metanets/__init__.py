"""Metanetworks: networks that read the weights of networks, with every symmetry or none.

Comes in: a :class:`Zoo`, trained networks with what was measured of each. Goes out: predictions of it from the weights.
Sheet of formulas: Lim et al. (2024), arXiv 2405.20231, for the baselines; Zhou et al. (2024), arXiv 2402.05232, for the
equivariant layers.

To add one, write a module with a frozen dataclass, a :class:`Metanetwork` with ``make``, and a line in ``METANETS``.
"""

from asymjax.metanets.equivariant import HNP, NP
from asymjax.metanets.metanet import Metanet, Metanetwork, Read, plain
from asymjax.metanets.scales import ScaleHNP
from asymjax.metanets.zoo import Parts, Zoo, split

METANETS: dict[str, type[Metanetwork]] = {"hnp": HNP, "np": NP, "scale_hnp": ScaleHNP}

__all__ = ["METANETS", "Metanet", "Metanetwork", "Parts", "Read", "Zoo", "plain", "split"]
