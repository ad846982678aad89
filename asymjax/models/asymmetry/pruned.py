"""Pruned networks: W-asymmetric masks whose fixed entries are zero (kappa = 0; Lim et al. 2024, theorem 1)."""

from asymjax.config import ModelConfig
from asymjax.models.asymmetry import w_asym
from asymjax.models.asymmetry.method import Layer


def settle(config: ModelConfig, layers: list[Layer]) -> list[Layer]:
    """Settle as ``w_asym`` does, hence the same masks under the same key, with zeros as fixed values."""
    return [layer._replace(fixed_scale=0.0) for layer in w_asym.settle(config, layers)]


METHOD = w_asym.METHOD._replace(
    settle=settle,
    note="Distinct masks remove the permutations (theorem 1); zeros stay zero under every rescaling and sign flip.",
)
