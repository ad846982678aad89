"""Where members run, and that it does not matter."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import drive
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asymjax.lab import devices

DRIVE = Path(__file__).parent / "drive.py"
MAX_CONSTANT_BYTES = 1e6
# XLA splits large contractions over as many threads as there are cores, or devices where those are more; so devices
# beyond the cores change last bits. NPROC makes it four cores for both. Programs are those of users: without XLA's
# optimisations bits depend on how many chains are beside one.
ENV = {"NPROC": "4", "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}


@pytest.fixture(scope="module")
def driven(python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("driven")

    def one(num_devices):
        path = folder / f"{num_devices}.npz"
        done = python("-W", "error", DRIVE, path, num_devices=num_devices, env=ENV, as_for_users=True)
        with np.load(path) as arrays:
            return dict(arrays), json.loads(done.stdout.splitlines()[-1])

    with ThreadPoolExecutor() as pool:
        return dict(zip(drive.CASES, pool.map(one, drive.CASES), strict=True))


def of(driven, num_devices, kind, count):
    prefix = f"{kind}/{count}/"
    arrays = driven[num_devices][0]
    return {name.removeprefix(prefix): leaf for name, leaf in arrays.items() if name.startswith(prefix)}


@pytest.mark.parametrize(
    ("num_devices", "kind", "count"), [(number, *case) for number, cases in drive.CASES.items() for case in cases]
)
def test_member_is_the_same_to_the_bit_in_every_sweep_and_on_all_devices(driven, num_devices, kind, count):
    expected, got = of(driven, 4, kind, 8), of(driven, num_devices, kind, count)
    assert got.keys() == expected.keys() and got
    for name, leaf in got.items():
        np.testing.assert_array_equal(leaf, expected[name][:count], err_msg=name)


TOLD = ("tuned", "acceptance_rate", "num_grad_evals", "energy_change")  # alike for short chains, or missing


def test_members_differ(driven):
    for kind in drive.KINDS:
        for name, leaf in of(driven, 4, kind, 8).items():
            if leaf.dtype == np.float32 and name.split("/")[0] not in TOLD:
                assert len(np.unique(leaf.reshape(8, -1), axis=0)) == 8, name


def test_chains_on_several_devices_adapt_one_length(driven):
    lengths = of(driven, 4, "chains/adapted", 8)["tuned/trajectory_length"]
    assert (
        len(np.unique(lengths)) == 1 and lengths[0] != of(driven, 4, "chains/w_asym", 8)["tuned/trajectory_length"][0]
    )


@pytest.mark.parametrize(
    ("num_devices", "label", "phase"),
    [(number, "standard", "train") for number in drive.CASES]
    + [(number, "w_asym", phase) for number in drive.CASES for phase in ("train", "warmup", "sample")]
    + [(number, "adapted", "warmup") for number in drive.CASES]
    + [(4, "vectorized", phase) for phase in ("train", "sample")]
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


@pytest.mark.parametrize(
    ("kind", "count"), [("train/vectorized", 8), ("train/two at once", 16), ("chains/vectorized", 8)]
)
def test_members_at_once_are_those_in_turn_but_for_rounding(driven, kind, count):
    """Rounding grows along the steps of training and of a trajectory, but stays far from what tells members apart."""
    what = kind.split("/")[0]
    together, in_turn = of(driven, 4, kind, count), of(driven, 4, f"{what}/w_asym", 8)
    if what == "chains":  # The first draw; later ones may differ by a rejection.
        together, in_turn = (
            {name: leaf[:, 0] for name, leaf in draws.items() if name.startswith("position/")}
            for draws in (together, in_turn)
        )
    difference = relative_difference(in_turn, {name: leaf[:8] for name, leaf in together.items()})
    apart = relative_difference(in_turn, {name: np.roll(leaf, 1, axis=0) for name, leaf in in_turn.items()})
    print(f"{kind}: {difference:.1e} relative, other members {apart:.1e}")
    assert difference < 1e-3 * apart


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
    first_use = "import jax, asymjax; asymjax.NUTS; print(jax.device_count())"
    again = "import os; os.environ.pop('XLA_FLAGS'); os.sched_getaffinity = lambda _: range(5); " + first_use
    assert python("-c", again).stdout == "5\n"
    late = "import os; os.environ.pop('XLA_FLAGS'); import jax; jax.devices(); " + code
    done = python("-c", late)
    assert done.stdout == "1\n" and "JAX has started already" in done.stderr
