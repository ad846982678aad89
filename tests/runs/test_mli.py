"""Paths from start to end as a user follows them: to their end, through interruptions, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from asymjax.lab import run_files
from asymjax.report.read import read_results
from asymjax.symmetry.interpolation import path_statistics, summarise_statistics

ROOT = Path(__file__).parents[2]
SCRIPT, SWEEP = ROOT / "runs" / "mli.py", ROOT / "runs" / "train_sweep.py"
ARCHS = ("standard", "w_asym")
TRAINING = ["--widths", "6", "--num-epochs", "3", "--num-seeds", "6", "--no-progress"]
RECIPE = ["--recipe", "drawn", "--learning-rate", "0.1", "--weight-decay", "0.03", "--label-smoothing", "0.2"]
PATHS = ["--num-points", "5", "--num-train-rows", "100"]
WORDS = ["--preset", "smoke", *TRAINING, *RECIPE, *PATHS, "--archs", *ARCHS]
INPUT_EXIT = 2


def run_directory(done):
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def finished(python, tmp_path_factory):
    done = python(SCRIPT, *WORDS, "--out", tmp_path_factory.mktemp("out"))
    return run_directory(done), done


@pytest.fixture(scope="module")
def summary(finished):
    return run_files.read_json(finished[0] / "summary.json")


@pytest.fixture(scope="module")
def curves(finished):
    return read_results(finished[0], "kinds/")


def test_a_run_prints_its_tables_and_leaves_its_directory(finished):
    path, done = finished
    assert done.stderr == ""
    assert path.parent.name == "mli" and path.name.startswith("mlp-digits-")
    assert (path / "DONE").exists()
    for word in ("standard", "w_asym", "share monotonic", "global, released rule", "Beside the paper", "0.079 ± 0.109"):
        assert word in done.stdout
    phases = [line["phase"] for line in run_files.read_metrics(path)]
    assert phases == [f"{step}-{arch}" for arch in ARCHS for step in ("train", "paths", "paths")]


def test_statistics_are_those_of_the_curves(summary, curves):
    for arch, kind in summary["kinds"].items():
        assert (kind["networks"], kind["excluded"]) == (list("012345"), {})
        for split in ("train", "test"):
            found = path_statistics(curves["points"], curves[f"{arch}/{split}/loss/curves"])
            assert kind["statistics"][split] == summarise_statistics(found)
            for name, values in found.items():
                np.testing.assert_array_equal(curves[f"{arch}/{split}/{name}"], values)
            for end, place in {"initial": 0, "trained": -1}.items():
                for metric in ("loss", "accuracy"):
                    assert kind[end][split][metric] == curves[f"{arch}/{split}/{metric}/curves"][:, place].tolist()


def test_paths_lead_from_the_starts_to_the_networks_of_a_sweep(summary, script, tmp_path):
    words = [*TRAINING, *RECIPE, "--arch", "w_asym", "--out", tmp_path]
    trained, begun = (
        run_files.read_json(run_directory(script(SWEEP, *words, *more)) / "summary.json")
        for more in ([], ["--learning-rate", "1e-30", "--weight-decay", "0"])
    )
    kind = summary["kinds"]["w_asym"]
    assert kind["recipes"] == {name: trained["coordinates"][name] for name in kind["recipes"]}
    smoothing = np.array(kind["recipes"]["label_smoothing"])
    assert smoothing.std() > 0.01
    for end, sweep in {"trained": trained, "initial": begun}.items():
        np.testing.assert_allclose(kind[end]["test"]["accuracy"], sweep["test"]["accuracy"], rtol=1e-5)
    # Of networks that know something, smoothed labels cost more than the labels alone.
    assert np.all(np.array(kind["trained"]["test"]["loss"]) > trained["test"]["loss"])


def outcome(path):
    """Return what must not depend on interruptions: curves, metrics, summary without seconds."""
    metrics = [{name: line[name] for name in line.keys() - {"seconds"}} for line in run_files.read_metrics(path)]
    summary = run_files.read_json(path / "summary.json")
    summary.pop("seconds")
    return read_results(path, "kinds/"), json.dumps([metrics, summary], indent=1)


@pytest.mark.long
def test_a_run_that_is_interrupted_everywhere_ends_as_if_it_never_was(finished, script, interrupt, tmp_path):
    path = tmp_path / "run"
    words = [SCRIPT, *WORDS, "--run-dir", path]
    interrupt("train-standard", 1, "between", *words)
    interrupt("paths-w_asym", 1, "between", *words)
    assert not (path / "DONE").exists()
    script(*words)
    (found, text), (expected, expected_text) = outcome(path), outcome(finished[0])
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert text == expected_text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-points", "4"], "num_points is 4; give an odd number"),
        (["--num-seeds", "1"], "num_seeds is 1; give two networks of a variant"),
        (["--dataset", "diabetes"], "label_smoothing is 0.2, but diabetes has no classes"),
        (["--archs", "nonsense"], "unknown arch 'nonsense', choose from standard"),
    ],
)
def test_what_cannot_be_followed_is_refused(script, tmp_path, words, message):
    done = script(SCRIPT, *WORDS, *words, "--out", tmp_path, check=False)
    assert done.returncode == INPUT_EXIT and message in done.stderr
