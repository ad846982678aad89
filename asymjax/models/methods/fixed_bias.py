"""Networks with fixed biases: random and frozen, while all weights are trained.

Biases of linear maps; where a map has none, of the norm after it.

The control of Lim et al. (2024), section 5.1: biases uniform in [-k, k] tell units apart as fixed weights do, yet their
ResNets connect no better than standard ones, for k from 1 to 27.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from asymjax import rng
from asymjax.models.methods.method import Constants, Kernel, Method, with_fixed_scales
from asymjax.settings import NonNegative
from asymjax.types import Array, Key


@dataclass(frozen=True)
class FixedBias(Method):
    """Biases that are not trained."""

    note: ClassVar[str] = (
        "Distinct biases tell units apart, along one direction of their input; what a norm undoes remains, and without "
        "a norm relu units whose biases have one sign change places by a scaling."
    )

    fixed_scale: tuple[NonNegative, ...] = (1.0,)
    """Bound of the fixed biases, once or one a layer."""

    def settle(self, kernels: list[Kernel]) -> list[Kernel]:
        """Fill in ``fixed_scale``, the bound k of the biases of each layer.

        Raises
        ------
        InputError
            If there is neither one bound nor one a layer.
        """
        return with_fixed_scales(kernels, self.fixed_scale)

    def freeze_bias(self, key: Key, kernel: Kernel, fixed_scale: Any) -> Constants:
        """Draw ``{"fixed_value": float32, bias shape}``, uniform within fixed_scale * ``kernel.fixed_scale``."""
        assert kernel.bias is not None
        return {"fixed_value": fixed_scale * kernel.fixed_scale * rng.uniform(key, kernel.bias.shape, 1.0)}

    def merge_kernel(self, leaf: Array | None, constants: Constants) -> Array:
        """Return the frozen biases; there is no leaf."""
        return constants["fixed_value"]

    def split_kernel(self, kernel: Array, constants: Constants) -> None:
        """Return None: no bias is trained."""

    def free_mask(self, constants: Constants) -> Array:
        """Return that no bias is a coordinate, bool of the bias's shape."""
        return jnp.zeros(constants["fixed_value"].shape, bool)
