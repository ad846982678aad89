"""Syre: every kernel is trained as a difference from a frozen random offset, W_eff = W + theta0.

Ziyin et al. (2025), arXiv 2408.15495: minimise l(theta + theta0) + gamma |theta|^2 with a Gaussian theta0. There every
parameter is offset, by about 1 % of its initial scale; here kernels alone, by default at the scale of their prior, in
the manner of the syre layers of arXiv 2606.04754. The network keeps its symmetries, about -theta0: it is the prior or
the weight decay on W, centred elsewhere, that does not share them.
"""

from typing import Any

from asymjax import rng
from asymjax.config import ModelConfig
from asymjax.models.asymmetry.method import Constants, Layer, Method, broadcast_to_layers
from asymjax.types import Array, Key


def settle(config: ModelConfig, layers: list[Layer]) -> list[Layer]:
    """Fill in ``fixed_scale``: as configured, or the standard deviation of the prior.

    Raises
    ------
    InputError
        If there is neither one scale nor one a layer.
    """
    default = [layer.prior_scale for layer in layers]
    scales = broadcast_to_layers(config.fixed_scale or default, layers, "fixed_scale")
    return [layer._replace(fixed_scale=scale) for layer, scale in zip(layers, scales, strict=True)]


def freeze_kernel(key: Key, layer: Layer, fixed_scale: Any) -> Constants:
    """Draw ``{"offset": float32, kernel shape}``, with standard deviation fixed_scale * ``layer.fixed_scale``."""
    return {"offset": fixed_scale * layer.fixed_scale * rng.normal(key, layer.shape)}


def merge_kernel(leaf: Array, constants: Constants) -> Array:
    """Return the effective kernel W + theta0."""
    return leaf + constants["offset"]


def split_kernel(kernel: Array, constants: Constants) -> Array:
    """Return the leaf W; of a merged leaf it is exact to one unit in the last place of the larger of W and theta0."""
    return kernel - constants["offset"]


METHOD = Method(
    settle=settle,
    freeze_kernel=freeze_kernel,
    merge_kernel=merge_kernel,
    split_kernel=split_kernel,
    free_mask=None,
    note="The network keeps every symmetry, acting on W + offset; a prior or weight decay on W keeps no permutation "
    "or sign flip of it.",
)
