"""Whole runs of several processes and of many devices: as those of one process to the last bit, whatever happens."""

import builtins
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from outcome import assert_same_outcome

from asymjax.errors import InputError
from asymjax.lab import processes, run_files
from asymjax.lab.results import NOT_TRAINED, RESULTS, open_networks

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs"
TRAIN_SWEEP, KILL, DRIVE = (
    RUNS / "train_sweep.py",
    ROOT / "tests" / "runs" / "kill.py",
    Path(__file__).parent / "drive.py",
)
TINY = ["--widths", "4", "--no-progress"]
ROUNDS = ["--num-seeds", "20", "--round-size", "8"]  # Three, the last one not full.
SWEEP = [*TINY, *ROUNDS, "--num-epochs", "2", "--batch-size", "4"]  # Two chunks a round.
WINE = [*TINY, "--dataset", "wine", "--num-epochs", "1", "--batch-size", "32"]
POOL = {"NPROC": "8"}  # XLA's thread pool has one size.
# Coordinates of posteriors keep their bits on any number of devices in programs as users run them, optimised.
OPTIMISED = POOL | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}


@pytest.fixture(scope="module")
def reference(python, tmp_path_factory):
    """A sweep of one process with eight devices."""
    path = tmp_path_factory.mktemp("out") / "reference"
    python(TRAIN_SWEEP, *SWEEP, "--run-dir", path, num_devices=8, env=POOL, as_for_users=True)
    return path


def sweep(path, *words, **special):
    """Return an entry of a plan for drive.py."""
    return {"script": "train_sweep", "words": [*words, "--run-dir", str(path)], **special}


def assert_lost(survivor):
    """Our line where a collective fails first, JAX's where its runtime sees first that a process is gone."""
    line = {75: processes.LOST, -signal.SIGABRT: "another task died"}
    assert line[survivor.returncode] in survivor.stderr


@pytest.mark.long
def test_a_profile_is_left(python, tmp_path):
    python(TRAIN_SWEEP, *WINE, "--run-dir", tmp_path / "run", "--profile")
    assert list((tmp_path / "run" / "profile" / "train").rglob("*.xplane.pb"))


# What two processes refuse ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes(launch, reference, tmp_path_factory):
    """What each run of a plan returned or raised, [process] by name, and the folder of the runs."""
    out = tmp_path_factory.mktemp("refused")
    shutil.copytree(reference / RESULTS, out / "foreign" / RESULTS)
    for process in range(2):
        (out / f"data{process}").mkdir()
    np.savetxt(out / "data0" / "rows.csv", np.random.default_rng(0).normal(size=(60, 3)), delimiter=",")
    table = ["--dataset", "table/rows.csv", "--data-dir", str(out / "data0"), "--num-seeds", "4"]
    plan = {
        "config": sweep(out / "config", *WINE, own={1: ["--num-seeds", "3"]}),
        "directory": sweep(out / "zero", *WINE, own={1: ["--run-dir", str(out / "one")]}),
        "count": sweep(out / "count", *WINE, "--num-seeds", "7"),
        "round": sweep(out / "round", *WINE, "--num-seeds", "8", "--round-size", "3"),
        "devices": sweep(out / "devices", *WINE, "--num-seeds", "8", "--round-size", "6", "--num-devices", "4"),
        "store": sweep(out / "foreign", *WINE, "--num-seeds", "4"),
        "data": sweep(out / "data", *WINE, *table, own={1: ["--data-dir", str(out / "data1")]}),
        "all fail": sweep(out / "all", *WINE, "--learning-rate", "1e15"),
        "some fail": sweep(out / "some", *WINE, "--num-seeds", "2", "--grid", "learning_rate=1e-3,1e15"),
        "full store": sweep(out / "run", *SWEEP, accident_in=["store", 1, 1]),
        "full disk": sweep(out / "run", *SWEEP, accident_in=["metrics", 1, 1]),
        "sigterm": sweep(out / "run", *SWEEP, accident_in=["sigterm", 1, 1]),
    }
    (out / "plan.json").write_text(json.dumps({"folder": str(out), "runs": list(plan.values())}))
    launch(DRIVE, out / "plan.json", env=POOL).join(150, check=True)
    done = [json.loads((out / f"{process}.json").read_text()) for process in range(2)]
    return dict(zip(plan, zip(*done, strict=True), strict=True)), out


