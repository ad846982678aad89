from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import pytest

from asymjax.divisors import largest_divisor
from asymjax.errors import DivergedError, InputError
from asymjax.lab import loop
from asymjax.lab.loop import Chunk, compile_ahead, run_phase
from asymjax.lab.recorder import InMemory


@pytest.mark.parametrize(
    ("total", "target", "expected"), [(500, 25, 25), (500, 30, 25), (7, 3, 1), (7, 9, 7), (12, 0, 1)]
)
def test_chunks_are_equal_and_as_large_as_asked(total, target, expected):
    assert largest_divisor(total, target) == expected


def test_a_phase_hands_the_state_from_chunk_to_chunk():
    seen = []

    def advance(index, state):
        seen.append((index, state))
        return Chunk(state + 10)

    assert run_phase(InMemory(), "trial", 3, lambda: 1, advance, 1, (3, "parts")) == 31
    assert seen == [(0, 1), (1, 11), (2, 21)]


def test_a_phase_runs_beside_the_main_thread():
    with ThreadPoolExecutor() as threads:
        done = threads.submit(run_phase, InMemory(), "trial", 2, lambda: 1, lambda i, x: Chunk(x + 1), 1, (2, "parts"))
    assert done.result() == 3


def test_a_phase_that_fails_commits_no_more():
    run = InMemory()

    def advance(index, state):
        if index == 1:
            raise DivergedError("at chunk 1")
        return Chunk(state, draws={"logdensity": index})

    with pytest.raises(DivergedError):
        run_phase(run, "trial", 3, lambda: 1, advance, 1, (3, "parts"))
    assert run.chunks == [{"logdensity": 0}]


def test_a_program_too_large_for_another_process_is_not_compiled(monkeypatch):
    def together(fn):
        fn()
        raise InputError("process 1: a program takes about 2 GB")

    monkeypatch.setattr(loop.processes, "together", together)
    with pytest.raises(InputError, match="process 1"):
        compile_ahead(InMemory(), jnp.sin, jnp.ones(3))
