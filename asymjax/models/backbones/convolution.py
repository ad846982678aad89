"""Convolutions: matrix products on patches on CPU, XLA's own elsewhere.

Inside a loop, where all training and sampling is, XLA's convolution on CPU leaves its fast path (jaxlib 0.10.2: 1 to 4
GFLOP/s on a core); products take 5 to 50 times less. A few rows at a time, so that their patches stay in the cache, and
are not kept for the gradient: a patch has as many copies of a pixel as the kernel has pixels.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from asymjax.models.backbones.backbone import bias_init, kernel_init
from asymjax.types import Array

LAYOUT = ("NHWC", "HWIO", "NHWC")
MAX_PATCH_BYTES = 2**19
"""Of the patches at once. Training takes the same time within a quarter from 2**18 to 2**20; with all rows at once
ResNet8 takes 1.5 times as long and twice the memory."""


def make_conv(
    in_channels: int, features: int, size: int, name: str, stride: int = 1, padding: Any = "SAME", use_bias: bool = True
) -> nn.Conv:
    """Build a convolution with a kernel [size, size, in_channels, features]; arguments as of ``flax.linen.Conv``."""
    return nn.Conv(
        features,
        (size, size),
        stride,
        padding,
        use_bias=use_bias,
        kernel_init=kernel_init,
        bias_init=bias_init(size * size * in_channels),
        conv_general_dilated=convolve,
        name=name,
    )


def convolve(
    x: Array, kernel: Array, window_strides: Sequence[int], padding: Any, *, precision: Any = None, **_: Any
) -> Array:
    """Convolve x [rows, height, width, channels] with a kernel [height, width, channels, features].

    Arguments as of ``lax.conv_general_dilated``; there are no dilations and groups.
    """
    pads = padding
    if isinstance(padding, str):
        pads = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], window_strides, padding)
    own = partial(
        lax.conv_general_dilated,
        window_strides=window_strides,
        padding=pads,
        dimension_numbers=LAYOUT,
        precision=precision,
    )
    products = partial(multiply_patches, strides=tuple(window_strides), pads=pads, precision=precision)
    return lax.platform_dependent(x, kernel, cpu=products, default=own)


def multiply_patches(
    x: Array, kernel: Array, strides: Sequence[int], pads: Sequence[Sequence[int]], precision: Any = None
) -> Array:
    """Convolve as :func:`convolve` does, by one matrix product; or by one for every few rows where there are many."""
    patches_of_rows = partial(patches_of, size=kernel.shape[:2], strides=strides, pads=pads)

    @jax.checkpoint  # Makes patches again for the gradient.
    def multiply(x: Array, kernel: Array) -> Array:
        return jnp.matmul(patches_of_rows(x), kernel.reshape(-1, kernel.shape[-1]), precision=precision)

    shape = jax.eval_shape(patches_of_rows, x)
    rows_at_once = max(1, MAX_PATCH_BYTES * len(x) // (shape.size * shape.dtype.itemsize))
    if len(x) <= rows_at_once:
        return multiply(x, kernel)
    return lax.map(lambda row: multiply(row[None], kernel)[0], x, batch_size=rows_at_once)


def patches_of(x: Array, size: Sequence[int], strides: Sequence[int], pads: Sequence[Sequence[int]]) -> Array:
    """Return what a kernel sees at each of its places [rows, height, width, kernel's height x width x channels]."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    (down, right), (height, width) = strides, size
    last_row, last_column = x.shape[1] - height, x.shape[2] - width
    seen = [
        x[:, i : i + last_row + 1 : down, j : j + last_column + 1 : right] for i in range(height) for j in range(width)
    ]
    return jnp.concatenate(seen, axis=-1)
