"""Grids of posteriors as a user runs them: their directories, what is compiled for them, and their report."""

from pathlib import Path

import jax
import pytest

from asymjax.experiments.posterior.finished import read_run
from asymjax.lab import run_files
from asymjax.report.read import labels, read_each

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "runs" / "bnn_hmc.py"
TINY = "--widths 3 --num-draws 8 --num-warmup 10 --map-steps 10 --num-chains 2 --max-integration-steps 4 --no-progress"
GRID = ["--grid", "temperature=0.5,1", "prior_scale=2"]
NAMES = ["temperature=0.5,prior_scale=2.0", "temperature=1.0,prior_scale=2.0"]
MISS = "/jax/compilation_cache/cache_misses"


@pytest.fixture
def telling(script):
    """Return `script`, which then prints a line for every program that the compilation cache does not have."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = jax.config.values[name]

    def tell(event, **kwargs):
        if event == MISS:
            print("compiled")

    jax.config.update(name, 0.0)
    jax.monitoring.register_event_listener(tell)
    yield script
    jax.monitoring.unregister_event_listener(tell)
    jax.config.update(name, before)


@pytest.mark.long
def test_a_posterior_for_each_value_and_one_compilation_for_all(telling, tmp_path):
    path = tmp_path / "grid"
    done = telling(SCRIPT, *TINY.split(), *GRID, "--run-dir", path)
    first, second = done.stdout.split(f"{NAMES[1]}: ")
    assert "compiled\n" in first and "compiled\n" not in second
    points = run_files.read_json(path / "summary.json")["points"]
    assert list(points) == NAMES
    assert points[NAMES[0]]["coordinates"] == {"temperature": 0.5, "prior_scale": 2.0}
    runs = read_each([path / name for name in NAMES], read_run)
    assert labels(runs) == ["standard, temperature 0.5", "standard, temperature 1.0"]
    assert runs[1].record["config"]["posterior"]["temperature"] == 1
    assert runs[0].summary["test"]["posterior"] != runs[1].summary["test"]["posterior"]


@pytest.mark.long
def test_step_sizes_are_data_of_what_trains_warms_up_and_samples(telling, tmp_path):
    words = [*TINY.replace("--max-integration-steps 4 ", "").split(), "--grid", "step_size=0.1,0.2"]
    done = telling(SCRIPT.with_name("bnn_sgld.py"), *words, "--run-dir", tmp_path / "grid")
    first, second = done.stdout.split("step_size=0.2: ")
    assert first.count("compiled\n") > 4
    assert second.count("compiled\n") == 1  # Where warmup begins.
