"""What each process of the jobs in test_hosts.py runs: one scenario, and the flags that join it to the others."""

import argparse
import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from asymjax.errors import DivergedError, InputError, StopRequestedError
from asymjax.lab import processes


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


def members(num_rows):
    """Return rows of 3 numbers and keys [rows], split over all devices, and a vector that all of them hold."""
    mesh = Mesh(np.asarray(jax.devices()), ("member",))
    sharding, whole = NamedSharding(mesh, PartitionSpec("member")), NamedSharding(mesh, PartitionSpec())
    rows = np.arange(3.0 * num_rows, dtype=np.float32).reshape(num_rows, 3)
    keys = jax.jit(lambda: jax.random.split(jax.random.key(0), num_rows), out_shardings=sharding)
    values = jax.make_array_from_callback(rows.shape, sharding, lambda index: rows[index], rows.dtype)
    return {"values": values, "keys": keys(), "whole": jax.jit(lambda: jnp.arange(2), out_shardings=whole)()}


def share():
    """Print what every function of processes.py does where all is well, and where something fails; fail at last."""
    me = jax.process_index()
    config = {"config": {"num_seeds": 4 if me == 1 else 8, "names": ["a", "b"]}}
    tree = members(2 * jax.device_count())
    order = []
    report = {
        "leader": processes.is_leader(),
        "together": outcome(lambda: processes.together(lambda: fail({}), "all")),
        "input": outcome(lambda: processes.together(lambda: fail({1: InputError}))),
        "both": outcome(lambda: processes.together(lambda: fail({0: InputError, 1: DivergedError}))),
        "disk": outcome(lambda: processes.together(lambda: fail({1: OSError}))),
        "stop": outcome(lambda: processes.together(lambda: fail({1: StopRequestedError}))),
        "bug": outcome(lambda: processes.together(lambda: fail({1: KeyError}), "the count")),
        "lead": outcome(lambda: processes.lead(lambda: fail({}), "write")),
        "in turn": outcome(lambda: processes.in_turn(lambda: order.append(fail({0: InputError})))) + order,
        "agree": outcome(lambda: processes.agree("the configuration", config | {"same": me >= 0})),
        "anyone": [processes.anyone(me == 1), processes.anyone(False)],
        "elsewhere": outcome(lambda: processes.together(lambda: 0, "here" if me else "there")),
        "preempted": processes.is_preempted(),
        "rows": [processes.local_rows(tree["values"]), processes.local_rows(np.zeros(3))],
        "local": jax.tree.map(lambda leaf: leaf.tolist(), processes.local(tree)),
        "gathered": jax.tree.map(lambda leaf: leaf.tolist(), processes.gather(tree)),
        "plain": processes.gather(jnp.arange(2) + me).tolist(),
    }
    print(json.dumps(report))
    processes.lead(lambda: fail({0: InputError}), "write")


def compute():
    """Compute alone, then wait for the others; to be killed meanwhile."""
    processes.anyone(False)
    print("ready", flush=True)
    time.sleep(60)


def diverge():
    """Fail on one process alone, while the others wait."""
    if jax.process_index() == 1:
        raise DivergedError("alone")
    processes.anyone(False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario")
    parser.add_argument("--coordinator")
    parser.add_argument("--num-processes", type=int)
    parser.add_argument("--process-id", type=int)
    parser.add_argument("--distributed", action="store_true")
    parser.add_argument("--pretend", type=int, nargs=2, help="the number of processes and the id that are given on")
    words = parser.parse_args()
    processes.HEARTBEAT_SECONDS = 5
    count, process = words.pretend or (words.num_processes, words.process_id)
    try:
        processes.connect(words.coordinator, count, process, words.distributed, timeout=10)
        globals()[words.scenario]()
    except (InputError, DivergedError) as error:
        print(f"error: {error}", file=sys.stderr)
        processes.leave(2 if isinstance(error, InputError) else 3)


if __name__ == "__main__":
    main()
