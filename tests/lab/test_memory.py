"""What chains take of memory: positions from draw to draw, thinning; what is refused."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import model_of

from asymjax import trees
from asymjax.errors import InputError
from asymjax.inference import APPROXIMATIONS, SAMPLERS
from asymjax.inference.approximations.swag import RANK, SWAG
from asymjax.inference.kernels import make_sampling_chunk, persistent_shape
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.samplers import NUTS, PSMILE, SGLD
from asymjax.inference.samplers.minibatch import Minibatch
from asymjax.lab import memory
from asymjax.lab.chains import keep_outputs
from asymjax.lab.loop import compile_ahead
from asymjax.lab.recorder import InMemory
from asymjax.models import draw_frozen
from asymjax.types import Split

CASES = {name: algorithm() for name, algorithm in (SAMPLERS | APPROXIMATIONS).items()}
CONTROLLED = {
    f"{name} controlled": replace(algorithm, control_variates=True)
    for name, algorithm in CASES.items()
    if isinstance(algorithm, Minibatch)
}
MAX_POSITIONS = 4
# The Gaussian that swag draws from: mean, scale and deviations, beside a position. psmile has a direction, and its
# scale in what was tuned as well, beside a position and control variates.
MAX_POSITIONS_OF = {SWAG: RANK + 3, PSMILE: 6}
# Rows, inputs, classes and hidden widths.
SHAPES = {"digits": (1258, 64, 10, (32, 32)), "linear": (20, 500, 10, ())}


@cache
def make_case(shape):
    """Return a problem with data of zeros, and where outputs are kept."""
    num_rows, num_inputs, num_outputs, widths = SHAPES[shape]
    config = PosteriorConfig().for_task("classification")
    model = model_of(widths=widths, norm="layer").build((num_inputs,), num_outputs, config.normal_prior)
    data = Split(np.zeros((num_rows, num_inputs), np.float32), np.zeros(num_rows, np.int32))
    problem = config.of(model, "classification", draw_frozen(model, 0), data)
    return problem, jnp.zeros((num_rows // 3, num_inputs))


@cache
def compiled_bytes(algorithm):
    """Return what a chunk of 20 draws of one chain of a linear model takes, which keeps outputs alone."""
    problem, inputs = make_case("linear")
    _, advance = make_sampling_chunk(problem, algorithm, 20, 1, keep_outputs)
    state, tuned = persistent_shape(problem, algorithm)
    shared = (jnp.asarray(0), problem.frozen, problem.data, inputs)
    return memory.needed_bytes(jax.jit(advance).trace(jax.random.key(0), state, tuned, *shared).lower().compile())


def num_bytes_of_position(shape):
    return trees.num_bytes(make_case(shape)[0].shape)


@pytest.mark.parametrize("algorithm", (CASES | CONTROLLED).values(), ids=(CASES | CONTROLLED).keys())
def test_a_chain_has_four_positions_at_most_from_draw_to_draw(algorithm):
    problem, _ = make_case("digits")
    num_bytes = trees.num_bytes(persistent_shape(problem, algorithm))
    scalars = 100
    max_positions = MAX_POSITIONS_OF.get(type(algorithm), MAX_POSITIONS)
    assert num_bytes <= max_positions * trees.num_bytes(problem.shape) + scalars


def test_a_doubling_of_nuts_takes_two_positions_more():
    few, many = (compiled_bytes(NUTS(max_doublings=n)) for n in (3, 8))
    assert (many - few) / 5 / num_bytes_of_position("linear") == pytest.approx(2, rel=0.05)


def test_draws_that_are_not_kept_take_no_memory():
    # From 2 on: a loop of one turn is no loop to the compiler, and its program takes some more.
    few, many = (compiled_bytes(SGLD(thinning=thinning)) for thinning in (2, 50))
    assert abs(many - few) < num_bytes_of_position("linear")  # Of 48 more positions a draw; the rest is bookkeeping.


def test_what_exceeds_the_memory_is_refused_before_it_runs(monkeypatch, capsys):
    monkeypatch.setattr(memory, "limit_bytes", lambda num_devices: 10**9)
    with pytest.raises(InputError, match=r"takes 400\.0 GB on each device, which has 1\.0 GB; give fewer networks"):
        compile_ahead(InMemory(), lambda x: jnp.sort(jnp.full(10**11, x)), 1.0, phase="trial")
    assert capsys.readouterr().out == ""


def test_chunks_say_what_they_take(capsys):
    x = np.zeros(10**6, "float32")
    run = InMemory()
    run.is_quiet = False
    np.testing.assert_array_equal(compile_ahead(run, jnp.sin, x, phase="trial")(x), x)
    assert capsys.readouterr().out.startswith("trial, on each device: memory: 8.0 MB of ")


@pytest.mark.parametrize(
    ("needed", "limit", "said"),
    [(2, 3, "2.0 MB of 3 MB"), (3, 3, "3.0 MB of 3 MB"), (9, None, "9.0 MB"), (None, 3, "the compiler does not tell")],
)
def test_what_fits_is_allowed_and_what_is_unknown(needed, limit, said):
    needed, limit = needed and needed * 10**6, limit and limit * 10**6
    memory.require_memory(needed, limit)
    assert memory.describe(needed, limit) == f"memory: {said}"


def test_what_is_donated_counts_once():
    added = jax.jit(lambda x, y: x + y, donate_argnums=0).lower(jnp.ones(1000), 1.0).compile()
    assert memory.needed_bytes(added) == 4004
    assert memory.count_devices(added) == 1


def test_host_devices_share_the_memory_of_the_machine():
    whole, half = memory.limit_bytes(1), memory.limit_bytes(2)
    assert half == (whole // 2 if jax.default_backend() == "cpu" else whole)
