"""The comparison of kinds as a user runs it: to its end, through interruptions, and from finished sweeps."""

import json
import os
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from kill import ending, give_up

from asymjax.lab import run_files
from asymjax.report.read import read_results
from asymjax.symmetry.connectivity import barriers, over_pairs

ROOT = Path(__file__).parents[2]
SCRIPT, SWEEP = ROOT / "runs" / "lmc.py", ROOT / "runs" / "train_sweep.py"
TRAINING = ["--widths", "6", "--num-epochs", "4", "--num-seeds", "4", "--weight-decay", "0.03", "--no-progress"]
PATHS = ["--num-points", "5", "--num-train-rows", "100", "--plane-points", "5"]
ARCHS = ("standard", "w_asym")
WORDS = ["--preset", "smoke", *TRAINING, *PATHS, "--archs", *ARCHS]
SIGTERM_EXIT, INPUT_EXIT = 75, 2


def outcome(path):
    """Return what must not depend on interruptions: curves, metrics, summary without seconds."""
    metrics = [{name: line[name] for name in line.keys() - {"seconds"}} for line in run_files.read_metrics(path)]
    summary = run_files.read_json(path / "summary.json")
    summary.pop("seconds")
    return read_results(path, "kinds/"), json.dumps([metrics, summary], indent=1)


def assert_same_outcome(path, expected_path):
    (curves, text), (expected, expected_text) = outcome(path), outcome(expected_path)
    assert curves.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(curves[name], array, err_msg=name)
    assert text == expected_text


def run_directory(done):
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def finished(python, tmp_path_factory):
    done = python(SCRIPT, *WORDS, "--out", tmp_path_factory.mktemp("out"))
    return run_directory(done), done


@pytest.fixture(scope="module")
def kinds(finished):
    return run_files.read_json(finished[0] / "summary.json")["kinds"]


@pytest.fixture(scope="module")
def curves(finished):
    return read_results(finished[0], "kinds/")


def test_a_run_prints_its_tables_and_leaves_its_directory(finished):
    path, done = finished
    assert done.stderr == ""
    assert path.parent.name == "lmc" and path.name.startswith("mlp-digits-")
    assert {file.name for file in path.iterdir()} >= {
        "config.json",
        "metrics.jsonl",
        "summary.json",
        "results.zarr",
        "DONE",
    }
    for word in ("standard", "w_asym", "recalibrated", "midpoint", "±"):
        assert word in done.stdout
    phases = [line["phase"] for line in run_files.read_metrics(path)]
    steps = ("train", "paths", "paths", "aligned", "aligned", "plane")
    assert phases == [f"{step}-{arch}" for arch in ARCHS for step in steps]


def test_summary_says_what_was_compared(finished, kinds, curves):
    summary = run_files.read_json(finished[0] / "summary.json")
    assert (summary["dataset"], summary["task"], summary["backbone"]) == ("digits", "classification", "mlp")
    assert summary["num_measured_rows"] == {"train": 100, "test": summary["num_rows"]["test"]}
    assert all(summary["seconds"][kind] > 0 for kind in ("compile", "train", "paths", "strength", "plane"))
    assert list(kinds) == list(ARCHS)
    for arch, kind in kinds.items():
        assert (kind["arch"], kind["networks"], kind["excluded"]) == (arch, ["0", "1", "2", "3"], {})
        assert (kind["num_pairs"], kind["aligned"]["num_pairs"]) == (6, 6)
        starts, matching = curves[f"{arch}/aligned/objectives"], kind["aligned"]["matching"]
        assert starts.shape == (6, 2) and np.all(starts > 0)
        assert matching["best"]["mean"] == pytest.approx(starts.max(axis=1).mean())
        assert 0 <= matching["spread"]["mean"] < 1
    # dense_0 64 x 6 with 8 of 64 fixed, output 6 x 10 with 3 of 6 fixed.
    assert kinds["w_asym"]["num_fixed"] == 8 * 6 + 3 * 10


