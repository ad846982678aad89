"""The script of variational fits: to its end as a user runs it, through its report, and after interruptions."""

from pathlib import Path

import numpy as np
import pytest
from outcome import assert_same_outcome

from asymjax.lab import run_files

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "runs" / "bnn_vi.py"
TINY = "--widths 4 --num-draws 8 --num-warmup 20 --map-steps 10 --num-chains 2 --batch-size 16 --num-elbo-draws 4"
# The family with the largest state, every row with weights of its own, and elements of the group.
WORDS = [*TINY.split(), "--no-progress", "--family", "lowrank", "--symmetrise", "infonce", "--num-elements", "4"]
INPUT_EXIT = 2


@pytest.fixture(scope="module")
def finished(script, tmp_path_factory):
    done = script(SCRIPT, *WORDS, "--out", tmp_path_factory.mktemp("out"), draw=True)
    assert done.stderr == "" and "ELBO of each fit" in done.stdout
    return Path(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_summary_and_report(finished, script, tmp_path):
    summary = run_files.read_json(finished / "summary.json")
    fits = summary["sampler"]
    assert finished.parent.name == "bnn_vi" and finished.name.startswith("mlp-standard-digits-lowrank-")
    assert fits["name"] == "lowrank" and np.shape(fits["elbo"]) == (2,) and np.all(np.isfinite(fits["elbo"]))
    assert np.all(np.array(fits["kl"]) > 0) and np.all(np.array(fits["information"]) <= np.log(4) + 1e-5)
    np.testing.assert_allclose(fits["num_warmup_grad_evals"], 2 * 20 * 16 / summary["num_rows"]["train"], rtol=1e-5)
    assert "params" not in fits and fits["num_grad_evals"] == 0 and not summary["verdict"]["trusted"]
    assert "draws are of what was fitted" in summary["verdict"]["sentence"]
    done = script(ROOT / "runs" / "report.py", finished, "--out", tmp_path)
    assert "ELBO" in done.stdout and "nan" not in done.stdout and (tmp_path / "table.md").exists()


@pytest.mark.long
def test_a_run_that_is_interrupted_ends_as_if_it_never_was(finished, script, interrupt, tmp_path):
    words = [SCRIPT, *WORDS, "--run-dir", tmp_path / "run"]
    for phase, chunk, place in (("warmup", 3, "between"), ("sample", 5, "half")):
        interrupt(phase, chunk, place, *words)
    script(*words)
    assert_same_outcome(tmp_path / "run", finished)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--family", "fullrank", "--widths", "64"], "coordinates are too many for fullrank"),
        (["--family", "mean_field"], "unknown family 'mean_field'"),
        (
            ["--family", "meanfield", "--symmetrise", "exact", "--widths", "32", "--norm", "none"],
            "32 units are too many",
        ),
        (["--family", "lowrank", "--symmetrise", "bethe"], "bethe is for families with independent entries"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(script, tmp_path, words, reason):
    tiny = [word for word in TINY.replace("--widths 4", "").split()]
    done = script(SCRIPT, *tiny, "--no-progress", *words, "--out", tmp_path, check=False)
    assert done.returncode == INPUT_EXIT and reason in done.stderr, done.stderr
