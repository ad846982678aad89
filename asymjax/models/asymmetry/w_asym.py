"""W-asymmetric networks: in every unit some weights are fixed and frozen, the rest are trained.

W_eff = M * W + (1 - M) * F with F = kappa * N(0, 1) (Lim et al. 2024, section 4.1). The trained entries are packed into
one flat leaf a kernel, so that nothing frozen is ever a coordinate.
"""

import math
import warnings
from itertools import chain, combinations, islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asymjax import rng
from asymjax.config import ModelConfig
from asymjax.errors import InputError
from asymjax.models.asymmetry.method import Constants, Layer, Method, broadcast_to_layers
from asymjax.types import Array, Key

DEFAULT_FIXED_SCALE = 0.5
DEFAULT_FRACTION, DEFAULT_LAST_FRACTION = 1 / 8, 1 / 2


# Which inputs are fixed ------------------------------------------------------------------------------------------


def num_choices(layer: Layer) -> int:
    """Return how many inputs of a unit can be fixed: its fan-in, or its input channels for ``filter_subsets``."""
    return layer.shape[-2] if layer.mask_kind == "filter_subsets" else layer.fan_in


def _default_num_fixed(layer: Layer) -> int:
    """Return the smallest feasible count at or above the default fraction."""
    choices = num_choices(layer)
    count = max(1, round(choices * (DEFAULT_LAST_FRACTION if layer.is_last else DEFAULT_FRACTION)))
    while count < choices and math.comb(choices, count) < layer.num_units:
        count += 1
    return count


def _check(layer: Layer) -> Layer:
    """Refuse what cannot be met, warn of a layer without a free entry."""
    choices, units, count = num_choices(layer), layer.num_units, layer.num_fixed
    where = f"{layer.path} {layer.shape}"
    if layer.mask_kind == "densest":
        if choices < 64 and units > 2**choices:
            raise InputError(f"{where}: {units} units need distinct masks, {choices} inputs have only {2**choices}")
        return layer
    if not 0 <= count <= choices:
        raise InputError(f"{where}: num_fixed is {count}; each unit has {choices} inputs that can be fixed")
    if 0 < count < choices and math.comb(choices, count) < units:
        raise InputError(
            f"{where}: {units} units need distinct masks, but {choices} inputs have only "
            f"{math.comb(choices, count)} subsets of num_fixed = {count}"
        )
    if count == choices:
        warnings.warn(f"{where}: num_fixed = {count} is the whole fan-in, so this kernel is not trained", stacklevel=2)
    return layer


def _count(value: int | float, layer: Layer) -> int:
    if isinstance(value, int):
        return value
    if not 0 <= value <= 1:
        raise InputError(f"num_fixed = {value} for {layer.path}: a fraction of the fan-in lies in [0, 1]")
    return round(value * num_choices(layer))


def settle(config: ModelConfig, layers: list[Layer]) -> list[Layer]:
    """Fill in ``num_fixed`` and ``fixed_scale`` of every layer.

    Raises
    ------
    InputError
        If a count exceeds the fan-in, or a layer has more units than distinct masks.
    """
    layers = [layer._replace(mask_kind=_mask_kind(config.mask_kind, layer)) for layer in layers]
    scales = broadcast_to_layers(config.fixed_scale or (DEFAULT_FIXED_SCALE,), layers, "fixed_scale")
    if config.num_fixed:
        values = broadcast_to_layers(config.num_fixed, layers, "num_fixed")
        counts = [_count(value, layer) for value, layer in zip(values, layers, strict=True)]
    else:
        counts = [_default_num_fixed(layer) for layer in layers]
    return [
        _check(layer._replace(num_fixed=count, fixed_scale=scale))
        for layer, count, scale in zip(layers, counts, scales, strict=True)
    ]


def _mask_kind(mask_kind: str, layer: Layer) -> str:
    """Whole channels exist in convolutions only; dense layers of such a network fix single inputs."""
    is_convolution = len(layer.shape) > 2
    return "random_subsets" if mask_kind == "filter_subsets" and not is_convolution else mask_kind


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


def _densest(num_units: int, num_choices: int) -> np.ndarray:
    """Fix nothing in the first unit, then all 1-subsets, then 2-subsets, in lexicographic order."""
    subsets = chain.from_iterable(combinations(range(num_choices), size) for size in range(num_choices + 1))
    mask = np.zeros((num_units, num_choices), bool)
    for row, subset in zip(mask, islice(subsets, num_units), strict=True):
        row[list(subset)] = True
    return mask


