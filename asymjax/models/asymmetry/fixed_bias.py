"""Networks with fixed biases: random and frozen, while all weights are trained.

Biases of linear maps; where a map has none, of the norm after it.

The control of Lim et al. (2024), section 5.1: biases uniform in [-k, k] tell units apart as fixed weights do, yet their
ResNets connect no better than standard ones, for k from 1 to 27.
"""

from typing import Any

import jax.numpy as jnp

from asymjax import rng
from asymjax.config import ModelConfig
from asymjax.models.asymmetry.method import Constants, Layer, Method, broadcast_to_layers
from asymjax.types import Array, Key

DEFAULT_BOUND = 1.0


def settle(config: ModelConfig, layers: list[Layer]) -> list[Layer]:
    """Fill in ``fixed_scale``, the bound k of the biases of each layer.

    Raises
    ------
    InputError
        If there is neither one bound nor one a layer.
    """
    bounds = broadcast_to_layers(config.fixed_scale or (DEFAULT_BOUND,), layers, "fixed_scale")
    return [layer._replace(fixed_scale=bound) for layer, bound in zip(layers, bounds, strict=True)]


def freeze_bias(key: Key, layer: Layer, fixed_scale: Any) -> Constants:
    """Draw ``{"fixed_value": float32 [units]}``, uniform within fixed_scale * ``layer.fixed_scale``."""
    return {"fixed_value": fixed_scale * layer.fixed_scale * rng.uniform(key, (layer.num_units,), 1.0)}


def merge_kernel(leaf: Array | None, constants: Constants) -> Array:
    """Return the frozen biases; there is no leaf."""
    return constants["fixed_value"]


def take_nothing(bias: Array, constants: Constants) -> None:
    """Return None: no bias is trained."""


def free_mask(constants: Constants) -> Array:
    """Return that no bias is a coordinate, bool [units]."""
    return jnp.zeros(constants["fixed_value"].shape, bool)


METHOD = Method(
    settle=settle,
    freeze_bias=freeze_bias,
    merge_kernel=merge_kernel,
    split_kernel=take_nothing,
    init_kernel=take_nothing,
    free_mask=free_mask,
    note="Distinct biases tell units apart, along one direction of their input; what a norm undoes remains.",
)
