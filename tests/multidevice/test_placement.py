"""Where members run, and that it does not matter."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import drive
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asymjax import trees
from asymjax.inference import kernels
from asymjax.inference.samplers.hmc import HMC, Tuned
from asymjax.lab import devices
from asymjax.lab.chains import keep_weights

DRIVE = Path(__file__).parent / "drive.py"
KINDS = ("train/standard", "train/w_asym", "chains/w_asym")
MAX_CONSTANT_BYTES = 1e6
# XLA splits large contractions over as many threads as there are cores, or devices where those are more; so devices
# beyond the cores change last bits. NPROC makes it four cores for both.
ENV = {"NPROC": "4"}


@pytest.fixture(scope="module")
def driven(python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("driven")

    def one(num_devices):
        path = folder / f"{num_devices}.npz"
        done = python("-W", "error", DRIVE, path, num_devices=num_devices, env=ENV)
        with np.load(path) as arrays:
            return dict(arrays), json.loads(done.stdout.splitlines()[-1])

    with ThreadPoolExecutor() as pool:
        return dict(zip(drive.COUNTS, pool.map(one, drive.COUNTS), strict=True))


def of(driven, num_devices, kind, count):
    prefix = f"{kind}/{count}/"
    arrays = driven[num_devices][0]
    return {name.removeprefix(prefix): leaf for name, leaf in arrays.items() if name.startswith(prefix)}


@pytest.mark.parametrize(("num_devices", "count"), [(1, 8), (1, 1), (4, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_member_is_the_same_to_the_bit_in_every_sweep_and_on_all_devices(driven, kind, num_devices, count):
    expected, got = of(driven, 4, kind, 8), of(driven, num_devices, kind, count)
    assert got.keys() == expected.keys() and got
    for name, leaf in got.items():
        np.testing.assert_array_equal(leaf, expected[name][:count], err_msg=name)


TOLD = ("tuned", "acceptance_rate", "num_grad_evals", "energy_change")  # alike for short chains, or missing


def test_members_differ(driven):
    for kind in KINDS:
        for name, leaf in of(driven, 4, kind, 8).items():
            if leaf.dtype == np.float32 and name.split("/")[0] not in TOLD:
                assert len(np.unique(leaf.reshape(8, -1), axis=0)) == 8, name


@pytest.mark.parametrize(
    ("num_devices", "label", "phase"),
    [(number, "standard", "train") for number in drive.COUNTS]
    + [(number, "w_asym", phase) for number in drive.COUNTS for phase in ("train", "warmup", "sample")]
    + [(4, "vectorized", phase) for phase in ("train", "warmup", "sample")]
    + [(4, "two at once", "train")],
)
def test_chunk_has_no_collective_and_no_large_constant_and_lowers_for_tpu(driven, num_devices, label, phase):
    program = driven[num_devices][1][f"{label} {phase}"]
    assert program["num_operations"] > 100
    assert program["collectives"] == []
    assert program["largest_constant"] < MAX_CONSTANT_BYTES
    assert program["platforms"] == ["tpu"]


def test_checks_of_programs_see_what_they_look_for():
    table = np.random.default_rng(0).normal(size=(400, 800)).astype("float32")
    text = jax.jit(lambda x: x @ table).lower(np.ones((1, 400), "float32")).compile().as_text()
    assert drive.largest_constant(text) == table.nbytes
    assert drive.COLLECTIVE.search("  %all-reduce.1 = f32[] all-reduce(%x), replica_groups={}")


def relative_difference(left, right):
    squares = sum(np.sum((left[name] - right[name]) ** 2) for name in left)
    return np.sqrt(squares / sum(np.sum(leaf**2) for leaf in left.values()))


def test_vectorized_training_agrees_after_one_step():
    left, right = (drive.train("w_asym", 2, inside, 1, None) for inside in ("sequential", "vectorized"))
    difference = relative_difference(left, right)
    print(f"one training step, vectorized against sequential: {difference:.1e} relative")
    assert difference < 1e-5


def make_step(inside, traces):
    """Return (step sizes) -> positions after one step of two chains, by path; notes its traces."""
    problem = drive.make_chain_problem("w_asym")
    begin, advance = kernels.make_sampling_chunk(problem, HMC(max_integration_steps=1), 1, 1, keep_weights)
    shared = problem.frozen, problem.data

    def one(key, step_size, position):
        traces.append(inside)
        tuned = Tuned(step_size, jnp.ones(trees.num_entries(problem.shape)), step_size)
        state = begin(key, position, tuned, *shared)
        return advance(key, state, tuned, jnp.asarray(0), *shared, problem.data.inputs[:5])[1]["position"]

    keys = drive.member_keys(2, "init")
    start = jax.jit(jax.vmap(problem.init, (0, None)))(keys, problem.frozen)
    step = jax.jit(devices.map_leading(one, devices.place(2, inside=inside), [True, True, True]))
    return lambda sizes: trees.flatten(trees.to_host(step(keys, sizes, start)))


def test_vectorized_chains_agree_after_one_step_and_other_step_sizes_compile_nothing():
    traces = []
    steps = [make_step(inside, traces) for inside in ("sequential", "vectorized")]
    left, right = (step(jnp.array([0.001, 0.002])) for step in steps)
    num_traces = len(traces)
    other = steps[0](jnp.array([0.002, 0.003]))
    assert len(traces) == num_traces
    difference = relative_difference(left, right)
    print(f"one step of HMC, vectorized against sequential: {difference:.1e} relative")
    assert difference < 1e-5 < relative_difference(left, other)


@pytest.mark.parametrize(("inside", "width"), [("sequential", 1), ("vectorized", 6), (4, 4), (9, 6)])
def test_as_many_members_run_at_once_as_asked_for(inside, width):
    assert devices.place(6, 1, inside).width == width
    mapped = jax.jit(devices.map_leading(lambda x, y: x * y, devices.place(6, 1, inside), [True, False]))
    np.testing.assert_array_equal(mapped(jnp.arange(6), jnp.asarray(3)), 3 * np.arange(6))


def test_rounds_have_every_member_and_the_last_is_filled_up():
    placement = devices.place(10, 1, max_size=4)
    assert (placement.total, placement.size, placement.num_rounds) == (10, 4, 3)
    rounds = [placement.members(index).tolist() for index in range(3)]
    assert rounds == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    assert str(placement).startswith("10 in 3 rounds of 4 on 1 of ")
    assert devices.place(3, 1, max_size=4).num_rounds == 1


def test_a_round_of_no_members_is_refused():
    with pytest.raises(ValueError, match="round_size is 0; give at least 1"):
        devices.place(10, 1, max_size=0)


def test_members_share_processes_evenly(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    assert [devices.place(count).num_devices for count in (4, 8, 12, 24)] == [4, 8, 4, 8]
    for count, num_devices, message in [
        (6, None, "4 processes do not divide 6 networks or chains"),
        (12, 6, "6 devices asked for, which 4 processes cannot share evenly"),
    ]:
        with pytest.raises(ValueError, match=message):
            devices.place(count, num_devices)


def test_as_many_devices_as_divide_the_count(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    chosen = {count: devices.place(count).num_devices for count in (1, 2, 3, 6, 7, 8)}
    assert chosen == {1: 1, 2: 2, 3: 3, 6: 3, 7: 1, 8: 4}


@pytest.mark.parametrize(
    ("count", "num_devices", "message"),
    [
        (8, 3, "3 devices do not divide 8 networks or chains"),
        (8, 5, "5 devices asked for, 4 available"),
        (8, 0, "0 devices asked for, 4 available"),
        (0, None, "0 networks or chains asked for"),
    ],
)
def test_impossible_placement_is_refused(monkeypatch, count, num_devices, message):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    with pytest.raises(ValueError, match=message):
        devices.place(count, num_devices)


def test_host_devices_are_one_a_core_unless_the_user_set_them(python):
    code = "import jax; from asymjax.lab import devices; devices.configure_host_devices(); print(jax.device_count())"
    assert python("-c", code, num_devices=3).stdout == "3\n"
    again = "import os; os.environ.pop('XLA_FLAGS'); os.sched_getaffinity = lambda _: range(5); " + code
    assert python("-c", again).stdout == "5\n"
    late = "import os; os.environ.pop('XLA_FLAGS'); import jax; jax.devices(); " + code
    done = python("-c", late)
    assert done.stdout == "1\n" and "JAX has started already" in done.stderr
