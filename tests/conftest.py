"""Strict JAX that compiles fast; scripts in this process, and Python processes for what needs one of its own."""

import atexit
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import version
from io import BytesIO, TextIOWrapper
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

# Compiling is most of what the tests do; JAX_DISABLE_MOST_OPTIMIZATIONS=0 tests the programs as users run them.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# What is compiled once, by any worker or in a process that a test starts, is there for all of them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="asymjax-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
# jaxlib 0.10.0 finds the programs of that cache made for another machine, and says so on stderr.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# Where a script runs decides the last bits of its results: here as in the processes that tests start.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
# XLA's older code generator takes a third of the time where nothing is optimised; jaxlib 0.12 ends at an unknown flag.
if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] != "0" and version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] = f"{os.environ['XLA_FLAGS']} --xla_cpu_use_fusion_emitters=false"

import jax
import pytest

ROOT = Path(__file__).parents[1]

jax.config.update("jax_numpy_rank_promotion", "raise")
atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


def pytest_addoption(parser):
    parser.addoption("--run-long", action="store_true", help="run the long statistical tests too")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--run-long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="give --run-long"))


@pytest.fixture(scope="session")
def python_env():
    """Return a function that makes the environment of a Python process with so many devices.

    With ``as_for_users`` the process has XLA's own choice of a code generator: the older one splits loops by the number
    of devices, which changes last bits.
    """

    def make(num_devices=2, env=None, as_for_users=False):
        # The last one wins.
        flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={num_devices}"
        if as_for_users:
            flags = flags.replace("--xla_cpu_use_fusion_emitters=false", "")
        return os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"} | (env or {})

    return make


@pytest.fixture(scope="session")
def python(python_env):
    """Return a function that runs Python on words and returns the finished process."""

    def run(*words, num_devices=2, check=True, env=None, as_for_users=False, timeout=300, **options):
        command = [sys.executable, *map(str, words)]
        env = python_env(num_devices, env, as_for_users)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False, **options)
        assert done.returncode == 0 or not check, done.stderr
        return done

    return run


def check_json(run_dir):
    """Require that the JSON of a run directory, and of those in it, is strict; of what is none there is none."""

    def refuse(name):
        raise AssertionError(f"{file} holds {name}")

    for file in [*run_dir.glob("**/[!.]*.json"), *run_dir.glob("**/metrics*.jsonl")] if run_dir.name else ():
        for text in file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]:
            json.loads(text, parse_constant=refuse)


@contextmanager
def as_if_alone(draw):
    """Undo what a script leaves in its process, and let it draw no figures unless asked to."""
    from asymjax.experiments import reports
    from asymjax.lab import rundir

    locks, locked, track = [], rundir._locked, reports.track

    def lock(path):
        locks.append(locked(path))
        return locks[-1]

    def show(items, words, **options):
        return track(items, words, **options) if draw or words != "drawing" else ()

    before = signal.getsignal(signal.SIGTERM)
    try:
        with mock.patch.object(rundir, "_locked", lock), mock.patch.object(reports, "track", show):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
        for held in locks:
            held.close()


@pytest.fixture(scope="session")
def script():
    """Return a function that runs a script on words as `python` does, but in this process and without its figures."""

    def run(path, *words, check=True, draw=False):
        command, out, err = [str(path), *map(str, words)], TextIOWrapper(BytesIO()), TextIOWrapper(BytesIO())
        code = 0
        with mock.patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(err), as_if_alone(draw):
            try:
                runpy.run_path(command[0], run_name="__main__")
            except SystemExit as ended:
                code = ended.code or 0
        for stream in (out, err):
            stream.flush()
        done = CompletedProcess(command, code, *(stream.buffer.getvalue().decode() for stream in (out, err)))
        assert done.returncode == 0 or not check, done.stderr
        check_json(Path(done.stdout.strip().rpartition("\n")[-1]))
        return done

    return run
