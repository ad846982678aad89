"""Metanetworks as a user fits them: a zoo, the command on it, its report, and the end after interruptions."""

import signal
from pathlib import Path

import numpy as np
import pytest
from outcome import assert_same_outcome

import asymjax
from asymjax import data, metanets
from asymjax.lab import results, run_files
from asymjax.metanets import reader

ROOT = Path(__file__).parents[2]
SCRIPT, ZOO, KILL = ROOT / "runs" / "metanet.py", ROOT / "runs" / "zoo.py", Path(__file__).parent / "kill.py"
OF_ZOO = "--preset smoke --widths 4 --num-epochs 2 --batch-size 256 --no-progress"
FITS = "--preset smoke --num-epochs 2 --num-seeds 3 --metanets recipe statnn,widths=8 ridge --widened 6 --no-progress"
SIGTERM_EXIT, INPUT_EXIT = 75, 2
COMPARED = """
import sys
import jax, numpy as np
import asymjax
from asymjax.metanets import FitConfig, StatNN, fit
config = FitConfig(num_epochs=2, batch_size=16, learning_rates=(0.01,), num_trials=1, num_seeds=3)
found = fit(asymjax.read_zoo(sys.argv[1]), StatNN(widths=(8,)), key=jax.random.key(0), config=config)
np.save(sys.argv[2], found.predictions)
"""


@pytest.fixture(scope="module")
def zoo(script, tmp_path_factory):
    path = tmp_path_factory.mktemp("zoo") / "run"
    script(ZOO, *OF_ZOO.split(), "--run-dir", path)
    return path


@pytest.fixture(scope="module")
def finished(script, zoo, tmp_path_factory):
    done = script(SCRIPT, "--zoo", zoo, *FITS.split(), "--out", tmp_path_factory.mktemp("out"), draw=True)
    assert done.stderr == "" and "Kendall's tau-b, recipes alike" in done.stdout and "nan" not in done.stdout
    return Path(done.stdout.splitlines()[-1])


def test_summary_predictions_and_report(finished, zoo, script, tmp_path):
    assert finished.parent.name == "metanet" and finished.name.startswith("1_zoos-test_accuracy-")
    summary = run_files.read_json(finished / "summary.json")
    assert summary["zoos"]["standard"]["num_parts"] == {"train": 32, "validation": 16, "test": 16}
    assert summary["zoos"]["standard"]["path"] == str(zoo)
    cells = {cell["metanet"]: cell for cell in summary["cells"]}
    assert list(cells) == ["recipe", "statnn,widths=8", "ridge"]
    assert cells["recipe"]["learning_rate"] is None and cells["statnn,widths=8"]["learning_rate"] == 0.01
    scores = cells["statnn,widths=8"]["scores"]
    assert len(scores["tau"]["values"]) == len(scores["tau_within"]["values"]) == 3 and "tau_matched" not in scores
    found = results.read_arrays(finished, "predictions/")
    assert found["predictions/standard/statnn,widths=8/32"].shape == (3, 64)
    assert {"order.png", "order.pdf", "widened.png", "widened.pdf", "table.md"} == {
        file.name for file in (finished / "figures").iterdir()
    }
    assert len(found) == 3  # Nothing of what was learned, nor of wider networks.
    done = script(ROOT / "runs" / "report.py", finished, "--out", tmp_path)
    assert "statnn,widths=8" in done.stdout and "nan" not in done.stdout and (tmp_path / "table.md").exists()
    words = ["--zoo", zoo, *FITS.split(), "--run-dir", finished]
    done = script(SCRIPT, *words, check=False)
    assert done.returncode == INPUT_EXIT and "is finished; see summary.json" in done.stderr
    done = script(SCRIPT, *words, "--num-epochs", 3, check=False)
    assert done.returncode == INPUT_EXIT and "fit/num_epochs: 2 -> 3" in done.stderr


def test_barriers_are_a_target_that_the_reference_is_no_part_of(zoo, script, tmp_path):
    path = tmp_path / "run"
    words = ["--zoo", zoo, "--target", "barrier", "--metanets", "recipe", "--run-dir", path]
    done = script(SCRIPT, *words, draw=True)
    assert "barriers of standard" in done.stderr and "64 networks" in done.stderr
    whole = asymjax.read_zoo(zoo)
    expected = metanets.with_barriers(whole, data.load("digits").validation)
    kept = results.read_arrays(path, "zoos/")
    np.testing.assert_array_equal(kept["zoos/standard/id"], expected.ids)
    np.testing.assert_allclose(kept["zoos/standard/target"], expected.target("barrier"), rtol=1e-5, atol=1e-7)
    best = int(np.argmax(whole.scores["validation.accuracy"]))
    summary = run_files.read_json(path / "summary.json")["zoos"]["standard"]
    assert summary["excluded"] == {str(best): "the reference of barriers"} and summary["num_networks"] == 63
    assert summary["other_rows"] is None


