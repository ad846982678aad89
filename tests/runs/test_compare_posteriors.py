"""A study of posteriors as a user runs it: through a kill, and when all of its runs are there."""

import signal
from pathlib import Path

import numpy as np
import pytest
from draws import write_draws

from asymjax import data
from asymjax.experiments.compare_posteriors.summary import read_bias_shifts
from asymjax.experiments.compare_posteriors.table import GROUPS
from asymjax.experiments.reports import write_report
from asymjax.experiments.variants import Variant
from asymjax.lab import run_files
from asymjax.models import ModelConfig
from asymjax.models.backbones import MLP

ROOT = Path(__file__).parents[2]
SCRIPT, KILL = ROOT / "runs" / "compare_posteriors.py", Path(__file__).parent / "kill.py"
ARMS = ("standard-hmc", "standard-meanfield")
TINY = "--num-warmup 5 --map-steps 50 --num-chains 2 --no-progress --reference-draws 8"
WORDS = ["--preset", "smoke", *TINY.split(), "--archs", "standard", "--samplers", "hmc", "meanfield"]


def test_flat_directions_are_the_biases_that_feed_a_norm(tmp_path):
    biases = np.random.default_rng(0).normal(size=(2, 500, 6))  # As the prior has them.
    write_draws(tmp_path, [{"logdensity": biases[..., 0], "position/dense_0/bias": biases}])
    for norm, layers in (("layer", {"dense_0/bias"}), ("none", set())):
        variant = Variant(ModelConfig(backbone=MLP((6,), norm=norm)))
        found = read_bias_shifts(tmp_path, data.load("digits"), variant)
        assert found.keys() == layers
        # The variance of 1,000 independent draws is known to sqrt(2 / 1,000), 4.5 %.
        assert all(shift["variance_ratio"] == pytest.approx(1, abs=0.25) for shift in found.values())


@pytest.mark.long
def test_a_study_is_resumed_run_by_run_and_reported(python, script, tmp_path):
    path = tmp_path / "study"
    words = [SCRIPT, *WORDS, "--run-dir", path]
    assert python(KILL, "sample", 3, "between", *words, check=False).returncode == -signal.SIGKILL
    assert not (path / "posteriors" / "standard-hmc" / "0" / "DONE").exists()
    done = python(*words)
    assert done.stderr == "" and "Against HMC" in done.stdout
    runs = [path / "posteriors" / arm / str(repeat) for arm in ARMS for repeat in range(2)]
    assert all((run / "DONE").exists() and (run / "summary.json").exists() for run in runs)
    summary = run_files.read_json(path / "summary.json")
    assert_summary(summary, runs)

    times = [(run / "DONE").stat().st_mtime_ns for run in runs]
    (path / "DONE").unlink()
    script(*words)
    assert [(run / "DONE").stat().st_mtime_ns for run in runs] == times
    np.testing.assert_equal(run_files.read_json(path / "summary.json"), summary)
    write_report([path], tmp_path / "report")
    figures = {file.name for file in (path / "figures").iterdir()}
    assert figures >= {"rhat.png", "scores.png", "fits.png", "budget.png", "distances.png"}
    assert "varied.png" not in figures
    assert "### Equal gradients" in (tmp_path / "report" / "table.md").read_text()


def assert_summary(summary, runs):
    scores = [run_files.read_json(run / "summary.json") for run in runs]
    for arm, own in zip(ARMS, (scores[:2], scores[2:]), strict=True):
        entry = summary["arms"][arm]
        assert entry["metrics"]["function_rhat_max"]["repeats"] == [run["function_space"]["rhat_max"] for run in own]
        assert entry["flat_directions"].keys() == {"dense_0/bias"}
        assert 0 <= entry["predictions"]["total_variation"]["within"] < 1
        held = entry["metrics"]["reference_total_variation"]
        assert 0 < held["mean"] == entry["reference"]["total_variation"]["mean"]
        assert entry["prior"]["after"] == entry["prior"]["before"] == 20
    elbos = [np.mean(run["sampler"]["elbo"]) for run in scores[2:]]
    assert summary["arms"]["standard-meanfield"]["metrics"]["elbo"]["repeats"] == pytest.approx(elbos)
    absent = {"rmse", "coverage_error", "corrupted_rmse", "elbo", "kl", "information", "collapsed"}
    for metric in {metric for _, columns in GROUPS.values() for metric, _ in columns.values()} - absent:
        assert not np.isnan(summary["arms"]["standard-hmc"]["metrics"][metric]["repeats"]).any(), metric
    totals = [run["sampler"]["num_grad_evals"] + run["sampler"]["num_warmup_grad_evals"] for run in scores[:2]]
    assert summary["budget"] == min(totals)  # Of the sampler.
