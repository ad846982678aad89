"""Several processes of one job meet, share, and end together; nothing hangs."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from jax._src import xla_bridge

from asymjax.errors import InputError
from asymjax.lab import processes

JOB = Path(__file__).parent / "job.py"


@pytest.mark.parametrize(
    "given", [("localhost:1234", None, 1), (None, 2, None), ("localhost", 2, 0), ("localhost:1234", 2, 2)]
)
def test_what_cannot_be_a_job_is_refused(given, monkeypatch):
    # JAX looks at the arguments where it has not started yet, as in a script.
    monkeypatch.setattr(xla_bridge, "backends_are_initialized", lambda: False)
    with pytest.raises(InputError, match="give --coordinator HOST:PORT, --num-processes and"):
        processes.connect(*given)


def test_no_cluster_is_found(python):
    done = python(JOB, "share", "--distributed", check=False)
    assert done.returncode == 2 and "or --distributed on a cluster" in done.stderr


def test_one_process_needs_no_others():
    processes.connect(None, None, None)
    assert processes.is_leader() and processes.together(lambda: 3) == processes.lead(lambda: 3) == 3
    assert processes.anyone(True) and not processes.anyone(False) and not processes.is_preempted()
    processes.agree("all", {"a": 1})
    with pytest.raises(ZeroDivisionError):
        processes.together(lambda: 1 // 0)
    np.testing.assert_array_equal(processes.gather({"a": np.arange(3)})["a"], np.arange(3))
    with pytest.raises(SystemExit):
        processes.leave(2)


@pytest.fixture(scope="module")
def done(launch):
    """Two processes with two devices each that share errors and values."""
    return launch(JOB, "share").join()


@pytest.fixture(scope="module")
def reports(done):
    """What each of them got."""
    return [json.loads(one.stdout.splitlines()[-1]) for one in done]


def test_processes_share_errors_and_values(reports):
    zero, one = reports
    assert [report["leader"] for report in reports] == [True, False]
    assert [report["together"] for report in reports] == [0, 1]
    assert [report["lead"] for report in reports] == [0, None]
    assert one["input"] == ["InputError", "it is 1"] and zero["input"] == ["InputError", "process 1: it is 1"]
    assert zero["both"] == ["InputError", "it is 0"] and one["both"] == ["InputError", "process 0: it is 0"]
    assert one["disk"] == ["OSError", "it is 1"] and zero["disk"] == ["InputError", "process 1: it is 1"]
    assert zero["stop"] == ["StopRequestedError", "process 1: it is 1"]
    assert one["bug"][0] == "KeyError" and zero["bug"] == ["RuntimeError", "process 1: KeyError: 'it is 1'"]
    assert one["in turn"] == ["InputError", "process 0: it is 0"]
    for report in reports:
        assert report["agree"][0] == "InputError"
        assert report["agree"][1].endswith("\n  process 1: config/num_seeds: 8 -> 4")
        assert report["anyone"] == [True, False] and report["preempted"] is False
        assert report["elsewhere"][1].startswith("the processes are not at the same place")


def test_arrays_over_processes_are_gathered_in_order(reports):
    assert [report["rows"] for report in reports] == [[[0, 4], [0, 3]], [[4, 8], [0, 3]]]
    for name in ("values", "keys"):
        assert [row for report in reports for row in report["local"][name]] == reports[0]["gathered"][name]
    assert reports[0]["gathered"] == reports[1]["gathered"]
    np.testing.assert_array_equal(reports[1]["gathered"]["values"], np.arange(24.0).reshape(8, 3))
    assert all(report["local"]["whole"] == report["gathered"]["whole"] == [0, 1] for report in reports)
    assert [report["plain"] for report in reports] == [[0, 1], [1, 2]]


def test_an_error_of_all_ends_each_with_its_code(done):
    assert [one.returncode for one in done] == [2, 2]
    assert done[0].stderr.endswith("error: it is 0\n") and done[1].stderr.endswith("error: process 0: it is 0\n")


WRONG = {
    "devices": ((2, 1), None, "by process there are {0: 2, 1: 1}"),
    "count": ((1, 1), (3, 1), "process 1: num_processes: 2 -> 3"),
    "doubled": ((1, 1), (2, 0), "RegisterTask"),
    "missing": ((1,), (2, 0), "RegisterTask"),
    "no-coordinator": ((1,), (2, 1), "RegisterTask"),
}
"""Devices by process, the number of processes and the id that the last one gives on, what is said."""


@pytest.fixture(scope="module")
def wrong_jobs(launch):
    """All of them at once: most wait for others that never come."""

    def start(num_devices, pretended):
        pretend = [JOB, "compute", *(["--pretend", *pretended] if pretended else [])]
        return launch(JOB, "compute", num_devices=num_devices, own={len(num_devices) - 1: pretend})

    return {case: start(*given) for case, (*given, _) in WRONG.items()}


@pytest.mark.long
@pytest.mark.parametrize("case", WRONG)
def test_processes_that_are_no_job_end(wrong_jobs, case):
    """Where JAX's runtime does not let them meet, it aborts with its own words."""
    done = wrong_jobs[case].join(90)
    assert all(one.returncode in (2, *LOST) and WRONG[case][2] in one.stderr for one in done)


LOST = (75, -6)
"""A survivor's exit code: ours where a collective fails first, that of an abort where JAX's runtime sees it first."""


def test_a_process_that_fails_alone_ends_those_that_wait_for_it(launch):
    survivor, failed = launch(JOB, "diverge").join(30)
    assert failed.returncode == 3 and survivor.returncode not in (0, None)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_while_they_compute(launch, victim):
    job = launch(JOB, "compute")
    for process in range(2):
        job.wait_for("ready", process)
    job.send(victim)
    start = time.monotonic()
    survivor = job.join(20)[1 - victim]
    print(f"the survivor ended after {time.monotonic() - start:.1f} s with a heartbeat of 5 s")
    assert survivor.returncode in LOST and "another task died" in survivor.stderr