def test_ends_of_curves_are_the_networks_and_their_middles_the_averages_of_two(kinds, curves):
    for arch, kind in kinds.items():
        pairs = curves[f"{arch}/pairs"]
        for split in ("train", "test"):
            assert kind["alone"][split].keys() == {"loss", "recalibrated_loss", "accuracy"}
            for metric, alone in kind["alone"][split].items():
                curve = curves[f"{arch}/{split}/{metric}/curves"]
                np.testing.assert_allclose(curve[:, [0, -1]], np.array(alone)[pairs], rtol=1e-5)
                average = kind["average"][split][metric]
                assert average[0] == pytest.approx(alone[0], rel=1e-6)
                assert average[1] == pytest.approx(curve[0, 2], rel=1e-4)
                assert len(average) == 4


def test_barriers_are_those_of_the_curves(kinds, curves):
    for arch, kind in kinds.items():
        pairs = curves[f"{arch}/pairs"]
        for metric, sign in {"loss": 1, "recalibrated_loss": 1, "accuracy": -1}.items():
            found = barriers(curves["points"], sign * curves[f"{arch}/test/{metric}/curves"])
            for which, values in found.items():
                statistics = over_pairs(values, pairs)
                assert kind["barrier"]["test"][metric][which] == {n: float(v) for n, v in statistics.items()}
                np.testing.assert_array_equal(curves[f"{arch}/test/{metric}/{which}"], values)


def test_planes_hold_their_networks(kinds, curves):
    for arch, kind in kinds.items():
        assert kind["plane"] == {"networks": ["0", "1", "2"], "metric": "filter", "num_rows": 359}
        first, second, loss, corners = (curves[f"{arch}/plane/{n}"] for n in ("first", "second", "loss", "corners"))
        assert loss.shape == curves[f"{arch}/plane/accuracy"].shape == (len(second), len(first)) == (5, 5)
        assert first[0] < corners[:, 0].min() and second[-1] > corners[:, 1].max()
        assert loss.min() < 1.2 * min(kind["alone"]["test"]["loss"]) and np.all(np.isfinite(loss))


def test_strengths_are_zero_without_fixed_weights_and_larger_with_them(kinds, curves):
    standard, w_asym = (kinds[arch]["strength"]["layers"]["dense_0/kernel"] for arch in ARCHS)
    assert standard["distance"] == standard["swap_cost_median"] == [0.0] * 3
    assert min(w_asym["distance"]) > 0.1 and min(w_asym["swap_cost_median"]) > 0.1
    assert curves["w_asym/strength/dense_0/kernel"].shape == (6 * 5 // 2,)


@pytest.mark.long
def test_a_run_that_is_interrupted_everywhere_ends_as_if_it_never_was(finished, script, interrupt, tmp_path):
    path = tmp_path / "run"
    words = [SCRIPT, *WORDS, "--run-dir", path]
    interrupt("paths-standard", 2, "between", *words)
    with ending("paths-w_asym", 1, "sigterm", give_up):
        done = script(*words, check=False)
    assert done.returncode == SIGTERM_EXIT
    assert "paths-w_asym chunk 1 of 2 is kept; run the same command to go on" in done.stderr
    assert not (path / "DONE").exists()
    interrupt("plane-w_asym", 1, "before", *words)
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


def test_another_configuration_is_refused(finished, script):
    done = script(SCRIPT, *WORDS, "--run-dir", finished[0], "--num-points", "7", "--mask-seed", "1", check=False)
    assert done.returncode == INPUT_EXIT
    assert "  connectivity/num_points: 5 -> 7\n  kinds/standard/model/mask_seed: 0 -> 1\n" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-points", "4"], "num_points is 4; give an odd number"),
        (["--plane-points", "2"], "plane_points is 2; give 0 for no plane, or 3 at least"),
        (["--num-seeds", "1"], "num_seeds is 1; give two networks of a variant"),
        (["--num-train-rows", "0"], "num_train_rows is 0; give a number in [1, 1e+09]"),
        (["--archs", "nonsense"], "unknown arch 'nonsense', choose from standard"),
        (["--corruptions", "fog"], "unknown corruption 'fog', choose from noise"),
        (["--vary", "width"], "vary is width and values are (); give both or neither"),
        (["--sweeps", "nowhere"], "nowhere/config.json does not exist"),
    ],
)
def test_what_cannot_be_measured_is_refused(script, tmp_path, words, message):
    done = script(SCRIPT, *WORDS, *words, "--out", tmp_path, check=False)
    assert done.returncode == INPUT_EXIT and message in done.stderr


