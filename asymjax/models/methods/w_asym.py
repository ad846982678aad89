"""W-asymmetric networks: in every unit some weights are fixed and frozen, the rest are trained.

W_eff = M * W + (1 - M) * F with F = kappa * N(0, 1) (Lim et al. 2024, section 4.1). The trained entries are packed into
one flat leaf a kernel, so that nothing frozen is ever a coordinate.

Where F is zero (``pruned``, and ``w_asym`` of ``fixed_scale`` zero) an input whose weights are all fixed is read by no
unit. Masks are then mended as far as their counts allow, which changes no mask that cuts off nothing.
"""

import math
import warnings
from dataclasses import dataclass
from itertools import chain, combinations, islice
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asymjax import rng
from asymjax.errors import InputError
from asymjax.models.methods.method import Constants, Kernel, Method, broadcast_to_layers, with_fixed_scales
from asymjax.settings import Natural, NonNegative, Share
from asymjax.types import Array, Key

DEFAULT_FRACTION, DEFAULT_LAST_FRACTION = 1 / 8, 1 / 2


# Which inputs are fixed ------------------------------------------------------------------------------------------


def num_choices(kernel: Kernel) -> int:
    """Return how many inputs of a unit can be fixed: its fan-in, or its input channels for ``filter_subsets``."""
    return kernel.num_channels if kernel.mask_kind == "filter_subsets" else kernel.layer.fan_in


def _default_num_fixed(kernel: Kernel) -> int:
    """Return the smallest feasible count at or above the default fraction."""
    choices = num_choices(kernel)
    count = max(1, round(choices * (DEFAULT_LAST_FRACTION if kernel.layer.is_output else DEFAULT_FRACTION)))
    while count < choices and math.comb(choices, count) < kernel.layer.num_units:
        count += 1
    return count


def _num_unread(kernel: Kernel) -> int:
    """Return how many inputs no unit can read, however masks are drawn: where fixed weights are zero, free ones lack.

    The first of the densest masks fixes nothing, so there every input is read.
    """
    if kernel.fixed_scale or kernel.mask_kind == "densest":
        return 0
    num_free = kernel.layer.num_units * (num_choices(kernel) - kernel.num_fixed)
    return max(0, kernel.num_channels - num_free)


def _check(kernel: Kernel) -> Kernel:
    """Refuse what cannot be met, warn of a kernel without a free entry and of inputs that no unit can read."""
    choices, units, count = num_choices(kernel), kernel.layer.num_units, kernel.num_fixed
    where = f"{kernel.path} {kernel.shape}"
    if kernel.mask_kind == "densest":
        if choices < 64 and units > 2**choices:
            raise InputError(f"{where}: {units} units need distinct masks, {choices} inputs have only {2**choices}")
        return kernel
    if not 0 <= count <= choices:
        raise InputError(f"{where}: num_fixed is {count}; each unit has {choices} inputs that can be fixed")
    if 0 < count < choices and math.comb(choices, count) < units:
        raise InputError(
            f"{where}: {units} units need distinct masks, but {choices} inputs have only "
            f"{math.comb(choices, count)} subsets of num_fixed = {count}"
        )
    if count == choices:
        warnings.warn(
            f"{where}: num_fixed = {count} is the whole fan-in, so this kernel is not trained; give a smaller "
            f"num_fixed or, where that is the default, fewer than {units} units, whose masks have to be distinct",
            stacklevel=2,
        )
    if num_unread := _num_unread(kernel):
        warnings.warn(
            f"{where}: {num_unread} of {kernel.num_channels} inputs have no outgoing weight, since num_fixed = {count} "
            f"makes {count} of the {choices} weights of each of {units} units zero; give a smaller num_fixed",
            stacklevel=2,
        )
    return kernel


def _count(value: int | float, kernel: Kernel) -> int:
    if isinstance(value, int):
        return value
    if not 0 <= value <= 1:
        raise InputError(f"num_fixed = {value} for {kernel.path}: a fraction of the fan-in lies in [0, 1]")
    return round(value * num_choices(kernel))


def _mask_kind(mask_kind: str, kernel: Kernel) -> str:
    """Whole channels exist in convolutions only; dense layers of such a network fix single inputs."""
    return "random_subsets" if mask_kind == "filter_subsets" and not kernel.layer.window_axes else mask_kind


