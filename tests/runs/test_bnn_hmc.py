"""The script as a user runs it: to its end, and through every kind of interruption."""

import json
import os
import random
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
import pytest
from kill import ending, give_up
from outcome import assert_same_outcome

import asymjax
from asymjax import data, trees
from asymjax.experiments.posterior.draws import convergence_curve
from asymjax.lab import run_files
from asymjax.lab.results import open_results, read_arrays, tree_of

ROOT = Path(__file__).parents[2]
SCRIPT, KILL = ROOT / "runs" / "bnn_hmc.py", Path(__file__).parent / "kill.py"
TINY = "--widths 4 --num-draws 8 --num-warmup 10 --map-steps 10 --num-chains 2 --max-integration-steps 8 --no-progress"
WORDS = [*TINY.split(), "--arch", "w_asym", "--widths", "6", "--trajectory", "adapted"]
SPACES = ("rhat_max", "rhat_median", "ess_bulk_min", "ess_bulk_median")
SCORES = {"classification": ("accuracy", "nll", "ece", "brier"), "regression": ("rmse", "lppd", "coverage_error")}
SIGKILL, SIGTERM_EXIT, INPUT_EXIT = -signal.SIGKILL, 75, 2


@pytest.fixture(scope="module")
def finished(python, tmp_path_factory):
    done = python(SCRIPT, *WORDS, "--out", tmp_path_factory.mktemp("out"))
    return Path(done.stdout.splitlines()[-1]), done


def test_a_run_leaves_its_directory_and_says_where(finished):
    path, done = finished
    assert path.parent.name == "bnn_hmc" and path.name.startswith("mlp-w_asym-digits-hmc-")
    assert done.stderr == ""
    files = {file.name for file in path.iterdir()}
    assert files >= {"config.json", "metrics.jsonl", "checkpoints", "results.zarr", "summary.json", "DONE"}
    phases = [line["phase"] for line in run_files.read_metrics(path)]
    assert list(dict.fromkeys(phases)) == ["train", "start", "warmup", "sample"] and phases[-8:] == ["sample"] * 8
    assert open_results(path)["sample_stats/lp"].shape == (2, 8)


def test_a_finished_run_is_refused_and_so_is_another_configuration(finished, script):
    path, _ = finished
    words = [SCRIPT, *WORDS, "--run-dir", path]
    before = (path / "summary.json").read_bytes()
    done = script(*words, check=False)
    assert done.returncode == INPUT_EXIT
    assert f"{path} is finished; see summary.json and results.zarr there" in done.stderr
    done = script(*words, "--num-draws", "9", "--temperature", "0.5", check=False)
    assert done.returncode == INPUT_EXIT
    assert "  chains/num_draws: 8 -> 9\n  posterior/temperature: 1.0 -> 0.5\n" in done.stderr
    assert (path / "summary.json").read_bytes() == before


def assert_summary(summary, task, num_chains=2):
    assert {name: summary[name] for name in ("backbone", "task")} == {"backbone": "mlp", "task": task}
    assert summary["num_trainable"] > 0
    sampler = summary["sampler"]
    assert sampler["name"] == "hmc" and len(sampler["step_size"]) == num_chains
    assert 0 < sampler["acceptance_rate"] <= 1 and sampler["num_divergent"] >= 0
    assert sampler["num_grad_evals"] == sampler["grad_evals_per_draw"] * 8 * num_chains > 0
    if modes := summary["modes"]:
        at_mean = summary["test"]["mean_network"]["raw"]
        assert len(modes["chambers"]["switches"]) == num_chains and modes["covariance"]["total"] > 0
        assert all(np.isfinite(at_mean[score]) for score in SCORES[task])
    for space in ("weight_space", "function_space"):
        assert all(summary[space][name] > 0 for name in SPACES)
    assert all(summary["seconds"][kind] > 0 for kind in ("compile", "warmup", "sample"))
    members = [name for name in ("map", "ensemble", "posterior") if summary["test"][name] is not None]
    assert all(np.isfinite(summary["test"][name][score]) for name in members for score in SCORES[task])
    shift = summary["shift"]
    assert (shift["ensemble"] is not None) == ("ensemble" in members)
    assert all(np.isfinite(shift["posterior"]["corrupted"]["noise"][score]) for score in SCORES[task])
    assert 0 <= shift["posterior"]["other"]["noise"]["auroc_epistemic"] <= 1
    return members


