"""Corrupted inputs: what each corruption does to an image, and what it leaves as it is."""

import numpy as np
import pytest

from asymjax.data.corruptions import BLUR_SCALE, CONTRAST, CORRUPTIONS, NOISE_SCALE, OCCLUDED_SHARE, corrupt
from asymjax.errors import InputError
from asymjax.types import Split

IMAGES = np.random.default_rng(0).standard_normal((6, 20, 20, 2), "float32")
SPLIT = Split(IMAGES, np.arange(6, dtype=np.int32))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_change_inputs_alone_and_are_reproducible_row_by_row(name):
    found = corrupt(SPLIT, name)
    assert found.inputs.shape == IMAGES.shape and found.inputs.dtype == np.float32
    np.testing.assert_array_equal(found.targets, SPLIT.targets)
    assert np.all(np.abs(found.inputs - IMAGES).max(axis=(1, 2, 3)) > 0.1)
    fewer = corrupt(Split(IMAGES[:2], SPLIT.targets[:2]), name)
    np.testing.assert_array_equal(fewer.inputs, found.inputs[:2])


def test_noise_has_its_scale():
    noise = corrupt(SPLIT, "noise").inputs - IMAGES
    # 4,800 numbers; their standard deviation is within 5 standard errors.
    assert noise.std() == pytest.approx(NOISE_SCALE, abs=5 * NOISE_SCALE / np.sqrt(2 * noise.size))


def test_contrast_shrinks_differences_from_the_mean():
    found = corrupt(SPLIT, "contrast").inputs
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), IMAGES.mean(axis=(1, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(found.std(axis=(1, 2, 3)), CONTRAST * IMAGES.std(axis=(1, 2, 3)), rtol=1e-5)


def test_blur_spreads_a_point_by_its_width_and_keeps_its_sum():
    image = np.zeros((1, 41, 41, 1), np.float32)
    image[0, 20, 20] = 1
    found = corrupt(Split(image, np.zeros(1, np.int32)), "blur").inputs[0, ..., 0]
    rows = np.arange(41) - 20
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert np.sqrt(found.sum(axis=1) @ rows**2) == pytest.approx(BLUR_SCALE * 41, rel=0.02)


def test_rotation_turns_about_the_centre():
    image = np.zeros((1, 21, 21, 1), np.float32)
    image[0, 10, 10] = 1
    found = corrupt(Split(image, np.zeros(1, np.int32)), "rotation").inputs
    assert found[0, 10, 10, 0] == pytest.approx(1)
    assert found.sum() == pytest.approx(1, abs=0.3)


def test_occlusion_covers_one_square():
    changed = (corrupt(SPLIT, "occlusion").inputs != IMAGES).any(axis=3)
    for covered in changed:
        rows, columns = np.nonzero(covered)
        side = round(OCCLUDED_SHARE * 20)
        assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == side
        assert covered.sum() >= side**2 - 1  # The darkest pixel itself does not change.


def test_what_cannot_be_corrupted_is_refused():
    with pytest.raises(InputError, match="unknown corruption 'fog', choose from noise, blur"):
        corrupt(SPLIT, "fog")
    rows = Split(np.ones((3, 4), np.float32), np.zeros(3, np.int32))
    with pytest.raises(InputError, match=r"blur corrupts images, and these inputs have shape \(4,\)"):
        corrupt(rows, "blur")
    assert corrupt(rows, "noise").inputs.shape == (3, 4)
