"""Invariant paths as a user studies them: the command, its report, interruptions, and what it refuses."""

import signal
from pathlib import Path

import numpy as np
import pytest
from outcome import assert_same_outcome

from asymjax.lab import results, run_files

ROOT = Path(__file__).parents[2]
SCRIPT, KILL = ROOT / "runs" / "invariant_path.py", Path(__file__).parent / "kill.py"
FLAGS = ["--preset", "smoke", "--no-progress"]
JOIN = [*FLAGS, "--objective", "join"]
INPUT_EXIT, DIVERGED_EXIT = 2, 3


def run_directory(done):
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def joined(script, tmp_path_factory):
    return script(SCRIPT, *JOIN, "--out", tmp_path_factory.mktemp("out"), draw=True)


@pytest.mark.long
def test_a_walk_that_is_killed_goes_on_to_the_same_end(script, interrupt, tmp_path):
    words = [*FLAGS, "--no-baselines", "--num-probes", "0"]
    whole = run_directory(script(SCRIPT, *words, "--out", tmp_path / "out"))
    interrupt("walk-standard-path", 2, "between", SCRIPT, *words, "--run-dir", tmp_path / "run")
    script(SCRIPT, *words, "--run-dir", tmp_path / "run")
    assert_same_outcome(whole, tmp_path / "run")
    found = results.read_arrays(whole, "paths/standard/path/")
    assert (found["paths/standard/path/drift.replay"] < 1e-3).all()
    np.testing.assert_allclose(found["paths/standard/path/steps/step_length"][:, 0], 0.05, rtol=0.1)


@pytest.mark.long
def test_a_path_to_another_optimum_is_killed_and_goes_on_to_the_same_end(joined, interrupt, script, tmp_path):
    path = run_directory(joined)
    assert joined.stderr == "" and "nan" not in joined.stdout and "the test loss rises on the path by" in joined.stdout
    assert {"drift.png", "lines.png", "table.md"} <= {file.name for file in (path / "figures").iterdir()}
    arrays = results.read_arrays(path, "paths/standard/")
    start, left = (arrays[f"paths/standard/lines/{name}/distance"] for name in ("straight", "rest"))
    assert (left < start).all()
    assert (arrays["paths/standard/path/distance"][:, -1] >= start - left - 1e-5).all()
    assert (arrays["paths/standard/path/drift.replay_max"] < 0.05).all()
    words = [*JOIN, "--run-dir", tmp_path / "run"]
    for phase, chunk, place in (
        ("train-standard", 1, "between"),
        ("walk-standard-path", 1, "between"),
        ("walk-standard-path", 2, "before"),
        ("line-standard-rest", 1, "before"),
    ):
        interrupt(phase, chunk, place, SCRIPT, *words)
    script(SCRIPT, *words)
    assert_same_outcome(path, tmp_path / "run")


