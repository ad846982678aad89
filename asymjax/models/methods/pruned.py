"""Pruned networks: W-asymmetric masks whose fixed entries are zero (kappa = 0; Lim et al. 2024, theorem 1)."""

from dataclasses import dataclass
from typing import ClassVar

from asymjax.models.methods.method import Kernel
from asymjax.models.methods.w_asym import Masked


@dataclass(frozen=True)
class Pruned(Masked):
    """The masks of :class:`~asymjax.models.methods.w_asym.WAsym` under the same key, with zeros as fixed values."""

    note: ClassVar[str] = (
        "Distinct masks remove the permutations (theorem 1); zeros stay zero under every rescaling and sign flip."
    )

    def settle(self, kernels: list[Kernel]) -> list[Kernel]:
        """Fill in ``num_fixed`` of every kernel; see :class:`Masked`."""
        return self.settle_masks(kernels)
