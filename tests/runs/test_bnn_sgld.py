"""The script of minibatch samplers: to its end as a user runs it, through its report, and after interruptions."""

from pathlib import Path

import numpy as np
import pytest
from outcome import assert_same_outcome

from asymjax.lab import run_files

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "runs" / "bnn_sgld.py"
TINY = "--widths 4 --num-draws 8 --thinning 5 --num-warmup 20 --map-steps 10 --num-chains 2 --batch-size 16"
# The family's largest state: a scale of every coordinate that warmup hands on, and control variates.
WORDS = [*TINY.split(), "--no-progress", "--sampler", "psmile", "--control-variates"]
INPUT_EXIT = 2


@pytest.fixture(scope="module")
def finished(script, tmp_path_factory):
    done = script(SCRIPT, *WORDS, "--out", tmp_path_factory.mktemp("out"), draw=True)
    assert done.stderr == ""
    return Path(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_summary_and_report(finished, script, tmp_path):
    summary = run_files.read_json(finished / "summary.json")
    sampler = summary["sampler"]
    assert finished.name.startswith("mlp-standard-digits-psmile-") and sampler["name"] == "psmile"
    assert len(sampler["step_size"]) == 2 and sampler["mean_squared_energy_change"] > 0
    share = 2 * 16 / summary["num_rows"]["train"]
    np.testing.assert_allclose(sampler["grad_evals_per_draw"], 5 * share, rtol=1e-5)
    np.testing.assert_allclose(sampler["num_warmup_grad_evals"], 2 * (20 * share + 1), rtol=1e-5)
    assert sampler["acceptance_rate"] is None and sampler["num_divergent"] == 0
    done = script(ROOT / "runs" / "report.py", finished, "--out", tmp_path)
    assert "standard" in done.stdout and "nan" not in done.stdout and (tmp_path / "table.md").exists()
    assert {"traces.png", "convergence.png"} <= {file.name for file in (finished / "figures").iterdir()}


@pytest.mark.long
def test_a_run_that_is_interrupted_ends_as_if_it_never_was(finished, script, interrupt, tmp_path):
    words = [SCRIPT, *WORDS, "--run-dir", tmp_path / "run"]
    for phase, chunk, place in (("warmup", 3, "between"), ("sample", 5, "half")):
        interrupt(phase, chunk, place, *words)
    script(*words)
    assert_same_outcome(tmp_path / "run", finished)


def test_what_cannot_be_is_refused_before_any_work(script, tmp_path):
    done = script(SCRIPT, *WORDS, "--sampler", "csgld", "--num-cycles", "3", "--out", tmp_path, check=False)
    assert done.returncode == INPUT_EXIT and "3 cycles do not divide 8 draws" in done.stderr
    assert not list(tmp_path.iterdir())
