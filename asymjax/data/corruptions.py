"""Corrupted inputs: what a network meets that it was not trained on. Labels stay as they are.

Strengths are moderate and fixed, relative to the size of the image. Everything is drawn from a seed and row after row,
so that row i of a split is corrupted alike however many rows there are.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from asymjax.errors import InputError
from asymjax.types import Split

NOISE_SCALE = 0.5
"""Standard deviation of the noise, in standardised units."""
BLUR_SCALE = 0.05
"""Standard deviation of the blur's kernel, as a share of the image's height."""
CONTRAST = 0.3
"""What is left of the differences from an image's mean."""
MAX_ANGLE = 30.0
"""Degrees; rotations are uniform up to this, either way."""
OCCLUDED_SHARE = 0.35
"""Side of the occluded square, as a share of the image's height."""

Corruption = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _noise(inputs: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Add white Gaussian noise."""
    return inputs + NOISE_SCALE * generator.standard_normal(inputs.shape)


def _blur(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Convolve with a Gaussian; beyond the border the image goes on as at its edge."""
    size = BLUR_SCALE * image.shape[0]
    return ndimage.gaussian_filter(image, (size, size, 0), mode="nearest")


def _contrast(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Move every pixel towards the image's mean."""
    mean = image.mean()
    return mean + CONTRAST * (image - mean)


def _rotation(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rotate about the centre; corners are filled with what is at the edge."""
    angle = generator.uniform(-MAX_ANGLE, MAX_ANGLE)
    return ndimage.rotate(image, angle, reshape=False, order=1, mode="nearest")


def _occlusion(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Paint a square at a random place in the image's darkest value."""
    height, width = image.shape[:2]
    side = max(1, round(OCCLUDED_SHARE * min(height, width)))
    top, left = generator.integers(height - side + 1), generator.integers(width - side + 1)
    occluded = image.copy()
    occluded[top : top + side, left : left + side] = image.min()
    return occluded


CORRUPTIONS: dict[str, Corruption] = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "rotation": _rotation,
    "occlusion": _occlusion,
}
"""Name -> (one input, generator) -> corrupted input."""
NEED_NO_IMAGE = frozenset({"noise"})


def corrupt(split: Split, name: str, seed: int = 0) -> Split:
    """Corrupt the inputs of a split.

    Parameters
    ----------
    split : rows with standardised inputs; images [rows, height, width, channels] for all corruptions but noise.
    name : a key of ``CORRUPTIONS``.
    seed : of what is random.

    Returns
    -------
    The same rows with float32 inputs of the same shape.

    Raises
    ------
    InputError
        If the name is unknown, or the inputs are no images where the corruption needs them.
    """
    if name not in CORRUPTIONS:
        raise InputError(f"unknown corruption {name!r}, choose from {', '.join(CORRUPTIONS)}")
    inputs = np.asarray(split.inputs)
    if inputs.ndim != 4 and name not in NEED_NO_IMAGE:
        raise InputError(f"{name} corrupts images, and these inputs have shape {inputs.shape[1:]}; give noise alone")
    rows = (CORRUPTIONS[name](row, np.random.default_rng((seed, i))) for i, row in enumerate(inputs))
    return Split(np.stack([row.astype(np.float32) for row in rows]), split.targets)
