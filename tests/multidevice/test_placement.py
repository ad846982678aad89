"""Where members run, and that it does not matter."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import drive
import jax
import numpy as np
import pytest

from asymjax import parallel
from asymjax.inference import sample

DRIVE = Path(__file__).parent / "drive.py"
NUM_DEVICES = (1, 4)
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
            return dict(arrays), json.loads(done.stdout)

    with ThreadPoolExecutor() as pool:
        return dict(zip(NUM_DEVICES, pool.map(one, NUM_DEVICES), strict=True))


def of(driven, num_devices, kind, count):
    prefix = f"{kind}/{count}/"
    arrays = driven[num_devices][0]
    return {name.removeprefix(prefix): leaf for name, leaf in arrays.items() if name.startswith(prefix)}


@pytest.mark.parametrize("count", drive.COUNTS)
@pytest.mark.parametrize("num_devices", NUM_DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_member_is_the_same_to_the_bit_in_every_sweep_and_on_all_devices(driven, kind, num_devices, count):
    expected, got = of(driven, 4, kind, max(drive.COUNTS)), of(driven, num_devices, kind, count)
    assert got.keys() == expected.keys() and got
    for name, leaf in got.items():
        np.testing.assert_array_equal(leaf, expected[name][:count], err_msg=name)


def test_members_differ(driven):
    for kind in KINDS:
        for name, leaf in of(driven, 4, kind, 8).items():
            if leaf.dtype == np.float32 and "tuned/" not in name and not name.endswith("acceptance_rate"):
                assert len(np.unique(leaf.reshape(8, -1), axis=0)) == 8, name


@pytest.mark.parametrize("num_devices", NUM_DEVICES)
@pytest.mark.parametrize("name", ["train standard", "train w_asym", "warmup", "sample"])
def test_chunk_has_no_collective_and_no_large_constant_and_lowers_for_tpu(driven, num_devices, name):
    program = driven[num_devices][1][name]
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


def test_vectorized_chains_agree_after_one_step():
    settings = {"num_warmup": 1, "num_draws": 1, "max_integration_steps": 1}
    left, right = (drive.run_chains("w_asym", 2, inside, **settings) for inside in ("sequential", "vectorized"))
    names = [name for name in left if name.startswith("position/")]
    difference = relative_difference({name: left[name] for name in names}, right)
    print(f"one step of HMC, vectorized against sequential: {difference:.1e} relative")
    assert difference < 1e-5


def test_another_step_size_is_the_same_program(monkeypatch):
    programs = []
    monkeypatch.setattr(sample, "compile_ahead", drive.record_programs(sample.compile_ahead, programs))
    draws = [drive.run_chains("standard", 1, step_scale=scale) for scale in (1.0, 0.5)]
    assert programs[1]["compiled"] == programs[3]["compiled"]
    assert np.any(draws[0]["position/output/bias"] != draws[1]["position/output/bias"])


def test_as_many_devices_as_divide_the_count(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    chosen = {count: parallel.place(count).num_devices for count in (1, 2, 3, 6, 7, 8)}
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
        parallel.place(count, num_devices)


def test_host_devices_are_one_a_core_unless_the_user_set_them(python):
    code = "import jax; from asymjax import parallel; parallel.configure_host_devices(); print(jax.device_count())"
    assert python("-c", code, num_devices=3).stdout == "3\n"
    again = "import os; os.environ.pop('XLA_FLAGS'); os.sched_getaffinity = lambda _: range(5); " + code
    assert python("-c", again).stdout == "5\n"
    late = "import os; os.environ.pop('XLA_FLAGS'); import jax; jax.devices(); " + code
    done = python("-c", late)
    assert done.stdout == "1\n" and "JAX has started already" in done.stderr
