"""The contract of a symmetry-breaking method."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from asymjax.errors import InputError
from asymjax.settings import Settings
from asymjax.types import Array, Key, Layer

Activation = Callable[[Array], Array]
Constants = dict[str, Array]
T = TypeVar("T")


class Kernel(NamedTuple):
    """One kernel of a network, as a method sees it.

    Attributes
    ----------
    layer : where it is, and which of its axes are inputs and units.
    prior_scale : standard deviation that the prior gives to its entries.
    num_fixed : fixed inputs of each unit (fixed input channels for ``filter_subsets``).
    fixed_scale : standard deviation of what is fixed, before the multiplier that ``freeze`` takes.
    mask_kind : see ``WAsym.mask_kind``.
    bias : the bias of its units, its own or that of the norm after it; None if there is none.
    """

    layer: Layer
    prior_scale: float
    num_fixed: int = 0
    fixed_scale: float = 0.0
    mask_kind: str = "random_subsets"
    bias: Layer | None = None

    @property
    def path(self) -> str:
        """Path of the parameter."""
        return self.layer.path

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameter."""
        return self.layer.shape

    @property
    def num_channels(self) -> int:
        """Inputs of one unit at one place of its window."""
        return math.prod(self.shape[axis] for axis in self.layer.in_axes)

    def from_view(self, view: Array) -> Array:
        """Return in the kernel's shape what is given as [layers, window x inputs, units]."""
        layer = self.layer
        placed = (*layer.batch_axes, *layer.window_axes, *layer.in_axes, *layer.out_axes)
        # An axis of one index may have no place.
        order = (*(axis for axis in range(len(self.shape)) if axis not in placed), *placed)
        return view.reshape([self.shape[axis] for axis in order]).transpose(np.argsort(order))


@dataclass(frozen=True)
class Method(Settings):
    """A reparametrisation of kernels plus an activation; its fields are its settings.

    Every function is pure and can be traced. This one breaks nothing; a method overrides that in which it differs.

    Attributes
    ----------
    note : one sentence on what becomes of the symmetries, shown by ``describe``.
    has_coordinates : whether entries of effective kernels are coordinates of the position, so that training may hold
        effective weights; if not, as where leaf and kernel differ by an offset, it works on the position.

    Examples
    --------
    >>> import asymjax
    >>> float(asymjax.Method().activate(abs, -2.0, None, -1))
    2.0
    """

    note: ClassVar[str] = "Every symmetry of the network is there."
    has_coordinates: ClassVar[bool] = True

    def settle(self, kernels: list[Kernel]) -> list[Kernel]:
        """Return the kernels with ``num_fixed`` and ``fixed_scale`` filled in.

        Raises
        ------
        InputError
            If the settings cannot be met.
        """
        return kernels

    def freeze_kernel(self, key: Key, kernel: Kernel, fixed_scale: Any) -> Constants | None:
        """Draw the constants of one kernel, or return None to leave that kernel plain."""
        return None

    def freeze_bias(self, key: Key, kernel: Kernel, fixed_scale: Any) -> Constants | None:
        """Draw the constants of ``kernel.bias``; ``merge_kernel`` and what follows then take biases too."""
        return None

    def merge_kernel(self, leaf: Array | None, constants: Constants) -> Array:
        """Return the effective kernel; affine in the leaf, which is None where nothing is free."""
        raise TypeError(f"{type(self).__name__} freezes kernels, so it has to merge them")

    def split_kernel(self, kernel: Array, constants: Constants) -> Array | None:
        """Return the leaf of a kernel, or None where nothing is free."""
        raise TypeError(f"{type(self).__name__} freezes kernels, so it has to split them")

    def init_kernel(self, kernel: Array, constants: Constants) -> Array | None:
        """Return the leaf of a fresh network whose plain initialisation is ``kernel``."""
        return self.split_kernel(kernel, constants)

    def free_mask(self, constants: Constants) -> Array:
        """Return where the kernel's entries are coordinates of the leaf, bool of its shape."""
        raise TypeError(f"{type(self).__name__} has coordinates, so it has to say which entries they are")

    def freeze_gate(self, key: Key, width: int, fixed_scale: Any) -> Constants | None:
        """Draw the constants of one activation site, or return None for a plain one."""
        return None

    def activate(self, activation: Activation, x: Array, gate: Constants | None, feature_axis: int) -> Array:
        """Return the activations of x."""
        return activation(x)


def broadcast_to_layers(values: Sequence[T], kernels: Sequence[Kernel], name: str) -> list[T]:
    """Return one value a layer, given one for all or one for each.

    Raises
    ------
    InputError
        If there is neither one value nor one a layer.
    """
    if len(values) == 1:
        return [values[0]] * len(kernels)
    if len(values) != len(kernels):
        paths = ", ".join(kernel.path for kernel in kernels)
        raise InputError(f"{name} has {len(values)} values; give 1, or one for each of {len(kernels)} layers: {paths}")
    return list(values)


def with_fixed_scales(kernels: Sequence[Kernel], scales: Sequence[float]) -> list[Kernel]:
    """Return the kernels with ``fixed_scale`` filled in, given one for all or one for each.

    Raises
    ------
    InputError
        If there is neither one scale nor one a layer, or one is not 0 or more.
    """
    if not all(0 <= scale < math.inf for scale in scales):
        raise InputError(f"fixed_scale is {tuple(scales)}; give numbers of 0 or more")
    scales = broadcast_to_layers(scales, kernels, "fixed_scale")
    return [kernel._replace(fixed_scale=scale) for kernel, scale in zip(kernels, scales, strict=True)]
