"""What each process of the jobs in test_hosts.py runs: one scenario, and the flags that join it to the others."""

import argparse
import json
import os
import signal
import sys
import time
import traceback

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from asymjax.errors import DivergedError, InputError, LostProcessError, StopRequestedError
from asymjax.lab import processes

asked = []


def outcome(fn):
    """Return what a call returned or raised, as JSON holds it."""
    try:
        return fn()
    except Exception as error:
        return [type(error).__name__, str(error)]


def fail(kinds):
    """Raise the kind of error that is this process's, if any."""
    kind = kinds.get(jax.process_index())
    if kind is not None:
        raise kind(f"it is {jax.process_index()}")
    return jax.process_index()


def members(devices, num_rows):
    """Return rows of 3 numbers and keys [rows], split over devices."""
    sharding = NamedSharding(Mesh(np.asarray(devices), ("member",)), PartitionSpec("member"))
    rows = np.arange(3.0 * num_rows, dtype=np.float32).reshape(num_rows, 3)
    keys = jax.jit(lambda: jax.random.split(jax.random.key(0), num_rows), out_shardings=sharding)
    values = jax.make_array_from_callback(rows.shape, sharding, lambda index: rows[index], rows.dtype)
    return {"values": values, "keys": keys()} if len(devices) == jax.device_count() else {"values": values}


def terminated():
    """Return whether a handler of SIGTERM that was there before the processes met still is."""
    os.kill(os.getpid(), signal.SIGTERM)
    return [*asked]


def share():
    """Print what every function of processes.py does where all is well, and where something fails."""
    me = jax.process_index()
    config = {"config": {"num_seeds": 4 if me == 2 else 8, "names": ["a", "b"]}}
    tree = members(jax.devices(), 2 * jax.device_count())
    few = members(jax.devices()[:3], 3)
    report = {
        "leader": processes.is_leader(),
        "together": outcome(lambda: processes.together(lambda: fail({}), "all")),
        "input": outcome(lambda: processes.together(lambda: fail({1: InputError, 2: DivergedError}))),
        "disk": outcome(lambda: processes.together(lambda: fail({1: OSError}))),
        "stop": outcome(lambda: processes.together(lambda: fail({1: StopRequestedError}))),
        "bug": outcome(lambda: processes.together(lambda: fail({2: KeyError}), "the count")),
        "lead": outcome(lambda: processes.lead(lambda: fail({}), "write")),
        "lead fails": outcome(lambda: processes.lead(lambda: fail({0: InputError}), "write")),
        "agree": outcome(lambda: processes.agree("the configuration", config | {"same": me >= 0})),
        "anyone": [processes.anyone(me == 2), processes.anyone(False)],
        "elsewhere": outcome(lambda: processes.together(lambda: 0, "here" if me else "there")),
        "rows": [
            processes.local_rows(tree["values"]),
            processes.local_rows(few["values"]),
            processes.local_rows(np.zeros(3)),
        ],
        "local": jax.tree.map(lambda leaf: leaf.tolist(), processes.local(tree)),
        "whole": jax.tree.map(lambda leaf: leaf.tolist(), processes.gather(tree)),
        "few": [processes.local(few["values"]).shape, processes.gather(few)["values"].tolist()],
        "terminated": terminated(),
        "plain": processes.gather(jnp.arange(2) + me).tolist(),
    }
    print(json.dumps(report))


def meet():
    """Do nothing but meet."""


def compute():
    """Compute alone, then wait for the others; to be killed meanwhile."""
    processes.anyone(False)
    print("ready", flush=True)
    time.sleep(60)


def wait():
    """Wait for the last process, which computes."""
    processes.anyone(False)
    print("ready", flush=True)
    if jax.process_index() == jax.process_count() - 1:
        time.sleep(60)
    processes.anyone(False)


def diverge():
    """Fail on one process alone, while the others wait."""
    processes.together(lambda: None)
    if jax.process_index() == 1:
        raise DivergedError("alone")
    processes.anyone(False)


def refuse():
    """Fail on all."""
    processes.lead(lambda: fail({0: InputError}), "write")


EXITS = {InputError: 2, DivergedError: 3, LostProcessError: processes.EXIT_LOST}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario")
    parser.add_argument("--coordinator")
    parser.add_argument("--num-processes", type=int)
    parser.add_argument("--process-id", type=int)
    parser.add_argument("--distributed", action="store_true")
    words = parser.parse_args()
    processes.HEARTBEAT_SECONDS = 5
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        processes.connect(words.coordinator, words.num_processes, words.process_id, words.distributed, timeout=60)
        globals()[words.scenario]()
    except tuple(EXITS) as error:
        print(f"error: {error}", file=sys.stderr)
        processes.leave(EXITS[type(error)])
    except Exception:
        traceback.print_exc()
        processes.leave(1)


if __name__ == "__main__":
    main()