def _random_subsets(key: Key, num_units: int, num_choices: int, num_fixed: int) -> Array:
    """Draw one subset a unit [num_units, num_choices] bool, all distinct.

    Units that repeat an earlier one are drawn again until none does; this is uniform over distinct families.
    """
    index_bits = (num_choices - 1).bit_length()

    def draw(key: Key) -> Array:
        bits = rng.bits(key, (num_units, num_choices))
        # The column in the low bits makes the numbers of a row distinct, so that exactly num_fixed pass.
        bits = (bits >> index_bits << index_bits) | jnp.arange(num_choices, dtype=bits.dtype)[None]
        return bits <= jnp.sort(bits, axis=1)[:, num_fixed - 1 : num_fixed]

    def repeats(mask: Array) -> Array:
        rows = mask.astype(jnp.float32)
        same = jnp.matmul(rows, rows.T, precision=lax.Precision.HIGHEST) == num_fixed
        return jnp.any(jnp.tril(same, -1), axis=1)

    def redraw(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        attempt, mask, is_open = carry
        mask = jnp.where(is_open[:, None], draw(jax.random.fold_in(key, attempt)), mask)
        return attempt + 1, mask, repeats(mask)

    start = (jnp.array(0, "int32"), jnp.zeros((num_units, num_choices), bool), jnp.ones(num_units, bool))
    return lax.while_loop(lambda carry: jnp.any(carry[2]), redraw, start)[1]


def _read_by_some(mask: Array, num_channels: int) -> Array:
    """Let inputs that no unit reads take over weights of inputs that several read, the most read first.

    As many weights of each unit stay fixed, and masks stay distinct: a unit whose mask changes is then the only one
    that reads some input.

    Parameters
    ----------
    mask : bool [units, choices], True where fixed; ``choices`` is [window, channels], flat.
    num_channels : inputs at one place of the window.
    """
    num_choices = mask.shape[1]

    def num_reading(mask: Array) -> Array:
        return jnp.sum((~mask).reshape(-1, num_channels), axis=0)

    def is_open(mask: Array) -> Array:
        counts = num_reading(mask)
        return jnp.any(counts == 0) & jnp.any(counts > 1)

    def exchange(mask: Array) -> Array:
        counts = num_reading(mask)
        unread, most_read = jnp.argmin(counts), jnp.argmax(counts)
        free = ~mask & (jnp.arange(num_choices) % num_channels == most_read)[None]
        unit, choice = jnp.divmod(jnp.argmax(free), num_choices)
        return mask.at[unit, choice].set(True).at[unit, choice - most_read + unread].set(False)

    return lax.while_loop(is_open, exchange, mask)


def _densest(num_units: int, num_choices: int) -> np.ndarray:
    """Fix nothing in the first unit, then all 1-subsets, then 2-subsets, in lexicographic order."""
    subsets = chain.from_iterable(combinations(range(num_choices), size) for size in range(num_choices + 1))
    mask = np.zeros((num_units, num_choices), bool)
    for row, subset in zip(mask, islice(subsets, num_units), strict=True):
        row[list(subset)] = True
    return mask


def is_fixed(key: Key, kernel: Kernel) -> Array:
    """Return which entries of a kernel are fixed, bool of the kernel's shape."""
    choices, num_units, num_layers = num_choices(kernel), kernel.layer.num_units, kernel.layer.num_layers

    def draw(key: Key) -> Array:
        mask = _random_subsets(key, num_units, choices, kernel.num_fixed)
        return mask if kernel.fixed_scale else _read_by_some(mask, kernel.num_channels)

    if kernel.mask_kind == "densest":
        masks = jnp.asarray(_densest(num_units, choices))[None]
    elif kernel.num_fixed in (0, choices):
        masks = jnp.full((1, num_units, choices), kernel.num_fixed > 0)
    elif num_layers == 1:
        masks = draw(key)[None]
    else:
        masks = jax.vmap(draw)(jax.random.split(key, num_layers))
    view = jnp.moveaxis(masks, 1, 2)[:, None]
    return kernel.from_view(jnp.broadcast_to(view, (num_layers, kernel.layer.fan_in // choices, choices, num_units)))


def num_frozen(kernel: Kernel) -> int:
    """Return how many entries of the kernel are fixed."""
    layer = kernel.layer
    if kernel.mask_kind == "densest":
        return layer.num_layers * int(_densest(layer.num_units, num_choices(kernel)).sum())
    return layer.num_layers * kernel.num_fixed * layer.num_units * layer.fan_in // num_choices(kernel)


# Kernels from free and fixed entries -----------------------------------------------------------------------------


def pack(is_fixed: Array, fixed_value: Array, num_fixed: int) -> Constants:
    """Return the constants of a kernel some of whose entries are fixed; its leaf holds the others, flat.

    Parameters
    ----------
    is_fixed : bool of the kernel's shape, maybe traced.
    fixed_value : float32 of that shape; read where fixed.
    num_fixed : how many entries are fixed.

    Returns
    -------
    A dictionary with ``fixed_value`` (zero where free), ``free_index`` (int32 [num_free], positions of the free entries
    in the raveled kernel, ascending) and ``source_index`` (int32, kernel shape: where in the leaf a free entry comes
    from; num_free where fixed).
    """
    size, num_free = is_fixed.size, is_fixed.size - num_fixed
    free_index = jnp.sort(jnp.where(is_fixed.ravel(), size, jnp.arange(size, dtype=jnp.int32)))[:num_free]
    source_index = jnp.full(size, num_free, jnp.int32).at[free_index].set(jnp.arange(num_free, dtype=jnp.int32))
    return {
        "fixed_value": jnp.where(is_fixed, fixed_value, 0.0),
        "free_index": free_index,
        "source_index": source_index.reshape(is_fixed.shape),
    }


def freeze_kernel(key: Key, kernel: Kernel, fixed_scale: Any) -> Constants | None:
    """Draw mask and fixed values of one kernel, as :func:`pack` returns them; None where nothing is fixed."""
    if not (num_fixed := num_frozen(kernel)):
        return None
    mask_key, value_key = jax.random.split(key)
    value = fixed_scale * kernel.fixed_scale * rng.normal(value_key, kernel.shape)
    return pack(is_fixed(mask_key, kernel), value, num_fixed)


@jax.custom_jvp
def _spread(leaf: Array, source_index: Array, free_index: Array) -> Array:
    """Place the leaf's entries in the kernel, zero elsewhere."""
    return jnp.take(leaf, source_index, mode="fill", fill_value=0.0)


@_spread.defjvp
def _spread_jvp(primals: tuple[Array, Array, Array], tangents: tuple[Array, Any, Any]) -> tuple[Array, Array]:
    """Scatter the tangent, since the transpose of that is a gather: reverse mode never scatters, which is slow."""
    _, source_index, free_index = primals
    flat = jnp.zeros(source_index.size, tangents[0].dtype)
    flat = flat.at[free_index].set(tangents[0], unique_indices=True, indices_are_sorted=True, mode="promise_in_bounds")
    return _spread(*primals), flat.reshape(source_index.shape)


@dataclass(frozen=True)
class Masked(Method):
    """Kernels with fixed entries."""

    num_fixed: tuple[Natural | Share, ...] = ()
    """Fixed inputs of each unit: a count (8) or a fraction of the fan-in (0.125), once for all layers or one a layer.
    Default: 1/8 of the fan-in, 1/2 in the last layer, and more where units would not have distinct masks."""
    mask_kind: Literal["random_subsets", "densest", "filter_subsets"] = "random_subsets"
    """Which inputs are fixed: a random subset for each unit, the densest distinct masks, or whole input channels of
    a convolution."""

    def settle_masks(self, kernels: list[Kernel]) -> list[Kernel]:
        """Fill in ``num_fixed`` of every kernel.

        Raises
        ------
        InputError
            If a count exceeds the fan-in, or a layer has more units than distinct masks.
        """
        kernels = [kernel._replace(mask_kind=_mask_kind(self.mask_kind, kernel)) for kernel in kernels]
        if self.num_fixed:
            values = broadcast_to_layers(self.num_fixed, kernels, "num_fixed")
            counts = [_count(value, kernel) for value, kernel in zip(values, kernels, strict=True)]
        else:
            counts = [_default_num_fixed(kernel) for kernel in kernels]
        return [_check(kernel._replace(num_fixed=count)) for kernel, count in zip(kernels, counts, strict=True)]

    def freeze_kernel(self, key: Key, kernel: Kernel, fixed_scale: Any) -> Constants | None:
        """Draw mask and fixed values; see :func:`freeze_kernel`."""
        return freeze_kernel(key, kernel, fixed_scale)

    def merge_kernel(self, leaf: Array | None, constants: Constants) -> Array:
        """Return the effective kernel M * W + (1 - M) * F."""
        if leaf is None:
            return constants["fixed_value"]
        free = _spread(leaf, constants["source_index"], constants["free_index"])
        return jnp.where(self.free_mask(constants), free, constants["fixed_value"])

    def split_kernel(self, kernel: Array, constants: Constants) -> Array | None:
        """Return the free entries of a kernel, or None where there is none."""
        free_index = constants["free_index"]
        return kernel.ravel()[free_index] if free_index.size else None

    def free_mask(self, constants: Constants) -> Array:
        """Return where the kernel's entries are free, bool of the kernel's shape."""
        return constants["source_index"] < constants["free_index"].size


@dataclass(frozen=True)
class WAsym(Masked):
    """Kernels with fixed entries, drawn at random.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.WAsym(num_fixed=(2,)).fixed_scale
    (0.5,)
    """

    note: ClassVar[str] = (
        "Fixed weights tell units apart and pin scales; what moves only free weights, biases and norms remains."
    )

    fixed_scale: tuple[NonNegative, ...] = (0.5,)
    """Standard deviation of the fixed entries, once or one a layer."""

    def settle(self, kernels: list[Kernel]) -> list[Kernel]:
        """Fill in ``num_fixed`` and ``fixed_scale`` of every kernel; see :meth:`settle_masks`."""
        return self.settle_masks(with_fixed_scales(kernels, self.fixed_scale))
