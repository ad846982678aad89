"""Checks, splits and standardisation of raw rows."""

import numpy as np
import pytest

from asymjax.data.assemble import Rows, checked_rows, keep_test, split_at_random

RNG = np.random.default_rng(0)


def regression_rows(num_rows, num_targets=2):
    return Rows(RNG.normal(5, 3, (num_rows, 4)), RNG.normal(-2, 7, (num_rows, num_targets)))


def test_moments_come_from_training_rows_alone():
    rows = regression_rows(40)
    dataset = keep_test("toy", rows, Rows(rows.inputs[:5] + 1e3, rows.targets[:5] + 1e3), (), 0)
    np.testing.assert_allclose(dataset.train.inputs.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.train.targets.std(0), 1, atol=1e-6)
    assert len(dataset.train.inputs) == 36
    raw = np.concatenate([dataset.train.targets, dataset.validation.targets]) * dataset.target_scale
    np.testing.assert_allclose(np.sort(raw + dataset.target_mean, 0), np.sort(rows.targets, 0), rtol=1e-5)
    raw_train = dataset.train.targets * dataset.target_scale + dataset.target_mean
    np.testing.assert_allclose(raw_train.mean(0), dataset.target_mean, rtol=1e-5)
    np.testing.assert_allclose(raw_train.std(0), dataset.target_scale, rtol=1e-5)


def test_held_out_rows_do_not_move_the_training_rows():
    rows = regression_rows(30)
    plain = split_at_random("toy", rows, (), 0)
    num_unmoved = 0
    for row in range(30):
        inputs = rows.inputs.copy()
        inputs[row] = 1e6
        moved = split_at_random("toy", Rows(inputs, rows.targets), (), 0)
        num_unmoved += np.array_equal(moved.train.inputs, plain.train.inputs)
    assert num_unmoved == len(plain.validation.inputs) + len(plain.test.inputs) == 9


def test_test_set_is_kept_exactly_and_split_is_a_partition():
    train, test = Rows(np.arange(50.0)[:, None], np.arange(50) % 3), Rows(np.arange(7.0)[:, None], np.arange(7) % 3)
    dataset = keep_test("toy", train, test, ("a", "b", "c"), 1)
    np.testing.assert_array_equal(dataset.test.targets, test.targets)
    order = np.argsort(np.concatenate([dataset.train.inputs, dataset.validation.inputs])[:, 0])
    labels = np.concatenate([dataset.train.targets, dataset.validation.targets])
    np.testing.assert_array_equal(labels[order], train.targets)
    assert len(dataset.validation.inputs) == 5


def test_constant_feature_and_target_get_scale_one():
    inputs = np.full((20, 2), 0.1)
    inputs[:, 1] = np.arange(20)
    dataset = split_at_random("toy", Rows(inputs, np.full((20, 1), 0.3)), (), 0)
    np.testing.assert_allclose(dataset.train.inputs[:, 0], 0, atol=1e-12)
    np.testing.assert_array_equal(dataset.target_scale, 1)


def test_images_are_standardised_per_channel():
    images = RNG.integers(0, 50, (40, 5, 3, 3)).astype(np.uint8) * np.array([1, 2, 5], np.uint8)
    dataset = split_at_random("toy", Rows(images, np.zeros(40, np.uint8)), ("a",), 0)
    np.testing.assert_allclose(dataset.train.inputs.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.train.inputs.std((0, 1, 2)), 1, atol=1e-6)
    assert np.ptp(dataset.train.inputs.mean((0, 3))) > 0.01


def test_checksum_sees_every_split_and_dtype():
    rows = regression_rows(20)
    base = keep_test("toy", rows, rows, (), 0).checksum
    changed = Rows(rows.inputs, rows.targets.copy())
    changed.targets[3] += 1
    assert keep_test("other name", rows, rows, (), 0).checksum == base
    assert keep_test("toy", rows, changed, (), 0).checksum != base


def test_rows_that_are_refused():
    inputs, targets = np.ones((4, 2)), np.ones((4, 1))
    with pytest.raises(ValueError, match=r"f\.txt: no rows"):
        checked_rows("f.txt", inputs[:0], targets[:0])
    with pytest.raises(ValueError, match=r"f\.txt: 3 targets for 4 inputs"):
        checked_rows("f.txt", inputs, targets[:3])
    for bad in (np.nan, np.inf, -np.inf, 1e39):
        broken = inputs.copy()
        broken[2, 1] = broken[3, 0] = bad
        with pytest.raises(ValueError, match=r"f\.txt: inputs row 2, column 1 \(from 0\) is .* expected a finite"):
            checked_rows("f.txt", broken, targets)
        with pytest.raises(ValueError, match=r"f\.txt: targets row 2, column 1"):
            checked_rows("f.txt", inputs, broken)


def test_labels_that_are_refused():
    inputs = np.ones((3, 2))
    for label in (3, -1):
        with pytest.raises(ValueError, match=rf"f: label {label} in row 1 \(from 0\), expected a class from 0 to 2"):
            checked_rows("f", inputs, np.array([0, label, 9]), 3)
    with pytest.raises(ValueError, match=r"f: labels are float64 \(3,\), expected one integer a row"):
        checked_rows("f", inputs, np.zeros(3), 3)
    with pytest.raises(ValueError, match=r"f: labels are int64 \(3, 1\), expected one integer a row"):
        checked_rows("f", inputs, np.zeros((3, 1), np.int64), 3)


def test_splits_that_are_refused():
    with pytest.raises(ValueError, match="toy: 2 rows, expected at least 3"):
        split_at_random("toy", regression_rows(2), (), 0)
    wide = Rows(np.ones((5, 7)), np.ones((5, 1)))
    with pytest.raises(ValueError, match=r"toy: training inputs have shape \(4,\), test inputs \(7,\)"):
        keep_test("toy", regression_rows(5, 1), wide, (), 0)
