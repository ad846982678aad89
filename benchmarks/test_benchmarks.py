"""Benchmarks as pytest cases, most at the size of the command line's defaults; see test_convergence.py for that."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = {
    "bench_train_sweep.py": "",
    "bench_convolution.py": "",
    "bench_hmc.py": "",
    "bench_minibatch.py": "",
    "bench_vi.py": "--peers --num-fit-steps 500",
    "bench_alignment.py": "",
    "bench_curvature.py": "--backbones mlp --num-rounds 1",
    "null_spaces.py": "--networks mlp --archs w_asym --num-networks 1 --num-epochs 1 --num-rows 10",
    "bench_paths.py": "--widths 11 --replays 10 --drift-widths 11 --cuts 1 --num-paths 2 --num-rounds 1",
    "bench_metanets.py": "--num-networks 512 --num-hidden 2 4",
    "bench_lmc.py": "",
    "bench_sparse.py": "--networks mlp --num-seeds 1 --num-rounds 1 --num-epochs 1 --repeats 1 --num-networks 1",
    "bench_against.py": "--targets diabetes --num-seeds 1 --num-draws 50 --step-samplers hmc",
    "mirror_decay.py": "--variants w_asym --decays 0 0.1 --num-networks 2 --num-epochs 2",
    "teleport_sampling.py": "--num-repeats 1 --num-warmup 10 --num-draws 20 --num-epochs 2 --widths 4",
    "bench_alike.py": "--archs w_asym --num-draws 100 --num-warmup 50",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_benchmark_runs_and_saves_its_rows(script: str) -> None:
    """Every case prints a row, and the rows are saved."""
    command = [sys.executable, str(Path(__file__).parent / script), *SCRIPTS[script].split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results = Path(done.stdout.strip().splitlines()[-1])
    assert results.exists()
    assert len(done.stdout.strip().splitlines()) > 1


def test_scaling_measures_every_part() -> None:
    """Every part has rows, at the size of its smoke run."""
    script = Path(__file__).parent / "bench_scaling.py"
    done = subprocess.run([sys.executable, script, "--quick"], capture_output=True, text=True, check=True)
    rows = json.loads(Path(done.stdout.strip().splitlines()[-1]).read_text())["rows"]
    assert {row["part"] for row in rows} == {"weak", "fixed", "tiny", "memory"}
    assert all(row["networks"] > 0 for row in rows)
