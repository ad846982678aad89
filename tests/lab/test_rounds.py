"""Rounds of a sweep: how large they are, and what is called at the end of each."""

import jax
import numpy as np
import optax
import pytest
from model_of import model_of

from asymjax import data, rng
from asymjax.lab import devices, memory, run_files, sweep
from asymjax.lab.recorder import InMemory
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import open_run
from asymjax.lab.sweep import run_sweep
from asymjax.models import draw_frozen
from asymjax.train import losses, make_train

DATASET = data.load("digits")


@pytest.fixture(scope="module")
def network():
    model = model_of(widths=()).build(DATASET.input_shape, DATASET.num_outputs)
    trainer = make_train(model, losses.cross_entropy, optax.sgd(0.1), 2, batch_size=256)
    return trainer, draw_frozen(model, 0)


def train(network, total, **where):
    trainer, frozen = network
    keys, seen = rng.member_keys(jax.random.key(0), total), []

    def finish(members, is_new, state):
        kernels = np.asarray(state.position["output"]["kernel"])
        seen.append((members.tolist(), is_new.tolist(), kernels))

    placement = devices.place(total, **where)
    run_sweep(InMemory(), trainer, keys, keys, frozen, DATASET.train, placement, 2, 1, finish=finish)
    return seen


def test_rounds_train_the_networks_of_one_program(network):
    ((_, _, whole),) = train(network, 5)
    rounds = train(network, 5, max_size=2)
    assert [members for members, _, _ in rounds] == [[0, 1], [2, 3], [4, 0]]
    assert [is_new for _, is_new, _ in rounds] == [[True, True], [True, True], [True, False]]
    np.testing.assert_array_equal(np.concatenate([kernels for _, _, kernels in rounds])[:5], whole)


@pytest.mark.parametrize(
    ("inside", "megabytes", "on_each"),
    [("sequential", 1, 32), ("sequential", 1e6, 1024), ("vectorized", 1, 1), ("vectorized", 1e6, 1024)],
)
def test_a_round_has_room_in_memory(network, monkeypatch, inside, megabytes, on_each):
    trainer, frozen = network
    monkeypatch.setattr(memory, "limit_bytes", lambda num_devices: int(megabytes * 1e6))
    size = sweep.fitting_round(trainer, jax.random.key(0), frozen, DATASET.train, inside)
    assert size == min(1024, on_each * jax.device_count())


def test_a_program_filled_up_to_share_it_is_resumed_by_another_number_of_processes(network, tmp_path):
    trainer, frozen = network
    keys = rng.member_keys(jax.random.key(0), 3)

    def positions(size):
        run = open_run("trial", "mlp", {}, RunConfig(out=tmp_path, progress=False))
        placement = devices.place(size)._replace(total=3)
        state = run_sweep(run, trainer, keys, keys, frozen, DATASET.train, placement, 2, 1)
        run._lock.close()
        assert [len(line["loss"]) for line in run_files.read_metrics(run.path)] == [3, 3]
        return state.position["output"]["kernel"]

    filled_up = positions(4)
    np.testing.assert_array_equal(positions(3), filled_up)
