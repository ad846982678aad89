"""The contract of a backbone, and what all backbones share: activations and initialisers."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from asymjax import rng
from asymjax.config import ModelConfig
from asymjax.types import Array, Feeds, Graph, Key, PermutationSpec

# (site name, x, feature axis) -> activations; how a method reaches the activations of a backbone.
ActivationHook = Callable[[str, Array, int], Array]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "identity": lambda x: x,
    "half": lambda x: 0.5 * x,
}


def one_row(input_shape: tuple[int, ...]) -> Array:
    """Return zeros [1, *input_shape]."""
    return jnp.zeros((1, *input_shape))


class Backbone(NamedTuple):
    """An architecture.

    Attributes
    ----------
    make_module : (config, num_outputs, activation hook) -> Linen module on inputs [rows, *input_shape], or on a graph.
    permutation_spec : (config) -> PermutationSpec of its parameters.
    feeds : (config) -> Feeds of its layers.
    example : (input_shape) -> inputs of one row; says whether the module takes an array or a graph.
    norms : what it knows of ``ModelConfig.norm``.
    has_scan : whether its layers and activations stand in a scan, so that what enters them cannot be read.
    """

    make_module: Callable[[ModelConfig, int, ActivationHook], nn.Module]
    permutation_spec: Callable[[ModelConfig], PermutationSpec]
    feeds: Callable[[ModelConfig], Feeds]
    example: Callable[[tuple[int, ...]], Array | Graph] = one_row
    norms: tuple[str, ...] = ("none", "layer")
    has_scan: bool = False


def feed(config: ModelConfig, layer: str, norm: str, site: str) -> dict[str, str]:
    """Return what a layer feeds: its norm, which feeds an activation site, or that site where there are no norms."""
    return {layer: site} if config.norm == "none" else {layer: norm, norm: site}


def kernel_init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Draw a kernel, uniform in +-1/sqrt(fan_in), as in the networks of Lim et al. (2024)."""
    return rng.uniform(key, shape, math.prod(shape[:-1]) ** -0.5).astype(dtype)


def bias_init(fan_in: int) -> Callable[..., Array]:
    """Return an initialiser of biases, uniform in +-1/sqrt(fan_in)."""

    def init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return rng.uniform(key, shape, fan_in**-0.5).astype(dtype)

    return init
