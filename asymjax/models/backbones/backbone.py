"""The contract of a backbone, and what all backbones share: activations and initialisers."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from asymjax import rng
from asymjax.errors import InputError, choose
from asymjax.settings import Count, Settings
from asymjax.types import Array, Feeds, Graph, Key, PermutationSpec

# (site name, x, feature axis) -> activations; how a method reaches the activations of a backbone.
ActivationHook = Callable[[str, Array, int], Array]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.1),
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "identity": lambda x: x,
    "half": lambda x: 0.5 * x,
}


@dataclass(frozen=True, kw_only=True)
class Backbone(Settings):
    """An architecture; its fields are its settings.

    Attributes
    ----------
    has_scan : whether its layers and activations stand in a scan, so that what enters them cannot be read.
    """

    has_scan: ClassVar[bool] = False

    norm: Literal["none", "layer", "batch"] = "layer"
    """Normalisation before each activation: none, layer (GroupNorm with one group in cnn, resnet), or batch (over all
    nodes; gcn)."""
    activation: str = "gelu"
    """Activation: relu, leaky_relu (slope 0.1 below zero), gelu, silu, tanh, identity, half (x / 2); in the rnn that of
    the candidate state, where tanh is usual. sigma_asym replaces it by its gate."""

    def module(self, num_outputs: int, activation: ActivationHook) -> nn.Module:
        """Build the Linen module, on inputs [rows, *input_shape] or on a graph."""
        raise NotImplementedError

    def permutation_spec(self) -> PermutationSpec:
        """Return which permutations of units act on the axes of its parameters and at its activation sites."""
        raise NotImplementedError

    def feeds(self) -> Feeds:
        """Return what its layers feed."""
        raise NotImplementedError

    def example(self, input_shape: tuple[int, ...]) -> Array | Graph:
        """Return inputs of one row, zeros [1, *input_shape]; says whether it takes an array or a graph."""
        return jnp.zeros((1, *input_shape))

    def with_width(self, width: float) -> "Backbone":
        """Return it with every hidden layer of a width."""
        raise NotImplementedError

    def narrowed(self, factor: float) -> "Backbone":
        """Return it with its hidden layers narrowed by a factor."""
        raise NotImplementedError

    def check(self) -> None:
        """Check the settings.

        Raises
        ------
        InputError
            If a name is unknown or a size cannot be.
        """
        choose(ACTIVATIONS, self.activation, "activation")

    def feed(self, layer: str, norm: str, site: str) -> dict[str, str]:
        """Return what a layer feeds: its norm, which feeds an activation site, or that site where there is no norm."""
        return {layer: site} if self.norm == "none" else {layer: norm, norm: site}


@dataclass(frozen=True)
class Layered(Backbone):
    """An architecture of hidden layers one after the other."""

    widths: tuple[Count, ...] = (32, 32)
    """Units of each hidden layer (mlp, rnn, gcn) or channels of each convolution (cnn)."""
    norm: Literal["none", "layer"] = field(default="layer", kw_only=True)
    """Normalisation before each activation: none, or layer (GroupNorm with one group in cnn)."""

    is_over_pixels: ClassVar[bool] = False
    """Whether a norm is over more than the units."""

    def check(self) -> None:
        """Check the settings together: a norm over one unit alone makes it a constant."""
        super().check()
        if self.norm == "layer" and 1 in self.widths and not self.is_over_pixels:
            raise InputError(f"widths is {self.widths}: a norm over one unit makes it a constant; give 2, or norm none")

    def with_width(self, width: float) -> "Layered":
        """Return it with so many units in every hidden layer, a whole number."""
        if width != int(width):
            raise InputError(f"width is {width}; give a whole number of units")
        return replace(self, widths=(int(width),) * len(self.widths))

    def narrowed(self, factor: float) -> "Layered":
        """Return it with that share of its units, one a layer at least."""
        return replace(self, widths=tuple(max(1, round(factor * width)) for width in self.widths))


def check_sizes(name: str, sizes: tuple[int, ...]) -> None:
    """Refuse sizes below 1.

    Raises
    ------
    InputError
        If there is one.
    """
    if any(size < 1 for size in sizes):
        raise InputError(f"{name} is {sizes}; every size must be at least 1")


def kernel_init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Draw a kernel, uniform in +-1/sqrt(fan_in), as in the multilayer perceptrons of Lim et al. (2024)."""
    return rng.uniform(key, shape, math.prod(shape[:-1]) ** -0.5).astype(dtype)


def bias_init(fan_in: int) -> Callable[..., Array]:
    """Return an initialiser of biases, uniform in +-1/sqrt(fan_in)."""

    def init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return rng.uniform(key, shape, fan_in**-0.5).astype(dtype)

    return init
