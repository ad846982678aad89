"""Run scripts one after the other in the processes of one job, some with an accident in one process.

    python drive.py PLAN.json

PLAN.json holds ``folder`` and ``runs``, each with a script's name, words, words of a process of its own and an
accident: ``[kind, process, call]``. The kinds are ``store`` and ``metrics``, where no file grows in that call of what
writes them, and ``sigterm``, which comes after that commit. ``folder/P.json`` tells what each run returned or raised in
process P.
"""

import argparse
import importlib
import json
import os
import resource
import signal
import sys
import time
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from pkgutil import resolve_name
from unittest import mock

import jax

from asymjax.errors import DivergedError, InputError, StopRequestedError
from asymjax.lab import command_line
from asymjax.lab.run_config import RunConfig

NOTICE_SECONDS = 4  # JAX's runtime looks for notices once a second.


@contextmanager
def full_disk():
    """Let no file grow, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def sigterm():
    """Send it to this process, and give JAX's runtime the time to tell all processes."""
    yield
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(NOTICE_SECONDS)


PLACES = {
    "store": ("asymjax.lab.results.write_rows", full_disk),
    "metrics": ("asymjax.lab.rundir.RunDir._write_metrics", full_disk),
    "sigterm": ("asymjax.lab.rundir.RunDir.commit", sigterm),
}


def accident(kind, call):
    """Return a patch of the function that the accident befalls."""
    place, happens = PLACES[kind]
    fn, calls = resolve_name(place), count(1)

    def befallen(*args, **kwargs):
        with happens() if next(calls) == call else nullcontext():
            return fn(*args, **kwargs)

    return mock.patch(place, befallen)


def run(script, words, own=None, accident_in=None):
    """Return what one run returned or raised, as JSON holds it."""
    module, process = importlib.import_module(script), jax.process_index()
    kind, victim, call = accident_in or (None, None, None)
    try:
        config = command_line.parse(module.PRESETS, "", [*words, *(own or {}).get(str(process), [])])
        command_line.require_alike(config)
        with accident(kind, call) if process == victim else nullcontext():
            return str(module.main(config))
    except (InputError, DivergedError, StopRequestedError, OSError) as error:
        return [type(error).__name__, str(error)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    parser.add_argument("--coordinator")
    parser.add_argument("--num-processes", type=int)
    parser.add_argument("--process-id", type=int)
    flags = parser.parse_args()
    plan = json.loads(flags.plan.read_text())
    del flags.plan
    sys.path.insert(0, str(Path(__file__).parents[2] / "runs"))
    command_line.start_jax(RunConfig(**vars(flags)))
    done = [run(**one) for one in plan["runs"]]
    Path(plan["folder"], f"{jax.process_index()}.json").write_text(json.dumps(done))


if __name__ == "__main__":
    main()
