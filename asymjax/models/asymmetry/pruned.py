"""Pruned networks: W-asymmetric masks whose fixed entries are zero (kappa = 0; Lim et al. 2024, theorem 1)."""

from typing import Any

from asymjax.models.asymmetry import w_asym
from asymjax.models.asymmetry.method import Constants, Layer
from asymjax.types import Key


def freeze_kernel(key: Key, layer: Layer, fixed_scale: Any) -> Constants | None:
    """Draw the same mask as ``w_asym`` under the same key, with zeros as fixed values."""
    return w_asym.freeze_kernel(key, layer, 0.0)


METHOD = w_asym.METHOD._replace(freeze_kernel=freeze_kernel)
