"""Distillation as a user runs it: to its end, through interruptions, as a dataset of other scripts, and refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from asymjax import data
from asymjax.experiments.distillation.run import random_subsets
from asymjax.lab import run_files
from asymjax.report.read import read_results

ROOT = Path(__file__).parents[2]
SCRIPT, SWEEP, LMC = (ROOT / "runs" / f"{name}.py" for name in ("distill", "train_sweep", "lmc"))
NETWORK = ["--backbone", "mlp", "--widths", "6", "--no-progress"]
TRAINING = ["--num-seeds", "2", "--train-steps", "40", "--batch-size", "10"]
STEPS = ["--num-steps", "40", "--num-networks", "2", "--network-steps", "2", "--real-per-class", "4"]
WORDS = ["--preset", "smoke", *NETWORK, *TRAINING, *STEPS]
INPUT_EXIT = 2


def run_directory(done):
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def finished(script, tmp_path_factory):
    done = script(SCRIPT, *WORDS, "--out", tmp_path_factory.mktemp("out"), draw=True)
    return run_directory(done), done


@pytest.fixture(scope="module")
def summary(finished):
    return run_files.read_json(finished[0] / "summary.json")


@pytest.mark.long
def test_a_run_tells_what_it_found_and_leaves_images_and_figures(finished, summary):
    path, done = finished
    assert done.stderr == ""
    assert path.parent.name == "distill" and path.name.startswith("mlp-standard-digits-gradient-1-")
    for word in ("gradient (DC)", "10 distilled rows", f"--dataset distilled/{path}"):
        assert word in done.stdout
    assert {file.name for file in (path / "figures").glob("*.png")} == {"images.png", "accuracy.png"}
    counts = {"visited": 40 * 2 * 40, "visited_distilled": 80 * 3 * 10, "gradient_steps": 80 * 20 + 160}
    assert summary["counts"] == {"stored": 10, "decoded": 10} | counts
    assert summary["steps"] == [0, 10, 20, 30, 40] and len(summary["curve"]) == 5
    arrays = read_results(path, "distillation/", "stored", "losses", "distilled", "random", "whole")
    assert arrays["stored"].shape == (10, 8, 8, 1) and arrays["distilled"].shape == (5, 2)
    assert arrays["losses"][-10:].mean() < arrays["losses"][:10].mean()
    for name, values in {"distilled": arrays["distilled"][-1], "random": arrays["random"]}.items():
        assert summary["accuracy"][name]["networks"] == pytest.approx(values.tolist())
        assert summary["accuracy"][name]["mean"] == pytest.approx(values.mean())


@pytest.mark.long
def test_networks_are_those_of_a_sweep_on_the_distilled_dataset(finished, summary, script, tmp_path):
    words = ["--batch-size", "10", "--learning-rate", "3e-3", "--num-epochs", "40", "--num-seeds", "2"]
    name = f"distilled/{finished[0]}"
    swept = run_directory(script(SWEEP, *NETWORK, *words, "--dataset", name, "--out", tmp_path))
    found = run_files.read_json(swept / "summary.json")
    assert found["num_rows"] == {"train": 10, "validation": 180, "test": 359}
    np.testing.assert_allclose(found["test"]["accuracy"], summary["accuracy"]["distilled"]["networks"], atol=1e-6)
    done = script(SWEEP, *NETWORK, "--dataset", name, "--out", tmp_path, check=False)
    assert done.returncode == INPUT_EXIT and "batch_size is 64, there are 10 training rows" in done.stderr


@pytest.mark.long
def test_paths_between_networks_of_a_distilled_dataset(finished, script, tmp_path):
    words = ["--preset", "smoke", "--archs", "standard", *NETWORK, "--batch-size", "10", "--num-points", "3"]
    path = run_directory(script(LMC, *words, "--dataset", f"distilled/{finished[0]}", "--out", tmp_path))
    assert run_files.read_json(path / "summary.json")["num_measured_rows"] == {"train": 10, "test": 359}


def outcome(path):
    """Return what must not depend on interruptions: images, scores, metrics, summary without seconds."""
    metrics = [{name: line[name] for name in line.keys() - {"seconds"}} for line in run_files.read_metrics(path)]
    summary = run_files.read_json(path / "summary.json")
    summary.pop("seconds")
    rows = data.load(f"distilled/{path}").train
    return read_results(path, "distillation/") | rows._asdict(), json.dumps([metrics, summary], indent=1)


@pytest.mark.long
def test_a_run_that_is_interrupted_everywhere_ends_as_if_it_never_was(finished, script, interrupt, tmp_path):
    path = tmp_path / "run"
    words = [SCRIPT, *WORDS, "--run-dir", path]
    interrupt("distil", 7, "between", *words)
    interrupt("distil", 20, "before", *words)
    interrupt("train-random", 1, "between", *words)
    assert not (path / "DONE").exists()
    script(*words)
    (found, text), (expected, expected_text) = outcome(path), outcome(finished[0])
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert text == expected_text


def test_random_subsets_have_as_many_rows_of_each_class_and_differ():
    labels = np.arange(60) % 3
    chosen = random_subsets(labels, 4, 5, seed=0)
    assert chosen.shape == (5, 12) and all(len(set(own)) == 12 for own in chosen)
    assert (np.sort(labels[chosen], axis=1) == np.repeat([0, 1, 2], 4)).all()
    assert len({tuple(sorted(own)) for own in chosen}) == 5
    np.testing.assert_array_equal(chosen[:2], random_subsets(labels, 4, 2, seed=0))


@pytest.mark.long
def test_rows_without_pixels_are_distilled_too(script, tmp_path):
    words = [*WORDS, "--dataset", "wine", "--method", "distribution", "--no-whole", "--out", tmp_path]
    done = script(SCRIPT, *words, draw=True)
    path = run_directory(done)
    assert [file.name for file in (path / "figures").glob("*.png")] == ["accuracy.png"]
    assert data.load(f"distilled/{path}").train.inputs.shape == (3, 13)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "diabetes"], "diabetes has no classes"),
        (["--dataset", "wine", "--factor", "2"], "factor is 2, and inputs have shape (13,)"),
        (["--dataset", "wine", "--augmentations", "crop"], "crop change images"),
        (["--augmentations", "blur"], "unknown augmentation 'blur'"),
        (["--images-per-class", "500"], "rows of each class are asked for"),
        (["--dataset", "distilled/nowhere"], "nowhere is no finished run of runs/distill.py"),
        (["--backbone", "gcn"], "gcn"),
    ],
)
def test_what_cannot_be_distilled_is_refused(script, tmp_path, words, message):
    done = script(SCRIPT, *WORDS, *words, "--out", tmp_path, check=False)
    assert done.returncode == INPUT_EXIT and message in done.stderr
