"""Several processes of one job meet, share, and end together; nothing hangs."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from launch import free_port

from asymjax.errors import InputError
from asymjax.lab import processes

JOB = Path(__file__).parent / "job.py"


def meet(*processes, timeout=30):
    """Let threads with ``(num_processes, process_id)`` meet; return their errors. None may get as far as JAX."""
    address = f"127.0.0.1:{free_port()}"

    def one(process):
        with pytest.raises(InputError) as caught:
            processes.connect(address, *process, timeout=timeout)
        return str(caught.value)

    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(one, processes))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("localhost:1234", None, 1), "--num-processes missing"),
        ((None, 2, None), "--coordinator, --process-id missing"),
        (("localhost", 2, 1), "give HOST:PORT"),
        (("localhost:http", 2, 1), "give HOST:PORT"),
        (("localhost:1234", 0, 0), "give at least 1"),
        (("localhost:1234", 2, 2), "--process-id 2 is not in 0 to 1"),
        (("localhost:1234", 2, 1, True), "either it or them"),
    ],
)
def test_what_cannot_be_a_job_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        processes.connect(*given)


def test_processes_that_do_not_fit_are_told_before_jax_starts():
    assert set(meet((2, 0), (3, 1))) == {"process 1 was given --num-processes 3, process 0 2"}
    assert set(meet((3, 0), (3, 1), (3, 1))) == {"two processes were given --process-id 1"}


def test_missing_processes_are_named(capfd):
    late = meet((3, 0), (3, 1), timeout=1.5)
    assert [message.split(" port ")[0] for message in late] == ["process 2 of 3 did not come to"] * 2
    assert "for process 2\n" in capfd.readouterr().err
    assert "no process 0 at 127.0.0.1:" in meet((2, 1), timeout=0.3)[0]


def test_another_service_at_the_port_is_no_coordinator():
    with socket.create_server(("", 0)) as server, ThreadPoolExecutor(1) as pool:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        taken = pool.submit(server.accept)
        with pytest.raises(InputError, match="cannot listen on port"):
            processes.connect(address, 2, 0)
        other = pool.submit(lambda: taken.result()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n"))
        with pytest.raises(InputError, match="is no process 0 that waits for process 1"):
            processes.connect(address, 2, 1, timeout=10)
        other.result()
        taken.result()[0].close()


def test_no_cluster_is_found(python):
    done = python(JOB, "share", "--distributed", check=False)
    assert done.returncode == 2 and "found no cluster" in done.stderr


def test_one_process_needs_no_others():
    processes.connect(None, None, None)
    assert processes.is_leader() and processes.together(lambda: 3) == processes.lead(lambda: 3) == 3
    assert processes.anyone(True) and not processes.anyone(False)
    processes.agree("all", {"a": 1})
    with pytest.raises(ZeroDivisionError):
        processes.together(lambda: 1 // 0)
    np.testing.assert_array_equal(processes.gather({"a": np.arange(3)})["a"], np.arange(3))
    with pytest.raises(SystemExit):
        processes.leave(2)


def test_waiting_for_one_process_is_no_collective(monkeypatch):
    calls = []
    monkeypatch.setattr(processes.jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes.ocp.multihost, "sync_global_processes", lambda name, **where: calls.append(where))
    monkeypatch.setattr(processes, "_exchange", lambda text, what: calls.append("exchange") or [text, text])
    processes.together(lambda: calls.append("work"))
    # Orbax takes a collective, whose time on CPU is limited, unless it is told the processes.
    assert calls == ["work", {"timeout": processes.MAX_WAIT_SECONDS, "processes": {0, 1}}, "exchange"]


@pytest.fixture(scope="module")
def reports(launch):
    """What each of three processes with two devices each got."""
    done = launch(JOB, "share", num_devices=(2, 2, 2)).join(check=True)
    return [json.loads(one.stdout.splitlines()[-1]) for one in done]


def test_processes_share_errors_and_values(reports):
    zero, one, two = reports
    assert [report["leader"] for report in reports] == [True, False, False]
    assert [report["together"] for report in reports] == [0, 1, 2]
    assert one["input"] == ["InputError", "it is 1"]
    assert zero["input"] == two["input"] == ["InputError", "process 1: it is 1"]
    assert one["disk"] == ["OSError", "it is 1"] and zero["disk"] == ["InputError", "process 1: it is 1"]
    assert zero["stop"] == ["StopRequestedError", "process 1: it is 1"]
    assert two["bug"][0] == "KeyError" and zero["bug"][0] == "RuntimeError"
    assert zero["bug"][1].startswith("process 2 failed in the count: KeyError")
    assert [report["lead"] for report in reports] == [0, None, None]
    assert zero["lead fails"] == ["InputError", "it is 0"]
    assert one["lead fails"] == two["lead fails"] == ["InputError", "process 0: it is 0"]
    for report in reports:
        assert report["agree"][0] == "InputError"
        assert report["agree"][1].endswith("\n  process 2: config/num_seeds: 8 -> 4")
        assert report["anyone"] == [True, False]
        assert report["elsewhere"][1].startswith("the processes are not at the same place")
        assert len(report["terminated"]) == 1


def test_arrays_over_processes_are_gathered_in_order(reports):
    assert [report["rows"] for report in reports] == [[[4 * i, 4 * i + 4], few, [0, 3]] for i, few in enumerate(FEW)]
    for name in ("values", "keys"):
        assert [row for report in reports for row in report["local"][name]] == reports[0]["whole"][name]
    assert all(report["whole"] == reports[0]["whole"] for report in reports)
    np.testing.assert_array_equal(reports[2]["whole"]["values"], np.arange(36.0).reshape(12, 3))
    assert [report["few"][0] for report in reports] == [[2, 3], [1, 3], [0, 3]]
    assert all(report["few"][1] == np.arange(9.0).reshape(3, 3).tolist() for report in reports)
    assert [report["plain"] for report in reports] == [[0, 1], [1, 2], [2, 3]]


FEW = ([0, 2], [2, 3], [0, 0])
"""Rows of three on three devices, of which the last process has none."""


def test_an_error_of_all_ends_each_with_its_code(launch):
    done = launch(JOB, "refuse").join()
    assert [one.returncode for one in done] == [2, 2]
    assert done[0].stderr.endswith("error: it is 0\n") and done[1].stderr.endswith("error: process 0: it is 0\n")


def test_other_numbers_of_devices_are_refused(launch):
    done = launch(JOB, "refuse", num_devices=(2, 1)).join()
    assert [one.returncode for one in done] == [2, 2]
    assert all("there are 2 on process 0, 1 on process 1" in one.stderr for one in done)


def test_a_process_that_fails_alone_ends_those_that_wait_for_it(launch):
    done = launch(JOB, "diverge").join(30)
    assert [one.returncode for one in done] == [processes.EXIT_LOST, 3]
    assert processes.LOST in done[0].stderr and "Traceback" not in done[0].stderr


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_while_they_compute(launch, victim):
    job = launch(JOB, "compute")
    for process in range(2):
        job.wait_for("ready", process)
    for stranger in range(2):  # Cannot join a job that runs, nor harm it.
        with pytest.raises(InputError, match="stale coordinator"):
            processes.connect(job.coordinator, 2, stranger, timeout=5)
    job.send(victim)
    survivor = job.join(20)[1 - victim]
    assert survivor.returncode == processes.EXIT_LOST
    assert survivor.stderr.endswith(processes.LOST + "\n")
