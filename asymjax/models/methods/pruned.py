"""Pruned networks: W-asymmetric masks whose fixed entries are zero (kappa = 0; Lim et al. 2024, theorem 1)."""

from dataclasses import dataclass
from typing import ClassVar

from asymjax.models.methods.method import Layer
from asymjax.models.methods.w_asym import Masked


@dataclass(frozen=True)
class Pruned(Masked):
    """The masks of :class:`~asymjax.models.methods.w_asym.WAsym` under the same key, with zeros as fixed values."""

    note: ClassVar[str] = (
        "Distinct masks remove the permutations (theorem 1); zeros stay zero under every rescaling and sign flip."
    )

    def settle(self, layers: list[Layer]) -> list[Layer]:
        """Fill in ``num_fixed`` of every layer; see :class:`Masked`."""
        return self.settle_masks(layers)
