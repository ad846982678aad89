"""Sparse networks as a user studies them: the command, its report, interruptions, and what it refuses."""

import signal
from pathlib import Path

import numpy as np
import pytest
from outcome import assert_same_outcome

from asymjax.lab import results, run_files

ROOT = Path(__file__).parents[2]
SCRIPT, KILL = ROOT / "runs" / "sparse_lmc.py", Path(__file__).parent / "kill.py"
FLAGS = "--preset smoke --archs standard --widths 4 --batch-size 256 --num-points 3 --num-probes 2 --no-progress"
SOURCES = ("imp", "distilled", "subset", "random", "snip", "naive", "permuted")
STUDY = [*FLAGS.split(), "--sources", *SOURCES, "--rewind-steps", "3"]
INPUT_EXIT = 2


@pytest.fixture(scope="module")
def finished(script, tmp_path_factory):
    done = script(SCRIPT, *STUDY, "--out", tmp_path_factory.mktemp("out"), draw=True)
    assert done.stderr == "" and "dense twins" in done.stdout and "nan" not in done.stdout
    return Path(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_summary_arrays_and_report(finished):
    (study,) = run_files.read_json(finished / "summary.json")["studies"]
    assert (study["arch"], study["step"], len(study["counts"])) == ("standard", 3, 5)
    assert [(cell["source"], cell["round"]) for cell in study["cells"]] == [("dense", 0)] + [
        (source, level) for source in SOURCES for level in (2, 4)
    ]
    for cell in study["cells"][1:]:
        np.testing.assert_allclose(cell["sparsity"], 1 - study["counts"][cell["round"]] / study["counts"][0], atol=1e-6)
        assert len(cell["measures"]["test.error.over_mean"]["repeats"]) == 2
        assert len(cell["curvature"]["trace"]) == 5
    overlaps = {cell["source"]: cell["overlap"] for cell in study["cells"] if cell["round"] == 4}
    assert overlaps["imp"] is None and all(0 < overlaps[source] < 1 for source in SOURCES[1:])
    assert study["costs"]["distilled"]["decoded"] == study["costs"]["subset"]["decoded"] == 10
    found = results.read_arrays(finished, "paths/standard-3/")
    ends, seeds = found["paths/standard-3/ends"], found["paths/standard-3/seed"]
    twins = found["paths/standard-3/kind"] == 0
    assert (seeds[ends[twins]][:, 0] == seeds[ends[twins]][:, 1]).all()
    assert {"instability.png", "paths.png", "table.md"} <= {file.name for file in (finished / "figures").iterdir()}


@pytest.mark.long
def test_a_run_that_is_killed_goes_on_to_the_same_end(finished, interrupt, script, python, tmp_path):
    words = [*STUDY, "--run-dir", tmp_path / "run"]
    interrupt("distil-standard", 3, "between", SCRIPT, *words)
    killed = python(KILL, "imp-standard-3", 2, "before", SCRIPT, *words, check=False)
    assert killed.returncode == -signal.SIGKILL
    for phase, chunk, place in (
        ("imp-standard-3", 3, "between"),
        ("twins-standard-3", 1, "before"),
        ("paths-standard-3", 2, "between"),
    ):
        interrupt(phase, chunk, place, SCRIPT, *words)
    script(SCRIPT, *words)
    assert_same_outcome(finished, tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--sources imp distiled", "unknown source of masks 'distiled', choose from imp, distilled"),
        ("--sources imp imp", "give one value at least, and each once"),
        ("--sparsities 0.59 0.6", "come nearest to rounds"),
        ("--sparsities 0.9999999", "weights are left, fewer than the"),
        ("--rewind-steps 100000", "but training takes"),
        ("--sources naive --num-seeds 1", "two seeds at least"),
        ("--dataset diabetes", "has no classes"),
        ("--recipe drawn", "trained alike"),
        ("--num-points 4", "odd number"),
        ("--images-per-class 200", "one class has"),
        ("--sources imp --weight-decay 0.1", "sgd has no weight decay"),
        ("--sources imp subset --search-epochs 1 --warmup-steps 5", "learning_rate is never reached"),
        ("--factor 3", "factor"),
        ("--augmentations crp", "unknown augmentation"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(words, message, script, tmp_path):
    done = script(SCRIPT, *FLAGS.split(), *words.split(), "--run-dir", tmp_path / "run", check=False)
    assert done.returncode == INPUT_EXIT and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists() or not (tmp_path / "run" / "checkpoints").exists()