def test_summary_of_a_classifier(finished):
    summary = run_files.read_json(finished[0] / "summary.json")
    assert (summary["arch"], summary["dataset"]) == ("w_asym", "digits")
    # dense_0 64 x 6 with 8 of 64 fixed, LayerNorm 2 x 6, output 6 x 10 with 3 of 6 fixed, biases 6 and 10.
    lengths = summary["sampler"]["trajectory_length"]
    assert lengths[0] == lengths[1] != pytest.approx(np.pi / 2)
    assert (summary["num_trainable"], summary["num_fixed"]) == (64 * 6 + 12 + 60 + 16 - 78, 8 * 6 + 3 * 10)
    assert assert_summary(summary, "classification") == ["map", "ensemble", "posterior"]
    assert summary["seconds"]["train"] > 0


def assert_draws_are_a_zoo(path, summary, monkeypatch):
    """Compare networks read of a run with its draws, and their log densities with what the run says of the mean."""
    monkeypatch.setattr("asymjax.experiments.zoo.draws.MIN_DRAWS", 8)
    zoo, kept = asymjax.read_zoo(path), tree_of(read_arrays(path, "posterior/"), "posterior/")
    jax.tree.map(lambda leaf, draws: np.testing.assert_array_equal(leaf[8 + 3], draws[1, 3]), zoo.position, kept)
    density, known = zoo.target("test.log_density"), summary["test"]["posterior"]["gibbs_nll"]
    assert density.shape == (16,) and -density.mean() == pytest.approx(known, rel=1e-5)
    np.testing.assert_array_equal(zoo.target("chain"), np.repeat([0, 1], 8))
    params = zoo.networks("params")
    assert trees.flatten(params).keys() == trees.flatten(zoo.model.params_shape).keys()
    return zoo


def test_draws_are_a_zoo(finished, monkeypatch):
    path = finished[0]
    zoo = assert_draws_are_a_zoo(path, run_files.read_json(path / "summary.json"), monkeypatch)
    rows = data.load("digits").test
    logits = jax.jit(jax.vmap(zoo.model.apply, (0, None, None)))(zoo.position, zoo.frozen, rows.inputs)
    right = np.argmax(np.asarray(logits), axis=-1) == np.asarray(rows.targets)
    np.testing.assert_allclose(zoo.target("test.accuracy"), right.mean(axis=1), atol=1.5 / len(rows.targets))


def test_the_curve_of_convergence_ends_at_the_summary(finished):
    path, summary = finished[0], run_files.read_json(finished[0] / "summary.json")
    curve = convergence_curve(path, data.load("digits"), False)
    ends = {name: values[-1] for name, values in curve.items()}
    assert ends["num_draws"] == 8
    assert ends["rhat_max"] == summary["function_space"]["rhat_max"]
    assert ends["ess_bulk_min"] == summary["function_space"]["ess_bulk_min"]
    assert ends["lppd"] == pytest.approx(summary["test"]["posterior"]["lppd"])
    sampler = summary["sampler"]
    assert ends["num_grad_evals"] == sampler["num_grad_evals"] + sampler["num_warmup_grad_evals"]


def test_the_report_of_a_run(finished, script, tmp_path):
    path, _ = finished
    done = script(ROOT / "runs" / "report.py", path, "--out", tmp_path / "comparison")
    assert "w_asym" in done.stdout and (tmp_path / "comparison" / "table.md").exists()
    # The run itself drew them at its end.
    assert {"traces.png", "convergence.png", "reliability.png"} <= {file.name for file in (path / "figures").iterdir()}


def regression(script, out, *words):
    done = script(SCRIPT, *TINY.split(), "--dataset", "diabetes", *words, "--out", out)
    assert done.stderr == ""
    return run_files.read_json(Path(done.stdout.splitlines()[-1]) / "summary.json")


@pytest.mark.long
def test_a_regression_whose_chains_start_at_copies_of_one_optimum(script, tmp_path):
    starts = ["--num-chains", "4", "--start", "permuted", "--chains-per-start", "2"]
    warmup = ["--mass-matrix", "adapted", "--num-warmup", "20"]
    summary = regression(script, tmp_path, "--noise", "heteroscedastic", *starts, *warmup)
    assert assert_summary(summary, "regression", 4) == ["map", "ensemble", "posterior"]
    assert summary["num_trainable"] == 10 * 4 + 4 + 8 + (4 + 1) * 2
    assert len(summary["test"]["map_by_seed"]["rmse"]) == 1
    assert summary["function_space"]["nested_rhat_max"] > 1
    assert summary["modes"]["aligned_weight_space"]["nested_rhat_max"] > 1


