"""Random changes of images, which real and distilled ones share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asymjax.errors import InputError
from asymjax.sparse.augmentation import AUGMENTATIONS, _warp, make_augment

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 8)
NAMES = tuple(AUGMENTATIONS)


@pytest.fixture(scope="module")
def augment():
    return jax.jit(make_augment(NAMES, (8, 8, 1)))


def test_all_rows_and_all_batches_of_a_key_are_changed_alike(augment):
    several = np.stack([augment(key, IMAGES) for key in KEYS])
    alone = np.stack([np.concatenate([augment(key, IMAGES[row : row + 1]) for row in range(3)]) for key in KEYS])
    np.testing.assert_allclose(several, alone, rtol=1e-6)
    changed = np.abs(several - np.asarray(IMAGES)).max(axis=(1, 2, 3, 4))
    assert (changed > 0.1).sum() >= 6 and len(np.unique(changed.round(3))) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_each_is_differentiable_and_keeps_shapes(name):
    change = AUGMENTATIONS[name]

    def total(images):
        return jnp.sum(jnp.square(change(KEYS[0], images)))

    value, slope = jax.jit(jax.value_and_grad(total))(IMAGES)
    assert slope.shape == IMAGES.shape and np.isfinite(slope).all() and value > 0


def test_warps_are_the_places_that_they_say():
    np.testing.assert_allclose(_warp(IMAGES, jnp.eye(2), jnp.zeros(2)), IMAGES, atol=1e-6)
    shifted = _warp(IMAGES, jnp.eye(2), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(shifted[:, :-1], IMAGES[:, 1:], atol=1e-6)
    np.testing.assert_allclose(shifted[:, -1], IMAGES[:, -1], atol=1e-6)  # As at the edge.
    turned = _warp(IMAGES, jnp.array([[0.0, 1.0], [-1.0, 0.0]]), jnp.zeros(2))
    np.testing.assert_allclose(turned, np.rot90(IMAGES, 1, axes=(1, 2)), atol=1e-5)


def test_a_flip_mirrors_every_other_time_and_a_cutout_paints_a_quarter_in_the_mean():
    flipped = [np.asarray(AUGMENTATIONS["flip"](key, IMAGES)) for key in KEYS]
    is_mirrored = [np.array_equal(image, IMAGES[:, :, ::-1]) for image in flipped]
    is_kept = [np.array_equal(image, IMAGES) for image in flipped]
    assert any(is_mirrored) and any(is_kept) and all(a != b for a, b in zip(is_mirrored, is_kept, strict=True))
    assert all((np.asarray(AUGMENTATIONS["cutout"](key, IMAGES)) == 0).sum() == 3 * 16 for key in KEYS)


def test_no_names_change_nothing_and_what_is_none_or_no_image_is_refused():
    assert make_augment((), (5,))(KEYS[0], IMAGES) is IMAGES
    with pytest.raises(InputError, match="unknown augmentation 'blur', choose from crop, scale"):
        make_augment(("blur",), (8, 8, 1))
    with pytest.raises(InputError, match=r"crop change images .* these inputs have shape \(5,\)"):
        make_augment(("crop",), (5,))
