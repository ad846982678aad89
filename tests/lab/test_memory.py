"""What chains take of memory: positions from draw to draw, the estimate beside the compiler's figure, thinning."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec
from memory_run import MemoryRun
from model_of import model_of

from asymjax import trees
from asymjax.errors import InputError
from asymjax.inference import SAMPLERS
from asymjax.inference.chains_config import HMCConfig, MCLMCConfig, MinibatchConfig, NUTSConfig
from asymjax.inference.kernels import make_sampling_chunk, persistent_shape
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.problem import make_problem
from asymjax.inference.samplers.swag import RANK
from asymjax.lab import memory
from asymjax.lab.loop import compile_ahead
from asymjax.models import draw_frozen
from asymjax.types import Split

GROUPS = (HMCConfig(), NUTSConfig(), MCLMCConfig(), MinibatchConfig(), MinibatchConfig(control_variates=True))
CONFIGS = [replace(group, sampler=name) for group in GROUPS for name in type(group).__annotations__["sampler"].__args__]
MAX_POSITIONS, TOLERANCE = 4, 0.25
# The Gaussian that swag draws from: mean, scale and deviations, beside a position.
MAX_POSITIONS_OF = {"swag": RANK + 3}
# Rows, inputs, outputs and hidden widths; "large" is an MLP on 5,000 images of 28 x 28.
SHAPES = {
    "regression": (310, 10, 2, (16, 16)),
    "digits": (1258, 64, 10, (32, 32)),
    "large": (4000, 784, 10, (512,) * 3),
}


@cache
def make_case(arch, shape):
    """Return a problem with data of zeros, and where outputs are kept."""
    num_rows, num_inputs, num_outputs, widths = SHAPES[shape]
    task = "regression" if shape == "regression" else "classification"
    norm = "none" if task == "regression" else "layer"
    config = PosteriorConfig().for_task(task)
    model = model_of(arch, widths=widths, norm=norm).build((num_inputs,), num_outputs, config.scale_of)
    targets = np.zeros((num_rows, 1), np.float32) if task == "regression" else np.zeros(num_rows, np.int32)
    data = Split(np.zeros((num_rows, num_inputs), np.float32), targets)
    problem = make_problem(model, task, config, draw_frozen(model, 0), data)
    return problem, jnp.zeros((num_rows // 3, num_inputs))


def trace(config, arch="standard", shape="regression", num_draws=20):
    """Trace a chunk of draws of one chain that keep outputs alone."""
    problem, inputs = make_case(arch, shape)
    algorithm = SAMPLERS[config.sampler](config)
    _, advance = make_sampling_chunk(problem, algorithm, num_draws, config.thinning, keep_position=False)
    state, tuned = persistent_shape(problem, algorithm)
    shared = (jnp.asarray(0), problem.frozen, problem.data, inputs)
    return jax.jit(advance).trace(jax.random.key(0), state, tuned, *shared)


@cache
def compiled_bytes(config, arch="standard", shape="regression"):
    return memory.compiled_bytes(trace(config, arch, shape).lower().compile())


def num_bytes_of_position(shape):
    return trees.num_bytes(make_case("standard", shape)[0].shape)


def assert_estimate_holds(config, arch, shape):
    estimated = memory.estimate_bytes(trace(config, arch, shape))
    compiled = compiled_bytes(config, arch, shape)
    assert abs(estimated / compiled - 1) < TOLERANCE, f"estimated {estimated:,}, compiled {compiled:,}"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.sampler)
def test_a_chain_has_four_positions_at_most_from_draw_to_draw(config):
    problem, _ = make_case("standard", "digits")
    num_bytes = trees.num_bytes(persistent_shape(problem, SAMPLERS[config.sampler](config)))
    scalars = 100
    max_positions = MAX_POSITIONS_OF.get(config.sampler, MAX_POSITIONS)
    assert num_bytes <= max_positions * trees.num_bytes(problem.shape) + scalars


def test_a_doubling_of_nuts_takes_two_positions_more():
    few, many = (memory.estimate_bytes(trace(NUTSConfig(max_doublings=n), shape="digits")) for n in (3, 8))
    assert (many - few) / 5 / num_bytes_of_position("digits") == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(
    ("config", "arch"), [(HMCConfig(), "sigma_asym"), (MinibatchConfig(thinning=2), "standard")], ids=["hmc", "sgld"]
)
def test_the_estimate_is_what_the_compiler_says(config, arch):
    assert_estimate_holds(config, arch, "regression")


@pytest.mark.long
def test_a_doubling_of_nuts_takes_two_positions_more_when_compiled():
    few, many = (compiled_bytes(NUTSConfig(max_doublings=n), shape="digits") for n in (3, 8))
    assert (many - few) / 5 / num_bytes_of_position("digits") == pytest.approx(2, rel=0.05)


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("arch", ["standard", "w_asym", "sigma_asym"])
@pytest.mark.parametrize("sampler", ["hmc", "nuts", "mclmc", "sgld", "sghmc"])
def test_the_estimate_is_what_the_compiler_says_of_all(sampler, arch, shape):
    assert_estimate_holds(next(config for config in CONFIGS if config.sampler == sampler), arch, shape)


def test_draws_that_are_not_kept_take_no_memory():
    # From 2 on: a loop of one turn is no loop to the compiler, and its program takes some more.
    assert compiled_bytes(MinibatchConfig(thinning=2)) == compiled_bytes(MinibatchConfig(thinning=50))


def test_what_far_exceeds_the_memory_is_refused_before_it_is_compiled(monkeypatch, capsys):
    monkeypatch.setattr(memory, "estimate_bytes", lambda traced: 10**18)
    with pytest.raises(InputError, match=r"takes about 1,000,000,000\.0 GB"):
        compile_ahead(MemoryRun(), jnp.sin, 1.0, phase="trial")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("estimated", "limit", "said"),
    [
        (2, 3, "estimated 2.0 MB"),
        (4, 3, "estimated 4.0 MB, more than the 3.0 MB there are"),
        (9, None, "estimated 9.0 MB"),
    ],
)
def test_what_may_fit_is_allowed(estimated, limit, said):
    estimated, limit = estimated * 10**6, limit and limit * 10**6
    memory.require_memory(estimated, limit)
    assert memory.describe(estimated, limit) == f"memory: {said}"


def test_a_program_that_prints_is_estimated():
    traced = jax.jit(lambda x: (jax.debug.print("{}", x), x + 1)[1]).trace(jnp.ones(10))
    assert memory.estimate_bytes(traced) == 80


def test_a_program_that_is_not_understood_runs(monkeypatch, capsys):
    monkeypatch.setattr(memory, "_peak", lambda *_: {}["unknown"])
    assert compile_ahead(MemoryRun(), jnp.sin, 0.0, phase="trial")(0.0) == 0
    assert capsys.readouterr().out.startswith("trial, on each device: memory: not estimated, compiled ")


def test_what_is_donated_counts_once():
    traced = jax.jit(lambda x, y: x + y, donate_argnums=0).trace(jnp.ones(1000), 1.0)
    assert memory.estimate_bytes(traced) == memory.compiled_bytes(traced.lower().compile()) == 4004


def test_host_devices_share_the_memory_of_the_machine():
    def limit(count):
        mesh, spec = AbstractMesh((count,), ("member",)), PartitionSpec("member")
        mapped = jax.shard_map(jnp.sin, mesh=mesh, in_specs=spec, out_specs=spec)
        return memory.limit_bytes(jax.jit(mapped).trace(jnp.ones(count)))

    assert limit(2) == (limit(1) // 2 if jax.default_backend() == "cpu" else limit(1))