def test_what_metanetworks_say_of_wider_networks(finished, zoo, script, tmp_path):
    cells = {cell["metanet"]: cell for cell in run_files.read_json(finished / "summary.json")["cells"]}
    for cell in cells.values():
        assert [(one["width"], one["way"]) for one in cell["widened"]] == [(6, "split"), (6, "idle")]
    for one, other in zip(cells["recipe"]["widened"], cells["statnn,widths=8"]["widened"], strict=True):
        before = cells["recipe"]["scores"]
        assert one["scores"]["change"]["mean"] == 0 and one["scores"]["tau"]["values"] == before["tau"]["values"]
        assert other["scores"]["change"]["mean"] > 0 and len(other["scores"]["r2"]["values"]) == 3
    for one in cells["ridge"]["widened"]:
        assert one["reason"] == "it has 310 features of a network, and these have 460"
    assert "standard: ridge cannot read networks of width 6: it has" in (finished / "figures" / "table.md").read_text()
    words = ["--zoo", zoo, *FITS.split(), "--run-dir", tmp_path / "run", "--widened", 2]
    done = script(SCRIPT, *words, check=False)
    assert done.returncode == INPUT_EXIT and not (tmp_path / "run").exists()
    assert "standard cannot be widened: units_0 has 4 units, and 2 in the wide model; give at least" in done.stderr


def test_a_run_that_is_interrupted_ends_as_if_it_never_was(finished, zoo, script, interrupt, tmp_path):
    words = [SCRIPT, "--zoo", zoo, *FITS.split(), "--run-dir", tmp_path / "run"]
    cell = "standard/statnn,widths=8/32"
    for phase, chunk, place in ((f"trials/{cell}", 1, "between"), (f"seeds/{cell}", 2, "before")):
        interrupt(phase, chunk, place, *words)
    assert not (tmp_path / "run" / "DONE").exists()
    script(*words)
    assert_same_outcome(tmp_path / "run", finished)


def test_a_run_on_weights_that_are_read_anew_goes_on_where_it_was(zoo, script, interrupt, monkeypatch, tmp_path):
    monkeypatch.setattr(reader, "MAX_BYTES", 0)
    shared = FITS.partition("--metanets")[0].split()
    words = [SCRIPT, "--zoo", zoo, *shared, "--metanets", "flat_mlp,widths=8", "--no-progress", "--run-dir"]
    script(*words, tmp_path / "whole")
    interrupt("seeds/standard/flat_mlp,widths=8/32", 2, "before", *words, tmp_path / "run")
    script(*words, tmp_path / "run")
    assert_same_outcome(tmp_path / "run", tmp_path / "whole")


@pytest.mark.long
def test_a_process_that_is_killed_or_asked_to_stop_goes_on_to_what_the_function_fits(zoo, python, tmp_path):
    words = [SCRIPT, "--zoo", zoo, *FITS.split(), "--run-dir"]
    cell = "standard/statnn,widths=8/32"
    python(*words, tmp_path / "whole", as_for_users=True)
    for phase, chunk, place, code in (
        (f"trials/{cell}", 1, "sigterm", SIGTERM_EXIT),
        (f"seeds/{cell}", 1, "between", -signal.SIGKILL),
        (f"seeds/{cell}", 2, "before", -signal.SIGKILL),
    ):
        done = python(KILL, phase, chunk, place, *words, tmp_path / "run", check=False, as_for_users=True)
        assert done.returncode == code, done.stderr
    python(*words, tmp_path / "run", as_for_users=True)
    assert_same_outcome(tmp_path / "run", tmp_path / "whole")
    python("-c", COMPARED, zoo, tmp_path / "fit.npy", as_for_users=True)
    found = results.read_arrays(tmp_path / "run", "predictions/")[f"predictions/{cell}"]
    np.testing.assert_array_equal(found, np.load(tmp_path / "fit.npy"))