def test_a_regression_that_starts_at_the_prior_has_no_optima(script, tmp_path, monkeypatch):
    summary = regression(script, tmp_path, "--noise", "learned", "--start", "prior")
    assert assert_summary(summary, "regression") == ["posterior"] and summary["modes"] is not None
    assert summary["num_trainable"] == 10 * 4 + 4 + 8 + 4 + 1 + 1
    (path,) = (tmp_path / "bnn_hmc").iterdir()
    zoo = assert_draws_are_a_zoo(path, summary, monkeypatch)
    assert zoo.scores.keys() == {"test.log_density"} and "noise" in zoo.position


def test_a_network_without_hidden_units_has_no_modes(script, tmp_path):
    summary = regression(script, tmp_path, "--noise", "fixed", "--noise-scale", "0.7", "--widths", "--norm", "none")
    assert assert_summary(summary, "regression") == ["map", "ensemble", "posterior"]
    assert summary["num_trainable"] == 10 + 1
    assert summary["modes"] is None and summary["test"]["mean_network"] is None


def test_a_run_that_is_interrupted_everywhere_ends_as_if_it_never_was(finished, python, script, interrupt, tmp_path):
    path = tmp_path / "run"
    words = [SCRIPT, *WORDS, "--run-dir", path]

    def num_draws():
        return len(list((path / "results.zarr/posterior_predictive/outputs/c/0").glob("*/0/0")))

    def interrupted(*where):
        """In a process of its own: what it was about to write is lost, and its files are left as they are."""
        return python(KILL, *where, *words, check=False)

    interrupt("train", 5, "before", *words)
    interrupt("warmup", 3, "between", *words)
    assert interrupted("sample", 4, "half").returncode == SIGKILL
    assert num_draws() == 3
    with ending("sample", 5, "sigterm", give_up):
        done = script(*words, check=False)
    assert done.returncode == SIGTERM_EXIT
    assert "sample chunk 5 of 8 is kept; run the same command to go on" in done.stderr
    assert num_draws() == 5

    for place, kept in (("full", 5), ("full_checkpoint", 6)):
        done = interrupted("sample", 6, place)
        assert done.returncode == INPUT_EXIT
        # Beside it a thread of the checkpoint may tell of its own end.
        assert done.stderr.count("error: ") == 1, done.stderr
        assert "chunk 6 of sample cannot be written (File too large)" in done.stderr
        assert "run the same command to go on" in done.stderr
        assert num_draws() == kept and not list((path / "results.zarr").rglob("*.partial"))
    assert not (path / "DONE").exists()
    script(*words)
    assert_same_outcome(path, finished[0])


@pytest.mark.long
def test_a_run_that_is_killed_at_random_ends_as_if_it_never_was(finished, python, tmp_path):
    words = [SCRIPT, *WORDS, "--run-dir", tmp_path / "run"]
    delay = random.uniform(2, 12)
    print(f"killed after {delay:.2f} s")
    with suppress(subprocess.TimeoutExpired):
        python(*words, check=False, timeout=delay)  # ends in SIGKILL
    if not (tmp_path / "run" / "DONE").exists():
        python(*words)
    assert_same_outcome(tmp_path / "run", finished[0])


def test_damage_is_refused_in_one_line_and_repaired_as_it_says(finished, script, interrupt, tmp_path):
    path = tmp_path / "run"
    words = [SCRIPT, *WORDS, "--run-dir", path]
    interrupt("sample", 3, "before", *words)

    def refusal():
        done = script(*words, check=False)
        assert done.returncode == INPUT_EXIT and "Traceback" not in done.stderr
        return done.stderr

    record = path / "config.json"
    sound = record.read_text()
    known = json.loads(sound)["checksums"]["frozen"]
    record.write_text(sound.replace(known, "0" * 64))
    assert f"the checksum of frozen is {known[:12]}, the run began with 000000000000" in refusal()
    record.write_text(sound[: len(sound) // 2])
    assert "config.json is damaged" in refusal()
    record.write_text(sound)

    latest = path / "checkpoints" / "sample" / "2"
    for file in [file for file in latest.rglob("*") if file.is_file()]:
        os.truncate(file, file.stat().st_size // 2)
    message = refusal()
    assert str(latest) in message and "delete that folder to go on" in message
    shutil.rmtree(latest)
    script(*words)
    assert_same_outcome(path, finished[0])
