"""Strict JAX that compiles fast, and Python processes for what needs one of its own."""

import os
import subprocess
import sys
from pathlib import Path

# Compiling is most of what the tests do; JAX_DISABLE_MOST_OPTIMIZATIONS=0 tests the programs as users run them.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import pytest

ROOT = Path(__file__).parents[1]

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption("--run-long", action="store_true", help="run the long statistical tests too")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--run-long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="give --run-long"))


@pytest.fixture(scope="session")
def python_env(tmp_path_factory):
    """Return a function that makes the environment of a Python process with so many devices."""
    cache = tmp_path_factory.mktemp("xla")

    def make(num_devices=2, env=None):
        return (
            os.environ
            | {
                "JAX_COMPILATION_CACHE_DIR": str(cache),
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
                "JAX_PLATFORMS": "cpu",
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            }
            | (env or {})
        )

    return make


@pytest.fixture(scope="session")
def python(python_env):
    """Return a function that runs Python on words and returns the finished process."""

    def run(*words, num_devices=2, check=True, env=None, timeout=300, **options):
        command = [sys.executable, *map(str, words)]
        env = python_env(num_devices, env)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False, **options)
        assert done.returncode == 0 or not check, done.stderr
        return done

    return run
