"""Pruned networks: W-asymmetric masks whose fixed entries are zero (kappa = 0; Lim et al. 2024, theorem 1).

The theorem asks that every unit has an incoming weight. Without an outgoing one a unit is no part of the function:
masks that leave it so are mended. Where the units of a layer keep too few weights for that, building the model warns.
"""

from dataclasses import dataclass
from typing import ClassVar

from asymjax.models.methods.method import Kernel
from asymjax.models.methods.w_asym import Masked


@dataclass(frozen=True)
class Pruned(Masked):
    """The masks of :class:`~asymjax.models.methods.w_asym.WAsym` under the same key, with zeros as fixed values.

    Masks under which no unit reads some input are others: see :mod:`asymjax.models.methods.w_asym`.
    """

    note: ClassVar[str] = (
        "Distinct masks remove the permutations (theorem 1); zeros stay zero under every rescaling and sign flip."
    )

    def settle(self, kernels: list[Kernel]) -> list[Kernel]:
        """Fill in ``num_fixed`` of every kernel; see :class:`Masked`."""
        return self.settle_masks(kernels)
