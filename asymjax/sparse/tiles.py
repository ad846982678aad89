"""Several images in one: the multi-formation of Kim et al. (2022), arXiv 2205.14959, section 4.1."""

import jax

from asymjax.errors import InputError
from asymjax.types import Array


def decode(images: Array, factor: int) -> Array:
    """Cut images into tiles and bring each to full size, bilinearly.

    Parameters
    ----------
    images : [images, height, width, channels].
    factor : tiles along each side; divides height and width.

    Returns
    -------
    [images * factor^2, height, width, channels]: the tiles of an image come together, row by row.
    """
    if factor == 1:
        return images
    count, height, width, channels = images.shape
    cut = images.reshape(count, factor, height // factor, factor, width // factor, channels)
    tiles = cut.transpose(0, 1, 3, 2, 4, 5).reshape(-1, height // factor, width // factor, channels)
    return jax.image.resize(tiles, (len(tiles), height, width, channels), "bilinear")


def encode(images: Array, factor: int) -> Array:
    """Shrink images and put factor^2 of them into each, in the order in which :func:`decode` finds them."""
    if factor == 1:
        return images
    count, height, width, channels = images.shape
    small = (height // factor, width // factor)
    tiles = jax.image.resize(images, (count, *small, channels), "bilinear")
    grid = tiles.reshape(-1, factor, factor, *small, channels).transpose(0, 1, 3, 2, 4, 5)
    return grid.reshape(-1, height, width, channels)


def check_factor(factor: int, input_shape: tuple[int, ...]) -> None:
    """Refuse tiles that do not fill images.

    Raises
    ------
    InputError
        If inputs are no images, or a side is no multiple of the factor.
    """
    if factor > 1 and (len(input_shape) != 3 or input_shape[0] % factor or input_shape[1] % factor):
        raise InputError(
            f"factor is {factor}, and inputs have shape {input_shape}; give a divisor of height and width of images "
            "[height, width, channels], or 1"
        )