def test_regression_has_losses_alone(script, tmp_path):
    words = [*WORDS, "--dataset", "diabetes", "--num-seeds", "2", "--archs", "standard"]
    done = script(SCRIPT, *words, "--out", tmp_path)
    kind = run_files.read_json(run_directory(done) / "summary.json")["kinds"]["standard"]
    assert kind["barrier"]["test"].keys() == {"loss"}
    assert kind["barrier"]["test"]["loss"]["midpoint"]["low"] is None  # One pair has no interval.
    assert "accuracy" not in done.stdout and "nan" not in done.stdout


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*is the whole fan-in")
def test_residual_networks_connect_and_align(script, tmp_path):
    """A tiny version of the presets for CIFAR: residual streams are permuted together in every stage."""
    network = ["--backbone", "resnet", "--depth", "8", "--width-multiplier", "0.125", "--activation", "relu"]
    words = [word for word in WORDS if word not in ("--widths", "6")]
    words += [*network, "--num-seeds", "3", "--num-epochs", "1", "--archs", "standard", "--num-points", "3"]
    path = run_directory(script(SCRIPT, *words, "--controls", "small_standard", "--out", tmp_path))
    kinds = run_files.read_json(path / "summary.json")["kinds"]
    assert kinds["small_standard"]["num_trainable"] < kinds["standard"]["num_trainable"]
    distances = {name: (kind["distance"]["mean"], kind["aligned"]["distance"]["mean"]) for name, kind in kinds.items()}
    assert all(aligned < apart for apart, aligned in distances.values())


@pytest.mark.long
def test_controls_and_settings_that_vary_are_kinds(script, tmp_path):
    words = [*WORDS, "--num-seeds", "3", "--num-epochs", "1", "--archs", "w_asym", "--corruptions", "noise"]
    kinds = ["--controls", "different_masks", "--vary", "mask_seed", "--values", "0", "1"]
    done = script(SCRIPT, *words, *kinds, "--out", tmp_path)
    summary = run_files.read_json(run_directory(done) / "summary.json")
    assert list(summary["kinds"]) == ["w_asym-mask_seed-0", "w_asym-mask_seed-1", "different_masks"]
    assert [kind["varied"] for kind in summary["kinds"].values()] == [["mask_seed", 0], ["mask_seed", 1], None]
    assert summary["num_measured_rows"]["noise"] == summary["num_rows"]["test"]
    for words in ("Variance of the barrier", "Accuracy on corrupted test rows"):
        assert words in done.stdout
    report = script(ROOT / "runs" / "report.py", run_directory(done), draw=True)
    assert (run_directory(report) / "varied.png").exists()


# Finished sweeps


@pytest.fixture(scope="module")
def sweep(script, tmp_path_factory):
    """Return a function that trains a sweep as the comparison does, and returns its directory."""
    out = tmp_path_factory.mktemp("sweeps")

    def train(arch, *words):
        return run_directory(script(SWEEP, *TRAINING, "--arch", arch, *words, "--out", out))

    return train


@pytest.fixture(scope="module")
def sweeps(sweep):
    return {arch: sweep(arch) for arch in ARCHS}


def compare(script, paths, tmp_path, check=True):
    words = [SCRIPT, "--preset", "smoke", *PATHS, "--no-progress", "--out", tmp_path, "--sweeps", *paths]
    return script(*words, check=check)


