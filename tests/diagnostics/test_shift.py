"""Predictions under shift: known answers for the scores, and what the inputs are."""

import jax.numpy as jnp
import numpy as np
import pytest
from draws import write_draws

from asymjax import data
from asymjax.diagnostics import shift
from asymjax.diagnostics.scores import score
from asymjax.experiments.posterior.draws import thinned_positions
from asymjax.types import Split

NUM_ROWS = 40


@pytest.fixture(scope="module")
def digits():
    dataset = data.load("digits")
    return dataset._replace(test=dataset.test.take(slice(NUM_ROWS)))


@pytest.fixture(scope="module")
def shifted(digits):
    return shift.shifted_inputs(digits)


def test_auroc_by_hand():
    low, high = np.array([0.0, 1.0, 2.0]), np.array([3.0, 4.0])
    assert (shift.auroc(high, low), shift.auroc(low, high), shift.auroc(low, low)) == (1, 0, 0.5)
    assert shift.auroc(np.array([1.0, 3.0]), np.array([1.0, 2.0])) == (0.5 + 0 + 1 + 1) / 4


def test_every_set_has_as_many_rows_as_there_are_test_rows(digits, shifted):
    assert list(shifted.corrupted) == ["none", "noise", "blur", "contrast", "rotation", "occlusion"]
    assert list(shifted.other) == ["noise", "patches"]
    assert shifted.inputs.shape == (8, NUM_ROWS, 8, 8, 1) and shifted.inputs.dtype == np.float32
    np.testing.assert_array_equal(shifted.corrupted["none"], digits.test.inputs)


def test_tables_have_noise_alone():
    shifted = shift.shifted_inputs(data.load("diabetes"))
    assert (list(shifted.corrupted), list(shifted.other)) == (["none", "noise"], ["noise"])


@pytest.mark.parametrize("num_channels", [1, 3])
def test_patches_are_photographs_between_the_black_and_white_of_the_data(digits, num_channels):
    def widen(split):
        return Split(np.concatenate([split.inputs * (c + 1) for c in range(num_channels)], -1), split.targets)

    wide = digits._replace(train=widen(digits.train), test=widen(digits.test))
    patches = shift.photo_patches(wide, 0, 60)
    assert patches.shape == (60, 8, 8, num_channels) and patches.dtype == np.float32
    black, white = wide.train.inputs.min((0, 1, 2)), wide.train.inputs.max((0, 1, 2))
    share = (patches - black) / (white - black)
    assert share.min() > -1e-5 and share.max() < 1 + 1e-5 and np.ptp(share) > 0.8
    # Neighbouring pixels of a photograph are alike, and colours differ.
    assert np.corrcoef(share[:, :, :-1].ravel(), share[:, :, 1:].ravel())[0, 1] > 0.9
    assert num_channels == 1 or not np.allclose(share[..., 0], share[..., 2], atol=0.05)


def test_what_is_not_corrupted_has_the_test_score_and_corruptions_another(digits, shifted):
    weights = np.random.default_rng(0).normal(size=(5, 64, 10))

    def predict(position, frozen, inputs):
        return inputs.reshape(len(inputs), -1) @ position

    outputs = shift.make_shift_predict(predict, {}, shifted)(jnp.asarray(weights, jnp.float32))
    scores = shift.shift_scores(digits, shifted, [outputs[:2], outputs[2:]])
    expected = score(digits, [outputs[:, 0]])
    assert scores["corrupted"]["none"] == pytest.approx(expected, rel=1e-12)
    assert scores["num_networks"] == 5 and scores["num_rows"] == NUM_ROWS
    others = [scores["corrupted"][name]["nll"] for name in shifted.corrupted if name != "none"]
    assert len({expected["nll"], *others}) == 6


def test_networks_that_agree_on_the_test_rows_alone_notice_all_else(digits, shifted):
    """Two networks, sure of one class on test rows; elsewhere each sure of another."""
    outputs = np.zeros((2, 8, NUM_ROWS, 10))
    outputs[..., 0] = 50.0
    outputs[1, 1:, :, 1] = 100.0
    scores = shift.shift_scores(digits, shifted, [outputs])
    for of_kind in scores["other"].values():
        assert of_kind["auroc_total"] == of_kind["auroc_epistemic"] == 1
        assert of_kind["epistemic"] == pytest.approx(np.log(2), abs=1e-9)
    alone = shift.shift_scores(digits, shifted, [np.random.default_rng(0).normal(size=(1, 8, NUM_ROWS, 10))])
    assert all(of_kind["auroc_epistemic"] == 0.5 for of_kind in alone["other"].values())


def test_variances_of_regression_tell_noise_from_rows():
    dataset = data.load("diabetes")
    shifted = shift.shifted_inputs(dataset)
    outputs = np.zeros((3, 3, len(shifted.targets), 2))
    outputs[:, 2, :, 0] = np.array([-1.0, 0.0, 1.0])[:, None]
    noise = shift.shift_scores(dataset, shifted, [outputs])["other"]["noise"]
    assert noise == pytest.approx({"total": 1 + 2 / 3, "epistemic": 2 / 3, "auroc_total": 1, "auroc_epistemic": 1})


def test_positions_are_thinned_over_all_chunks(tmp_path):
    draws = np.arange(2 * 12).reshape(2, 12)
    parts = np.split(draws, 3, axis=1)
    write_draws(tmp_path, [{"position/layer/bias": part, "outputs": np.zeros((2, 4, 1, 1))} for part in parts])
    found = [position["layer"]["bias"] for position in thinned_positions(tmp_path, 12, 5)]
    np.testing.assert_array_equal(np.stack(found, axis=1), draws[:, [2, 5, 8, 11]])
    assert len(list(thinned_positions(tmp_path, 12, None))) == 12
