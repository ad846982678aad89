"""Networks of more than a million trainable entries: outputs are kept instead of weights."""

import re
from pathlib import Path

import numpy as np
import pytest

from asymjax.lab import run_files

RUNS = Path(__file__).parents[2] / "runs"
MILLION, MAX_MEGABYTES = 1_000_000, 200
WORDS = "--widths 1000 1000 --keep outputs --num-chains 2 --map-steps 4 --num-draws 8 --thinning 2 --no-progress"
CASES = {
    "bnn_sgld.py": "--sampler sghmc --num-warmup 10",
    "bnn_mclmc.py": "--sampler mclmc --num-warmup 8 --num-stages 2",
}


@pytest.mark.long
@pytest.mark.parametrize("script", CASES)
def test_a_million_entries_run_in_little_memory(script, python, tmp_path):
    words = f"{WORDS} {CASES[script]}".split()
    done = python(RUNS / script, *words, "--run-dir", tmp_path / "run", timeout=1200)
    summary = run_files.read_json(tmp_path / "run" / "summary.json")
    assert summary["num_trainable"] > MILLION and summary["weight_space"] is None
    assert np.isfinite(summary["test"]["posterior"]["lppd"])
    said = [float(number.replace(",", "")) for number in re.findall(r"memory: ([\d.,]+) MB of", done.stdout)]
    assert len(said) >= 3 and max(said) < MAX_MEGABYTES
