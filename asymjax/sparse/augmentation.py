"""Random changes of images that real and distilled ones undergo together (Zhao & Bilen 2021, arXiv 2102.08259).

A key draws one change with one set of parameters, and every row of every batch that is given that key is changed alike:
the siamese augmentation of that paper, section 3.3, whose strengths these are.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from asymjax.errors import InputError, choose
from asymjax.types import Array, Key

SHIFT = 0.125
"""Largest shift of a crop, as a share of height and width."""
ZOOM = 1.2
"""Largest factor by which height and width are scaled, each by its own, up or down."""
ANGLE = 15.0
"""Largest rotation either way, in degrees."""
CUT = 0.5
"""Side of the square that is cut out, as a share of height and width."""
LIGHT = 0.5
"""Largest change of brightness either way, in standardised units."""

# (key, images [rows, height, width, channels]) -> the same, all rows changed alike.
Augment = Callable[[Key, Array], Array]


def _crop(key: Key, images: Array) -> Array:
    """Shift by whole pixels; what comes in is as at the edge."""
    most = jnp.round(SHIFT * jnp.array(images.shape[1:3], images.dtype))
    return _warp(images, jnp.eye(2), jnp.round(_between(key, (2,)) * most))


def _scale(key: Key, images: Array) -> Array:
    """Stretch or squeeze height and width about the centre."""
    return _warp(images, jnp.diag(ZOOM ** _between(key, (2,))), jnp.zeros(2))


def _rotate(key: Key, images: Array) -> Array:
    """Rotate about the centre."""
    angle = jnp.deg2rad(ANGLE) * _between(key, ())
    rows = jnp.stack([jnp.cos(angle), -jnp.sin(angle)]), jnp.stack([jnp.sin(angle), jnp.cos(angle)])
    return _warp(images, jnp.stack(rows), jnp.zeros(2))


def _cutout(key: Key, images: Array) -> Array:
    """Paint a rectangle at a random place, inside the image, in 0: the mean of standardised images."""
    sizes = jnp.array(images.shape[1:3])
    sides = jnp.round(CUT * sizes)
    first = jnp.floor(jax.random.uniform(key, (2,)) * (sizes - sides + 1))
    inside = [
        (place >= first[axis]) & (place < first[axis] + sides[axis])
        for axis, place in enumerate(map(jnp.arange, images.shape[1:3]))
    ]
    is_cut = inside[0][:, None] & inside[1][None, :]
    return jnp.where(is_cut[None, :, :, None], 0.0, images)


def _flip(key: Key, images: Array) -> Array:
    """Mirror left and right, every other time."""
    return jnp.where(jax.random.bernoulli(key), images[:, :, ::-1], images)


def _brightness(key: Key, images: Array) -> Array:
    """Make all pixels lighter or darker."""
    return images + LIGHT * _between(key, ())


AUGMENTATIONS: dict[str, Augment] = {
    "crop": _crop,
    "scale": _scale,
    "rotate": _rotate,
    "cutout": _cutout,
    "flip": _flip,
    "brightness": _brightness,
}
"""Changes by name; a mirrored digit is no digit, so that ``flip`` is for other images."""


def make_augment(names: Sequence[str], input_shape: tuple[int, ...]) -> Augment:
    """Return what changes images by one of the named augmentations, drawn anew for each key; no names change nothing.

    Parameters
    ----------
    names : keys of ``AUGMENTATIONS``.
    input_shape : of one input.

    Raises
    ------
    InputError
        If a name is unknown, or the inputs are no images.
    """
    changes = [choose(AUGMENTATIONS, name, "augmentation") for name in names]
    if not changes:
        return lambda key, images: images
    if len(input_shape) != 3:
        raise InputError(
            f"{', '.join(names)} change images [height, width, channels], and these inputs have shape {input_shape}; "
            "leave augmentations out"
        )

    def augment(key: Key, images: Array) -> Array:
        which, own = jax.random.split(key)
        return lax.switch(jax.random.randint(which, (), 0, len(changes)), changes, own, images)

    return augment


def _between(key: Key, shape: tuple[int, ...]) -> Array:
    """Draw numbers uniform in (-1, 1)."""
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def _warp(images: Array, matrix: Array, shift: Array) -> Array:
    """Return images whose pixel at x, counted from the centre, is what was at ``matrix x + shift``, bilinearly.

    Beyond the border an image goes on as at its edge. All rows share the places, so that they are found once.
    """
    sizes = images.shape[1:3]
    centre = jnp.array([(size - 1) / 2 for size in sizes])[:, None, None]
    places = jnp.stack(jnp.meshgrid(*map(jnp.arange, sizes), indexing="ij")) - centre
    source = jnp.einsum("ij,jhw->ihw", matrix, places) + shift[:, None, None] + centre
    source = jnp.clip(source, 0.0, 2 * centre)
    low = jnp.clip(jnp.floor(source), 0, 2 * centre - 1).astype(jnp.int32)
    (top, left), (down, right) = low, source - low
    corners = [
        (images[:, top + i, left + j], (down if i else 1 - down) * (right if j else 1 - right))
        for i in (0, 1)
        for j in (0, 1)
    ]
    parts = [pixels * weight[None, :, :, None] for pixels, weight in corners]
    return parts[0] + parts[1] + parts[2] + parts[3]