REFUSED = {
    "config": "process 1: num_seeds: 4 -> 3",
    "directory": "process 1: run/run_dir: ",
    "count": "2 processes do not divide 7 networks or chains",
    "round": "2 processes do not divide 3 networks or chains",
    "devices": "4 devices do not divide 6 networks or chains",
    "store": "is not a run directory: it holds results.zarr",
    "data": "there is no file rows.csv in ",
    "full store": "network 4 and the next ones cannot be written (File too large)",
    "full disk": "chunk 2 of train cannot be written (File too large)",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_one_process_cannot_do_all_refuse(outcomes, case):
    for kind, message in outcomes[0][case]:
        assert issubclass(getattr(builtins, kind, InputError), OSError | InputError) and REFUSED[case] in message


def test_networks_that_diverge_on_one_process(outcomes):
    done, out = outcomes
    assert [kind for kind, _ in done["all fail"]] == ["DivergedError"] * 2
    assert done["some fail"] == (str(out / "some"),) * 2
    status = run_files.read_json(out / "some" / "summary.json")["status"]
    assert status[:2] == ["ok", "ok"] and all("not finite at step" in one for one in status[2:])


def test_sigterm_to_one_process_stops_all_after_the_same_chunk(outcomes):
    zero, one = outcomes[0]["sigterm"]
    assert zero == one and one[0] == "StopRequestedError"
    assert one[1] in [f"asked to stop; train chunk {num_done} of 6 is kept" for num_done in (2, 3)]


@pytest.mark.long
def test_two_go_on_until_one_is_killed_and_one_finishes(outcomes, reference, launch, python):
    path = outcomes[1] / "run"
    words = [TRAIN_SWEEP, *SWEEP, "--run-dir", path]
    killed = {1: [KILL, "train", 6, "between", *words]}
    survivor, victim = launch(*words, num_devices=(1, 1), env=POOL, own=killed).join(120)
    assert victim.returncode == -signal.SIGKILL
    assert_lost(survivor)
    # Though the checkpoint of chunk 6 is not there.
    assert NOT_TRAINED not in open_networks(path)["failed_step"].values
    last = python(*words, "--round-size", "4", "--num-devices", "8", num_devices=8, env=POOL, as_for_users=True)
    assert "20 in 3 rounds of 8 on 8 of 8 devices" in last.stdout  # As it began.
    assert_same_outcome(path, reference)


# Further scripts and places --------------------------------------------------------------------------------------

HMC = "--dataset diabetes --num-chains 4 --num-draws 8 --num-warmup 10 --map-steps 10 --max-integration-steps 8"
PATHS = "--preset smoke --num-epochs 1 --num-seeds 4 --num-points 5 --num-train-rows 100 --archs standard w_asym"
SCRIPTS = {"bnn_hmc": HMC, "lmc": f"{PATHS} --plane-points 5", "mli": PATHS, "train_sweep": " ".join(SWEEP)}


@pytest.fixture(scope="module")
def whole(python, tmp_path_factory):
    """Return a function that returns the words of a script, and a run of it by one process."""
    out, done = tmp_path_factory.mktemp("whole"), {}

    def run(script):
        words = [RUNS / f"{script}.py", *SCRIPTS[script].split(), *TINY]
        if script not in done:
            python(*words, "--run-dir", out / script, env=OPTIMISED, as_for_users=True)
            done[script] = out / script
        return words, done[script]

    return run


@pytest.mark.long
@pytest.mark.parametrize("num_devices", [(1, 1, 1, 1), (8,)], ids=["four", "one"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_processes_and_devices_change_nothing(whole, launch, tmp_path, script, num_devices):
    words, expected = whole(script)
    launch(*words, "--run-dir", tmp_path / "run", num_devices=num_devices, env=OPTIMISED).join(240, check=True)
    assert_same_outcome(tmp_path / "run", expected)


@pytest.mark.long
@pytest.mark.parametrize(
    ("script", "accidents", "finally_"),
    [
        ("train_sweep", [(0, "train", 3, "between"), (1, "train", 5, "before")], (1, 1, 1, 1)),
        ("bnn_hmc", [(1, "sample", 3, "between"), (0, "sample", 4, "half"), (1, "sample", 5, "full_checkpoint")], (2,)),
        ("lmc", [(1, "paths-standard", 1, "between"), (0, "aligned-w_asym", 2, "before")], (2,)),
    ],
)
def test_accidents_in_one_process_change_nothing(whole, launch, tmp_path, script, accidents, finally_):
    words, expected = whole(script)
    words = [*words, "--run-dir", tmp_path / "run"]
    for victim, *where in accidents:
        done = launch(*words, env=OPTIMISED, own={victim: [KILL, *where, *words]}).join(240)
        assert done[victim].returncode == (2 if where[-1] == "full_checkpoint" else -signal.SIGKILL)
        assert_lost(done[1 - victim])
    launch(*words, num_devices=finally_, env=OPTIMISED).join(240, check=True)
    assert_same_outcome(tmp_path / "run", expected)
