"""Multilayer perceptron: hidden layers of linear map, optional LayerNorm and activation, then a linear map."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from asymjax.models.backbones.backbone import ActivationHook, Layered, bias_init, kernel_init
from asymjax.types import Array, Feeds, PermutationSpec


class UnitFirstDense(nn.Module):
    """``nn.Dense`` for activations laid out [units, rows], with the same parameters."""

    feature_axis: ClassVar[int] = 0

    features: int
    kernel_init: Callable
    bias_init: Callable

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map x [inputs, rows] to [features, rows]."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[0], self.features))
        bias = self.param("bias", self.bias_init, (self.features,))
        return lax.dot_general(kernel, x, (((0,), (0,)), ((), ()))) + bias[:, None]


class MLPModule(nn.Module):
    """Multilayer perceptron on flattened inputs.

    Attributes
    ----------
    widths : units of each hidden layer.
    num_outputs : outputs of the last, linear layer.
    norm : ``"none"``, or ``"layer"`` for a LayerNorm before each activation.
    unit_first : lay activations out [units, rows], for few units and many rows.
    activation : hook called at the sites ``act_0``, ``act_1``, ...
    """

    widths: tuple[int, ...]
    num_outputs: int
    norm: str
    unit_first: bool
    activation: ActivationHook

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return outputs [rows, num_outputs] of x [rows, ...]."""
        x = x.reshape(x.shape[0], -1)
        axis, dense = (0, UnitFirstDense) if self.unit_first else (-1, nn.Dense)
        # Without the barrier XLA folds the transpose into both products of the first layer and makes them slow.
        x = lax.optimization_barrier(x.T) if self.unit_first else x
        for i, width in enumerate(self.widths):
            x = dense(width, kernel_init=kernel_init, bias_init=bias_init(x.shape[axis]), name=f"dense_{i}")(x)
            if self.norm == "layer":
                x = nn.LayerNorm(reduction_axes=axis, feature_axes=axis, name=f"norm_{i}")(x)
            x = self.activation(f"act_{i}", x, axis)
        x = dense(self.num_outputs, kernel_init=kernel_init, bias_init=bias_init(x.shape[axis]), name="output")(x)
        return x.T if self.unit_first else jnp.asarray(x)


# Up to this width activations are laid out [units, rows]: few units make short rows, which fill no vector register.
UNIT_FIRST_WIDTH = 64


@dataclass(frozen=True)
class MLP(Layered):
    """Multilayer perceptron."""

    def module(self, num_outputs: int, activation: ActivationHook) -> nn.Module:
        """Build the module."""
        unit_first = bool(self.widths) and max(self.widths) <= UNIT_FIRST_WIDTH
        return MLPModule(self.widths, num_outputs, self.norm, unit_first, activation)

    def permutation_spec(self) -> PermutationSpec:
        """Return one permutation a hidden layer, of its kernel's columns, bias, norm and the next kernel's rows."""
        spec: dict[str, tuple[str | None, ...]] = {}
        incoming = None
        for i in range(len(self.widths)):
            outgoing = f"units_{i}"
            spec |= {f"dense_{i}/kernel": (incoming, outgoing), f"dense_{i}/bias": (outgoing,), f"act_{i}": (outgoing,)}
            if self.norm != "none":
                spec |= {f"norm_{i}/scale": (outgoing,), f"norm_{i}/bias": (outgoing,)}
            incoming = outgoing
        return spec | {"output/kernel": (incoming, None), "output/bias": (None,)}

    def feeds(self) -> Feeds:
        """Return a chain: each layer feeds its norm, and that its activation."""
        places: dict[str, str] = {}
        for i in range(len(self.widths)):
            places |= self.feed(f"dense_{i}", f"norm_{i}", f"act_{i}")
        return places
