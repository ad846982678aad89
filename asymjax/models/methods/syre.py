"""Syre: every kernel is trained as a difference from a frozen random offset, W_eff = W + theta0.

Ziyin et al. (2025), arXiv 2408.15495: minimise l(theta + theta0) + gamma |theta|^2 with a Gaussian theta0. There every
parameter is offset, by about 1 % of its initial scale; here kernels alone, by default at the scale of their prior, in
the manner of the syre layers of arXiv 2606.04754. The network keeps its symmetries, about -theta0: it is the prior or
the weight decay on W, centred elsewhere, that does not share them.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from asymjax import rng
from asymjax.models.methods.method import Constants, Kernel, Method, with_fixed_scales
from asymjax.settings import NonNegative
from asymjax.types import Array, Key


@dataclass(frozen=True)
class Syre(Method):
    """Kernels trained as differences from random offsets.

    Examples
    --------
    >>> from asymjax.models.methods import Syre
    >>> Syre(fixed_scale=(0.1,)).has_coordinates
    False
    """

    note: ClassVar[str] = (
        "The network keeps every symmetry, acting on W + offset; a prior or weight decay on W keeps no permutation or "
        "sign flip of it."
    )
    has_coordinates: ClassVar[bool] = False

    fixed_scale: tuple[NonNegative, ...] = ()
    """Standard deviation of the offsets, once or one a layer. Default: that of the prior."""

    def settle(self, kernels: list[Kernel]) -> list[Kernel]:
        """Fill in ``fixed_scale`` of every kernel.

        Raises
        ------
        InputError
            If there is neither one scale nor one a layer.
        """
        default = [kernel.prior_scale for kernel in kernels]
        return with_fixed_scales(kernels, self.fixed_scale or default)

    def freeze_kernel(self, key: Key, kernel: Kernel, fixed_scale: Any) -> Constants:
        """Draw ``{"offset": float32, kernel shape}``, with standard deviation fixed_scale * ``kernel.fixed_scale``."""
        return {"offset": fixed_scale * kernel.fixed_scale * rng.normal(key, kernel.shape)}

    def merge_kernel(self, leaf: Array | None, constants: Constants) -> Array:
        """Return the effective kernel W + theta0."""
        assert leaf is not None
        return leaf + constants["offset"]

    def split_kernel(self, kernel: Array, constants: Constants) -> Array:
        """Return W; of a merged leaf it is exact to one unit in the last place of the larger of W and theta0."""
        return kernel - constants["offset"]

    def init_kernel(self, kernel: Array, constants: Constants) -> Array:
        """Return the plain initialisation as W: a fresh network is a plain one moved by theta0."""
        return kernel
