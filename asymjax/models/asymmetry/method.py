"""The contract of a symmetry-breaking method; its defaults are the method that breaks nothing."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from asymjax.config import ModelConfig
from asymjax.errors import InputError
from asymjax.types import Array, Key

Activation = Callable[[Array], Array]
Constants = dict[str, Array]
T = TypeVar("T")


class Layer(NamedTuple):
    """One kernel of a backbone, as a method sees it.

    Attributes
    ----------
    path : parameter path, for example ``"dense_0/kernel"``.
    shape : kernel shape; the last axis counts the units, the others are the fan-in.
    is_last : whether its units are the network's outputs.
    prior_scale : standard deviation that the prior gives to its entries.
    num_fixed : fixed inputs of each unit (fixed input channels for ``filter_subsets``).
    fixed_scale : standard deviation of what is fixed, before the multiplier that ``freeze`` takes.
    mask_kind : see ``ModelConfig.mask_kind``.
    bias : parameter path of the bias of its units, its own or that of the norm after it; empty if there is none.
    """

    path: str
    shape: tuple[int, ...]
    is_last: bool
    prior_scale: float
    num_fixed: int = 0
    fixed_scale: float = 0.0
    mask_kind: str = "random_subsets"
    bias: str = ""

    @property
    def fan_in(self) -> int:
        """Inputs of one unit."""
        return math.prod(self.shape[:-1])

    @property
    def num_units(self) -> int:
        """Units, the size of the last axis."""
        return self.shape[-1]


def _settle(config: ModelConfig, layers: list[Layer]) -> list[Layer]:
    return layers


def _leave_kernel(key: Key, layer: Layer, fixed_scale: Any) -> Constants | None:
    return None


def _same(kernel: Array, constants: Constants) -> Array | None:
    return kernel


def _leave_gate(key: Key, config: ModelConfig, width: int, fixed_scale: Any) -> Constants | None:
    return None


def _plain_activation(activation: Activation, x: Array, gate: Constants | None, feature_axis: int) -> Array:
    return activation(x)


class Method(NamedTuple):
    """A reparametrisation of kernels plus an activation. Every function is pure and can be traced.

    Attributes
    ----------
    settle : (config, layers) -> layers with ``num_fixed`` and ``fixed_scale`` filled in; raises InputError on
        settings that cannot be met.
    freeze_kernel : (key, layer, fixed_scale) -> constants of one kernel, or None to leave that kernel plain.
    freeze_bias : the same of the bias of the layer's units; what follows then takes biases, too.
    merge_kernel : (leaf, constants) -> kernel; affine in the leaf, which is None where nothing is free.
    split_kernel : (kernel, constants) -> leaf, or None where nothing is free.
    init_kernel : (kernel, constants) -> leaf of a fresh network whose plain initialisation is ``kernel``.
    free_mask : (constants) -> boolean kernel, True where an entry is a coordinate of the leaf; None when the
        entries of the kernel are not coordinates.
    freeze_gate : (key, config, width, fixed_scale) -> constants of one activation site, or None for a plain one.
    activate : (activation, x, gate, feature_axis) -> activations of x.
    note : one sentence on what becomes of the symmetries, shown by ``describe``.
    """

    settle: Callable[[ModelConfig, list[Layer]], list[Layer]] = _settle
    freeze_kernel: Callable[[Key, Layer, Any], Constants | None] = _leave_kernel
    freeze_bias: Callable[[Key, Layer, Any], Constants | None] = _leave_kernel
    merge_kernel: Callable[[Any, Constants], Array] = _same  # type: ignore[assignment]
    split_kernel: Callable[[Array, Constants], Array | None] = _same
    init_kernel: Callable[[Array, Constants], Array | None] = _same
    free_mask: Callable[[Constants], Array] | None = _same  # type: ignore[assignment]
    freeze_gate: Callable[[Key, ModelConfig, int, Any], Constants | None] = _leave_gate
    activate: Callable[[Activation, Array, Constants | None, int], Array] = _plain_activation
    note: str = "Every symmetry of the network is there."


def broadcast_to_layers(values: Sequence[T], layers: Sequence[Layer], name: str) -> list[T]:
    """Return one value a layer, given one for all or one for each.

    Raises
    ------
    InputError
        If there is neither one value nor one a layer.
    """
    if len(values) == 1:
        return [values[0]] * len(layers)
    if len(values) != len(layers):
        paths = ", ".join(layer.path for layer in layers)
        raise InputError(f"{name} has {len(values)} values; give 1, or one for each of {len(layers)} layers: {paths}")
    return list(values)
