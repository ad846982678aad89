"""What the benchmarks against other libraries compute from runs: clocks, ratios, z scores, a table.

pytest benchmarks/test_against.py --run-benchmarks -n 0
"""

import time
from pathlib import Path

import numpy as np
import pytest
from bench_against import CLOCKS, compare
from bench_alike import summarise, z_scores
from bench_bde import write_integers
from measure import Meter


def make_run(library: str, sampler: str, seed: int, ess: float, seconds: float, rhat: float = 1.0) -> dict:
    """Return a row of a run: a tenth of the seconds is warmup, and as much the starts, compilation and the rest."""
    phases = {"start": 0.1 * seconds, "warmup": 0.1 * seconds, "sample": seconds}
    return {
        "target": "t",
        "library": library,
        "sampler": sampler,
        "seed": seed,
        "rhat_max": rhat,
        **dict.fromkeys(("ess_min", "ess_median", "within_ess_min", "within_ess_median"), ess),
        "seconds": phases | {"compile": 0.1 * seconds, "other": 0.1 * seconds},
        "processor_seconds": phases,
    }


def test_ratios_are_paired_by_seed_with_the_best_of_the_opponent() -> None:
    """Two ways of an opponent, one seed without its run: 2 and 6 of the seeds that have both, their median 4."""
    rows = [make_run("asymjax", "hmc", seed, 100.0, 1.0) for seed in range(3)]
    rows += [make_run("numpyro", "nuts", 0, 100.0, 2.0), make_run("numpyro_parallel", "nuts", 0, 100.0, 8.0)]
    rows += [make_run("numpyro_parallel", "nuts", 1, 100.0, 6.0, rhat=1.2)]
    rows += [{"target": "t", "library": "numpyro", "sampler": "nuts", "seed": 2, "failure": "diverged"}]
    found = compare(rows, "numpyro")
    assert {row["clock"] for row in found} == set(CLOCKS)
    for row in found:
        assert (row["num_seeds"], row["converged"]) == (2, False)
        np.testing.assert_allclose([row["low"], row["median"], row["high"]], [2, 4, 6])


def test_z_scores_are_one_where_posteriors_are_alike_and_large_where_not() -> None:
    """Independent draws: the mean square of 400 scores has a standard deviation of 0.07; an excess variance tells."""
    numbers = np.random.default_rng(0)
    one, other = numbers.normal(size=(2, 4, 1000, 400))
    for z in z_scores(one, other).values():
        found = summarise(z)
        assert abs(found["rms_z"] ** 2 - 1) < 5 * np.sqrt(2 / 400)
        assert found["max_z"] < found["rare_max"] + 1
    apart = z_scores(one, 1.2 * other)
    # Standard errors of the variances 1 and 1.44 from 4,000 draws each are 1.44 and 1 times sqrt(2 / 4000).
    assert summarise(apart["variance"])["rms_z"] == pytest.approx(0.44 / np.hypot(1, 1.44) / np.sqrt(2 / 4000), rel=0.1)
    assert summarise(apart["mean"])["rms_z"] < 1.2


def test_processor_time_is_that_of_work_and_not_of_waiting() -> None:
    """A loop that uses 0.2 s of a processor, however long that takes, then as long a sleep."""
    with Meter() as meter:
        begun, used = time.perf_counter(), time.process_time()
        while time.process_time() - used < 0.2:
            pass
        halfway = time.perf_counter()
        time.sleep(0.2)
        done = time.perf_counter()
    # A reading can be late by what other work takes of the processor; between two the time is interpolated.
    assert 0.1 < meter.spent(begun, halfway).processor_seconds < 0.3
    assert meter.spent(halfway, done).processor_seconds < 0.1
    assert meter.spent(halfway, done).seconds == pytest.approx(done - halfway)


def test_the_table_of_whole_numbers_repeats_240_of_1600_rows(tmp_path: Path) -> None:
    """The same file each time, targets from 3 to 8, inputs above 0."""
    path = write_integers(tmp_path)
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    content = path.read_text()
    assert write_integers(tmp_path).read_text() == content
    assert table.shape == (1600, 12)
    assert len(np.unique(table, axis=0)) == 1360
    assert set(table[:, -1]) == {3, 4, 5, 6, 7, 8}
    assert np.all(table[:, :-1] > 0)