@pytest.mark.long
def test_old_classes_are_kept_beside_what_paths_are_compared_with(script, python, tmp_path):
    words = [*FLAGS, "--archs", "standard", "syre", "--num-epochs", "20", "--num-steps", "40", "--num-points", "4"]
    done = script(SCRIPT, *words, "--out", tmp_path / "whole", draw=True)
    summary = run_files.read_json(run_directory(done) / "summary.json")
    arms = summary["methods"]["standard"]["arms"]
    assert list(arms) == ["path", "fine_tuning", "joint", "replay", "ewc-100"]
    end = {name: {of: found["mean"] for of, found in arm["end"].items()} for name, arm in arms.items()}
    assert end["path"]["drift.replay"] < 1e-3 < end["fine_tuning"]["drift.replay"]
    assert end["path"]["new.loss"] < arms["path"]["curves"]["new.loss"][0]["mean"]
    assert arms["path"]["at"] == [0, 10, 20, 30, 40] and arms["path"]["stuck"] == []
    assert arms["path"]["row_gradients"] == {"objective": 40 * 100, "replay": 40 * 2 * 4 * 10}
    assert arms["replay"]["row_gradients"] == {"objective": 40 * 104, "replay": 0}
    assert set(summary["between_methods"]["methods"]) == {"standard", "syre"}
    killed = python(KILL, "walk-syre-ewc-100", 2, "between", SCRIPT, *words, "--run-dir", tmp_path / "run", check=False)
    assert killed.returncode == -signal.SIGKILL
    script(SCRIPT, *words, "--run-dir", tmp_path / "run")
    assert_same_outcome(run_directory(done), tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize(
    ("objective", "words", "said"),
    [
        ("sparse", "--num-steps 40 --step-size 0.05 --num-points 4", "0.5 zeros: path"),
        ("sparse", "--driver penalty --no-retract", "give more or longer steps"),
        ("diverse", "", "ensemble along a path"),
        ("robust", "--driver layer", "accuracy along the path"),
    ],
)
def test_every_objective_says_what_it_comes_to(objective, words, said, script, tmp_path):
    done = script(SCRIPT, *FLAGS, "--objective", objective, *words.split(), "--out", tmp_path, draw=True)
    assert said in done.stdout and done.stderr == ""
    path = run_directory(done)
    assert {file.stem for file in (path / "figures").glob("*.png")} - {"drift"}
    (method,) = run_files.read_json(path / "summary.json")["methods"].values()
    if objective == "diverse":
        found = {kind: scores["accuracy"]["repeats"] for kind, scores in method["ensembles"].items()}
        assert found.keys() == {"path", "deep", "single"}
        assert method["ensembles"]["single"]["disagreement"]["mean"] == 0
    if objective == "sparse" and not words.startswith("--driver"):
        gaps = [point["mean"] for point in method["arms"]["path-0.5"]["curves"]["gap"]]
        assert gaps[-1] < 0.1 * gaps[0]
        told = method["arms"]["distilled-0.5"]
        assert told["beside"] == "path-0.5" and told["row_gradients"] == {"objective": 40 * 4, "replay": 0}
        drift = [point["mean"] for point in told["curves"]["drift.replay"]]
        assert drift[-1] < 0.5 * drift[0]


@pytest.mark.long
def test_no_freedom_is_said(script, tmp_path):
    # 108 outputs of a network of 20 parameters, with no symmetry that moves and no input that is constant.
    words = "--dataset wine --widths 1 --activation tanh --batch-size 16 --num-epochs 20 --num-replay 36 --damping 0"
    done = script(SCRIPT, *FLAGS, *words.split(), "--no-retract", "--no-baselines", "--out", tmp_path)
    assert "no freedom: the outputs on 36 replayed inputs leave no direction" in done.stdout
    assert "paths 0, 1 came to rest" in done.stdout
    found = results.read_arrays(run_directory(done), "paths/standard/path/")
    assert not found["paths/standard/path/distance"].any() and not found["paths/standard/path/steps/freedom"].any()


def test_no_path_that_is_finite_is_an_error(script, tmp_path):
    words = [*FLAGS, "--driver", "penalty", "--no-retract", "--no-baselines", "--step-size", "1e14"]
    done = script(SCRIPT, *words, "--run-dir", tmp_path, check=False)
    assert done.returncode == DIVERGED_EXIT and "standard, path: no path is finite (network 0, not" in done.stderr
    assert not (tmp_path / "summary.json").exists() and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--dataset diabetes", "diabetes has no classes"),
        ("--dataset digits_graph", "is a graph"),
        ("--num-replay 5000", "num_replay is 5000, and there are"),
        ("--num-replay 600 --widths 60000", "the Jacobian of 600 replay inputs x 10 outputs"),
        ("--objective sparse --shares 1", "shares is 1"),
        ("--objective sparse --shares 0.5 0.5", "give one value at least, and each once"),
        ("--objective diverse --num-members 9", "a path of 4 steps has 2 points"),
        ("--objective robust --corruptions blurr", "unknown corruption 'blurr'"),
        ("--objective robust --dataset wine --corruptions blur", "blur corrupts images"),
        ("--num-train-rows 100000", "num_train_rows is 100000, and digits has"),
        ("--recipe drawn", "trained alike"),
        ("--archs w_assym", "unknown arch 'w_assym'"),
        ("--num-test-rows 1", "no test rows of the"),
        ("--driver layer --archs standard w_asym", "give a network whose kernels are trained as a whole"),
        ("--trained output", "trained is output"),
        ("--num-steps 7 --num-points 4", "7 steps divide into 1 at most"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(words, message, script, tmp_path):
    done = script(SCRIPT, *FLAGS, *words.split(), "--run-dir", tmp_path / "run", check=False)
    assert done.returncode == INPUT_EXIT and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists() or not (tmp_path / "run" / "checkpoints").exists()