def test_finished_sweeps_give_the_same_numbers_and_stay_as_they_are(finished, sweeps, script, tmp_path):
    before = {path: file_times(path) for path in sweeps.values()}
    path = run_directory(compare(script, sweeps.values(), tmp_path))
    assert {path: file_times(path) for path in sweeps.values()} == before
    (found, _), (expected, _) = outcome(path), outcome(finished[0])
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    kinds, trained = (run_files.read_json(run / "summary.json")["kinds"] for run in (path, finished[0]))
    assert kinds == trained


def file_times(path):
    return {file: os.stat(file).st_mtime_ns for file in path.rglob("*")}


@pytest.mark.long
def test_sweeps_of_one_method_are_one_kind(sweeps, sweep, script, tmp_path):
    other = sweep("standard", "--num-seeds", "2", "--init-seed", "1", "--seed", "1")
    path = run_directory(compare(script, [sweeps["standard"], other], tmp_path))
    (kind,) = run_files.read_json(path / "summary.json")["kinds"].values()
    assert kind["networks"] == ["0.0", "0.1", "0.2", "0.3", "1.0", "1.1"]
    assert kind["num_pairs"] == 15


def test_sweeps_that_do_not_fit_are_refused_by_field(sweeps, sweep, script, tmp_path):
    def refusal(*paths):
        done = compare(script, paths, tmp_path, check=False)
        assert done.returncode == INPUT_EXIT and "Traceback" not in done.stderr
        return done.stderr

    standard, w_asym = sweeps.values()
    other = sweep("w_asym", "--mask-seed", "1", "--num-epochs", "1")
    message = refusal(standard, w_asym, other)
    assert f"{w_asym} and {other} are both w_asym, so one variant, but differ in" in message
    assert "  checksums/frozen: " in message
    assert "  model/mask_seed: 0 -> 1\n  optimizer/num_epochs: 4 -> 1\n" in message
    other = sweep("w_asym", "--dataset", "wine", "--batch-size", "16")
    message = refusal(standard, other)
    assert "compared on the same data, but differ in" in message
    assert "  data/dataset: 'digits' -> 'wine'\n" in message
    assert "hold the same networks (equal seeds)" in refusal(standard, standard)


def test_sweeps_that_cannot_be_used_are_refused(finished, sweeps, script, tmp_path):
    def refusal(path):
        done = compare(script, [path], tmp_path, check=False)
        assert done.returncode == INPUT_EXIT and "Traceback" not in done.stderr
        return done.stderr

    assert "holds a run of lmc, not of train_sweep" in refusal(finished[0])
    path = sweeps["standard"]
    (path / "DONE").rename(path / "GONE")
    assert f"{path} is not finished" in refusal(path)
    (path / "GONE").rename(path / "DONE")
    record = path / "config.json"
    sound = record.read_text()
    known = json.loads(sound)["checksums"]["frozen"]
    record.write_text(sound.replace(known, "0" * 64))
    assert "the sweep was trained with 000000000000" in refusal(path)
    record.write_text(sound)


@pytest.mark.long
def test_graph_networks_are_trained_in_full_and_compared(script, tmp_path):
    words = [
        "--preset",
        "digits_graph",
        "--archs",
        "w_sigma_asym",
        "--widths",
        "8",
        "--num-epochs",
        "4",
        "--warmup-steps",
        "0",
    ]
    done = script(SCRIPT, *words, "--num-seeds", "2", "--num-points", "3", "--no-progress", "--out", tmp_path)
    assert done.stderr == ""
    summary = run_files.read_json(run_directory(done) / "summary.json")
    assert (summary["dataset"], summary["backbone"]) == ("digits_graph", "gcn")
    assert summary["num_measured_rows"] == {"train": 1258, "test": 359}
    kind = summary["kinds"]["w_sigma_asym"]
    assert (kind["num_pairs"], kind["num_fixed"], kind["aligned"]["num_pairs"]) == (1, 6 * 8 + 6 * 10, 1)
    done = script(SCRIPT, *words, "--batch-size", "64", "--out", tmp_path, check=False)
    assert done.returncode == INPUT_EXIT
    assert "batch_size is 64, but a graph is trained as a whole; give None" in done.stderr
