"""Grids of settings as a user runs them: their directories, and that each network is the one of its settings."""

from pathlib import Path

import numpy as np
import pytest

import asymjax
from asymjax import data
from asymjax.errors import InputError
from asymjax.experiments.populations import read_sweeps
from asymjax.lab import run_files

SCRIPT = Path(__file__).parents[2] / "runs" / "train_sweep.py"
TRAINING = ["--widths", "6", "--num-epochs", "2", "--num-seeds", "2", "--no-progress"]
GRID = ["--grid", "learning_rate=1e-3,1e-2", "arch=standard,w_asym", "fixed_scale=1,0.25", "mask_seed=0:2"]


def summary_of(done):
    return run_files.read_json(Path(done.stdout.splitlines()[-1]) / "summary.json")


@pytest.mark.long
def test_a_grid_holds_the_networks_of_plain_sweeps(script, tmp_path):
    path = tmp_path / "grid"
    done = script(SCRIPT, *TRAINING, *GRID, "--run-dir", path)
    assert done.stderr == ""
    grid = summary_of(done)["points"]
    assert {name: len(point["status"]) for name, point in grid.items()} == {"arch=standard": 4, "arch=w_asym": 16}
    # A sweep that is there is not trained again.
    (path / "DONE").unlink()
    done = script(SCRIPT, *TRAINING, *GRID, "--run-dir", path)
    assert "train " not in done.stdout and "arch w_asym, learning_rate 0.01, fixed_scale 0.25" in done.stdout
    settings = {"learning_rate": 0.01, "fixed_scale": 0.25, "mask_seed": 1}
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    done = script(SCRIPT, *TRAINING, "--arch", "w_asym", *flags, "--no-keep-weights", "--out", tmp_path)
    assert "weights" not in done.stdout
    plain = summary_of(done)
    point = grid["arch=w_asym"]
    is_same = np.all([np.array(point["coordinates"][name]) == value for name, value in settings.items()], axis=0)
    assert np.array(point["coordinates"]["seed"])[is_same].tolist() == [0, 1]
    np.testing.assert_allclose(np.array(point["test"]["loss"])[is_same], plain["test"]["loss"], rtol=1e-5)
    assert len(set(point["test"]["loss"])) == 16
    dataset = data.load("digits")
    raw = dataset.test.inputs * dataset.input_scale + dataset.input_mean
    classes = asymjax.predict(path / "arch=w_asym", raw).argmax(axis=-1)
    np.testing.assert_allclose((classes == dataset.test.targets).mean(axis=1), point["test"]["accuracy"], atol=1e-6)
    for run_dir, message in ((path, "of a grid one in it"), (done.stdout.splitlines()[-1], "kept no weights")):
        with pytest.raises(InputError, match=message):
            asymjax.predict(run_dir, raw)
    with pytest.raises(InputError, match="arch=w_asym holds networks of several settings"):
        read_sweeps([path / "arch=w_asym"])