def is_fixed(key: Key, layer: Layer) -> Array:
    """Return which entries of a kernel are fixed, bool of the kernel's shape."""
    choices = num_choices(layer)
    if layer.mask_kind == "densest":
        mask = jnp.asarray(_densest(layer.num_units, choices))
    elif layer.num_fixed in (0, choices):
        mask = jnp.full((layer.num_units, choices), layer.num_fixed > 0)
    else:
        mask = _random_subsets(key, layer.num_units, choices, layer.num_fixed)
    if layer.mask_kind == "filter_subsets":
        return jnp.broadcast_to(mask.T, layer.shape)
    return mask.T.reshape(layer.shape)


def num_frozen(layer: Layer) -> int:
    """Return how many entries of the kernel are fixed."""
    if layer.mask_kind == "densest":
        return int(_densest(layer.num_units, num_choices(layer)).sum())
    return layer.num_fixed * layer.num_units * layer.fan_in // num_choices(layer)


# Kernels from free and fixed entries -----------------------------------------------------------------------------


def freeze_kernel(key: Key, layer: Layer, fixed_scale: Any) -> Constants | None:
    """Draw mask and fixed values of one kernel.

    Returns
    -------
    None where nothing is fixed, or a dictionary with ``fixed_value`` (float32, kernel shape, zero where free),
    ``free_index`` (int32 [num_free], positions of the free entries in the raveled kernel, ascending) and
    ``source_index`` (int32, kernel shape: where in the leaf a free entry comes from; num_free where fixed).
    """
    size = math.prod(layer.shape)
    num_free = size - num_frozen(layer)
    if num_free == size:
        return None
    mask_key, value_key = jax.random.split(key)
    fixed = is_fixed(mask_key, layer)
    value = fixed_scale * layer.fixed_scale * rng.normal(value_key, layer.shape)
    free_index = jnp.sort(jnp.where(fixed.ravel(), size, jnp.arange(size, dtype=jnp.int32)))[:num_free]
    source_index = jnp.full(size, num_free, jnp.int32).at[free_index].set(jnp.arange(num_free, dtype=jnp.int32))
    return {
        "fixed_value": jnp.where(fixed, value, 0.0),
        "free_index": free_index,
        "source_index": source_index.reshape(layer.shape),
    }


@jax.custom_jvp
def _spread(leaf: Array, source_index: Array, free_index: Array) -> Array:
    """Place the leaf's entries in the kernel, zero elsewhere; a gather, since scatters are slow."""
    return jnp.take(leaf, source_index, mode="fill", fill_value=0.0)


@_spread.defjvp
def _spread_tangent(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return the same and its tangent, by a scatter: its transpose is a gather, so that gradients scatter nothing."""
    _, source_index, free_index = primals
    tangent = jnp.zeros(source_index.size, tangents[0].dtype)
    tangent = tangent.at[free_index].set(
        tangents[0], unique_indices=True, indices_are_sorted=True, mode="promise_in_bounds"
    )
    return _spread(*primals), tangent.reshape(source_index.shape)


def merge_kernel(leaf: Array | None, constants: Constants) -> Array:
    """Return the effective kernel M * W + (1 - M) * F."""
    if leaf is None:
        return constants["fixed_value"]
    free = _spread(leaf, constants["source_index"], constants["free_index"])
    return jnp.where(free_mask(constants), free, constants["fixed_value"])


def split_kernel(kernel: Array, constants: Constants) -> Array | None:
    """Return the free entries of a kernel, or None where there is none."""
    free_index = constants["free_index"]
    return kernel.ravel()[free_index] if free_index.size else None


def free_mask(constants: Constants) -> Array:
    """Return where the kernel's entries are free, bool of the kernel's shape."""
    return constants["source_index"] < constants["free_index"].size


METHOD = Method(
    settle=settle,
    freeze_kernel=freeze_kernel,
    merge_kernel=merge_kernel,
    split_kernel=split_kernel,
    init_kernel=split_kernel,
    free_mask=free_mask,
    note="Fixed weights tell units apart and pin scales; what moves only free weights, biases and norms remains.",
)
