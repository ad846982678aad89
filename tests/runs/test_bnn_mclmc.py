"""The script of microcanonical Langevin Monte Carlo: to its end, its report, and through interruptions."""

import shutil
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np
import pytest
from outcome import assert_same_outcome

import asymjax
from asymjax import data
from asymjax.errors import InputError
from asymjax.lab import results, run_files

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "runs" / "bnn_mclmc.py"
TINY = "--dataset diabetes --widths 4 --num-draws 8 --thinning 2 --num-warmup 40 --num-stages 2 --map-steps 10"
WORDS = [*TINY.split(), "--num-chains", "2", "--no-progress"]
NUM_STEPS = 2 * 8 * 2
PHASES = ["warmup"] * 4 + ["sample"] * 8


@pytest.fixture(scope="module")
def whole(script, tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "whole"
    assert script(SCRIPT, *WORDS, "--run-dir", path).stderr == ""
    return path


def test_summary_and_report(whole, script):
    metrics, summary = run_files.read_metrics(whole), run_files.read_json(whole / "summary.json")
    assert [line["phase"] for line in metrics][-12:] == PHASES
    sampler = summary["sampler"]
    assert sampler["acceptance_rate"] is None and sampler["mean_squared_energy_change"] > 0
    assert sampler["num_grad_evals"] == 2 * NUM_STEPS and sampler["num_warmup_grad_evals"] == 2 * 2 * 40
    assert len(sampler["L"]) == len(sampler["step_size"]) == 2
    script(ROOT / "runs" / "report.py", whole)
    assert "step size" in (whole / "figures" / "table.md").read_text()


def test_a_finished_run_predicts_raw_inputs_in_the_units_of_the_targets(whole):
    dataset = data.load("diabetes")
    raw = dataset.test.inputs * dataset.input_scale + dataset.input_mean
    (outputs,) = results.read_arrays(whole, "posterior_predictive/outputs").values()
    means = outputs[:, :, : len(raw), :1] * dataset.target_scale + dataset.target_mean
    found = asymjax.predict(whole, raw)
    assert found.shape == means.shape == (2, 8, len(raw), 1)
    np.testing.assert_allclose(found, means, rtol=1e-4, atol=1e-4 * dataset.target_scale[0])
    with pytest.raises(InputError, match=r"inputs have shape \(3, 4\); the network takes \[rows, 10\]"):
        asymjax.predict(whole, np.zeros((3, 4)))


@pytest.mark.parametrize(
    ("file", "names", "value", "message"),
    [
        ("config.json", ("config", "model", "widths"), [5], "its weights have shapes .* its config.json makes"),
        ("config.json", ("config", "posterior", "former"), 1, r"is edited, or of another version \(TypeError"),
        ("config.json", ("checksums",), {}, r"is edited, or of another version \(KeyError: 'frozen'\)"),
        ("summary.json", ("data", "input_scale"), "one", r"is edited, or of another version \(ValueError"),
    ],
)
def test_predictions_of_a_run_that_was_edited_are_refused(whole, tmp_path, file, names, value, message):
    shutil.copytree(whole, tmp_path / "edited")
    content = run_files.read_json(whole / file)
    *above, last = names
    reduce(getitem, above, content)[last] = value
    (tmp_path / "edited" / file).write_text(run_files.dumps(content))
    with pytest.raises(InputError, match=message):
        asymjax.predict(tmp_path / "edited", np.zeros((3, 10)))


@pytest.mark.long
@pytest.mark.parametrize("where", [("warmup", 3, "between"), ("sample", 2, "half")], ids=str)
def test_a_run_that_is_interrupted_ends_as_one_that_is_not(whole, script, interrupt, tmp_path, where):
    words = [SCRIPT, *WORDS, "--run-dir", tmp_path / "run"]
    interrupt(*where, *words)
    script(*words)
    assert_same_outcome(tmp_path / "run", whole)


@pytest.mark.long
def test_the_adjusted_sampler(script, tmp_path):
    words = ["--sampler", "adjusted_mclmc", "--num-warmup", "10", "--max-integration-steps", "6"]
    others = " ".join(WORDS).replace("--num-stages 2 ", "").split()
    path = Path(script(SCRIPT, *others, *words, "--out", tmp_path).stdout.splitlines()[-1])
    assert path.name.startswith("mlp-standard-diabetes-adjusted_mclmc-")
    sampler = run_files.read_json(path / "summary.json")["sampler"]
    assert 0 < sampler["acceptance_rate"] <= 1 and sampler["num_grad_evals"] <= 2 * 6 * NUM_STEPS
