"""The driver: chains through warmup to kept draws, in compiled and resumable chunks.

A chunk takes keys, state, tuned values, constants and data as arguments; nothing large is closed over, and another
step size or data set of the same shape runs the same program.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.divisors import largest_divisor
from asymjax.errors import DivergedError
from asymjax.inference.algorithm import Algorithm, Pooling
from asymjax.inference.kernels import Keep, make_sampling_chunk, make_warmup, persistent_shape
from asymjax.inference.posterior import Posterior
from asymjax.lab import devices, memory, processes
from asymjax.lab.devices import Placement, map_leading
from asymjax.lab.loop import Chunk, compile_ahead, run_phase
from asymjax.lab.recorder import Recorder
from asymjax.lab.rundir import RunDir, require_space
from asymjax.settings import Count, Settings
from asymjax.types import Array, Position, PyTree

AXIS = "chain"
MAX_WEIGHT_BYTES = 2e9
NUM_CHUNKS = 20
NOTED = ("acceptance_rate", "step_size", "trajectory_length")


# Before the start ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChainsConfig(Settings):
    """Chains, and what is kept of them."""

    num_chains: Count = 4
    """Chains, each from its own init seed."""
    num_draws: Count = 400
    """Kept draws a chain."""
    keep: Literal["auto", "weights", "outputs"] = "auto"
    """What to keep of each draw: weights, or only the outputs on test and noise inputs; auto keeps weights while they
    take less than 2 GB."""


def keeps_weights(config: ChainsConfig, num_coordinates: int) -> bool:
    """Return whether draws keep weights; with ``keep="auto"`` while all of them take less than 2 GB."""
    num_bytes = 4 * num_coordinates * config.num_chains * config.num_draws
    return config.keep == "weights" or (config.keep == "auto" and num_bytes < MAX_WEIGHT_BYTES)


def state_plan(
    run: RunDir, posterior: Posterior, algorithm: Algorithm, config: ChainsConfig, inputs: Array, keep_position: bool
) -> str:
    """Return in words what the run will keep and compute, and how many positions a chain has from draw to draw.

    Raises
    ------
    InputError
        If the disk is too small for it.
    """
    num_coordinates = trees.num_entries(posterior.shape)
    outputs = jax.eval_shape(posterior.predict, posterior.shape, posterior.frozen, inputs)
    num_kept = trees.num_entries(outputs) + (num_coordinates if keep_position else 0)
    megabytes = 4e-6 * num_kept * config.num_chains * config.num_draws
    require_space(run.path, int(1.2e6 * megabytes))
    num_bytes = trees.num_bytes(persistent_shape(posterior, algorithm))
    kept = "weights and outputs" if keep_position else "outputs"
    gradient = jax.jit(jax.grad(posterior.logdensity))
    flops = memory.count_flops(gradient.trace(posterior.shape, posterior.frozen, posterior.data))
    return (
        f"{num_coordinates:,} coordinates, {config.num_chains} chains x {config.num_draws} draws; keeps {kept} at "
        f"{len(inputs)} inputs: {megabytes:,.0f} MB on disk, {megabytes / min(NUM_CHUNKS, config.num_draws):,.1f} MB a "
        f"chunk in memory; a chain's state takes {num_bytes / trees.num_bytes(posterior.shape):.1f} positions, "
        f"{1e-6 * num_bytes:,.1f} MB" + (f", and a gradient {1e-6 * flops:,.3g} MFLOP" if flops else "")
    )


def refuse_non_finite(
    logdensity: np.ndarray, phase: str, first: int, first_chain: int = 0, *, is_bound: bool = False
) -> None:
    """Check log densities [chain, draw] of this process's chains.

    Raises
    ------
    DivergedError
        On every process, if one is not finite; names the chain and the draw, counted from ``first_chain`` and
        ``first``; or the fit and the step by which its bound was not, if they are bounds.
    """

    def look() -> None:
        bad = np.argwhere(~np.isfinite(logdensity))
        if bad.size:
            chain, draw = bad[0]
            if is_bound:
                raise DivergedError(
                    f"the bound of fit {first_chain + chain} is {logdensity[chain, draw]} by step {first + draw}; "
                    "lower the learning rate, if there is one, or look for unstandardised data or a density that is "
                    "zero somewhere"
                )
            raise DivergedError(
                f"the log density of chain {first_chain + chain} is {logdensity[chain, draw]} at {phase} draw "
                f"{first + draw}; lower the prior scale or the step size, or look for unstandardised data"
            )

    processes.together(look)


# Warmup ----------------------------------------------------------------------------------------------------------


def warm_up(
    run: Recorder, posterior: Posterior, keys: PyTree, start: Position, placement: Placement, algorithm: Algorithm
) -> tuple[Position, Any]:
    """Tune the sampler of every chain.

    Parameters
    ----------
    run, posterior, placement, algorithm : where, what, on what and how.
    keys : [chain] keys, or a ``Member`` of such arrays where chains have settings of their own.
    start : positions [chain, ...].

    Returns
    -------
    Positions [chain, ...] after warmup, and what was tuned with a leading [chain] axis.

    Raises
    ------
    DivergedError
        If a log density leaves the finite numbers.
    """
    stages = algorithm.stages
    firsts = np.cumsum([0, *(stage.num_steps for stage in stages)])
    put = partial(devices.put, placement=placement, axis=AXIS)
    keys, start = put((keys, start), is_mapped=True)
    shared = put((posterior.frozen, posterior.data), is_mapped=False)
    warmup = make_warmup(posterior, algorithm)
    is_mapped = [True, True, False, False]
    init = partial(jax.jit(map_leading(warmup.begin, placement, is_mapped, AXIS)), keys, start, *shared)
    shapes = devices.abstract(jax.eval_shape(init), placement, is_mapped=True, axis=AXIS)
    compiled: dict[Callable, Callable] = {}
    for stage in stages:
        if stage.advance not in compiled:
            mapped = map_leading(warmup.advance(stage), placement, [True, True, False, False, False, False], AXIS)
            arguments = (keys, shapes, jnp.asarray(0), jnp.asarray(0.0), *shared)
            compiled[stage.advance] = compile_ahead(run, mapped, *arguments, phase="warmup")

    meet = make_meeting(algorithm.pooling, placement)

    def chunk(index: int, state: Any) -> Chunk:
        stage, first = stages[index], jnp.asarray(firsts[index])
        advance = compiled[stage.advance]
        state, metrics = advance(keys, state, first, jnp.asarray(stage.setting), *shared)
        first_chain, _ = processes.local_rows(metrics["logdensity"])
        metrics = processes.local(metrics)
        last = int(firsts[index + 1]) - 1
        refuse_non_finite(metrics["logdensity"][:, None], "warmup", last, first_chain, is_bound=algorithm.is_fit)
        note = ", ".join(f"{name} {metrics[name].mean():.3g}" for name in NOTED if name in metrics)
        return Chunk(meet(state), metrics=metrics, note=note)

    state = run_phase(run, "warmup", len(stages), init, chunk, shapes, (placement.size * int(firsts[-1]), "steps"))
    return jax.jit(map_leading(warmup.finish, placement, is_mapped, AXIS))(keys, state, *shared)


def make_meeting(pooling: Pooling | None, placement: Placement) -> Callable[[Any], Any]:
    """Return (states [chain, ...]) -> states, after what chains learn from each other.

    What they tell comes together in one place, so that what they learn does not depend on where they run.
    """
    if pooling is None:
        return lambda states: states
    tell = jax.jit(map_leading(pooling.tell, placement, [True], AXIS))
    learn = jax.jit(map_leading(pooling.learn, placement, [True, False], AXIS))
    meet = jax.jit(pooling.meet)

    def meeting(states: Any) -> Any:
        learned = trees.to_host(meet(processes.gather(tell(states))))
        return learn(states, devices.put(learned, placement, is_mapped=False, axis=AXIS))

    return meeting


# Sampling --------------------------------------------------------------------------------------------------------


def keep_outputs(position: Position, own: Posterior, inputs: Array) -> dict[str, Any]:
    """Keep the outputs of a draw at some inputs."""
    return {"outputs": own.predict(position, own.frozen, inputs)}


def keep_weights(position: Position, own: Posterior, inputs: Array) -> dict[str, Any]:
    """Keep the position of a draw too."""
    return {"position": position, **keep_outputs(position, own, inputs)}


def sample_chains(
    run: Recorder,
    posterior: Posterior,
    keys: PyTree,
    start: Position,
    tuned: Any,
    inputs: PyTree,
    placement: Placement,
    algorithm: Algorithm,
    num_draws: int,
    keep: Keep,
) -> None:
    """Draw from every chain and commit the draws.

    Parameters
    ----------
    run, posterior, placement, algorithm : where, what, on what and how.
    num_draws : kept draws a chain.
    keys : [chain] keys, or a ``Member`` as :func:`warm_up` takes it.
    start, tuned : positions and tuned values, [chain, ...].
    inputs : arrays that ``keep`` takes.
    keep : as of :func:`~asymjax.inference.kernels.make_sampling_chunk`.

    Raises
    ------
    DivergedError
        If a log density leaves the finite numbers; names the chain and the draw.
    """
    per_chunk = largest_divisor(num_draws, max(1, num_draws // NUM_CHUNKS))
    begin, advance = make_sampling_chunk(posterior, algorithm, per_chunk, num_draws // per_chunk, keep)

    put = partial(devices.put, placement=placement, axis=AXIS)
    keys, start, tuned = put((keys, start, tuned), is_mapped=True)
    shared = put((posterior.frozen, posterior.data, inputs), is_mapped=False)
    mapped_begin = map_leading(begin, placement, [True, True, True, False, False], AXIS)
    init = partial(jax.jit(mapped_begin), keys, start, tuned, *shared[:2])
    shapes = devices.abstract(jax.eval_shape(init), placement, is_mapped=True, axis=AXIS)
    mapped = map_leading(advance, placement, [True, True, True, False, False, False, False], AXIS)
    compiled = compile_ahead(run, mapped, keys, shapes, tuned, jnp.asarray(0), *shared, phase="sample")

    def chunk(index: int, state: Any) -> Chunk:
        state, draws = compiled(keys, state, tuned, jnp.asarray(index * per_chunk), *shared)
        first_chain, _ = processes.local_rows(draws["logdensity"])
        draws = trees.named_leaves(processes.local(draws))
        refuse_non_finite(draws["logdensity"], "sampling", index * per_chunk, first_chain)
        rate, divergent = draws["acceptance_rate"].mean(1), draws["is_divergent"].sum(1)
        metrics = {
            "acceptance_rate": rate,
            "num_divergent": divergent,
            "num_grad_evals": draws["num_grad_evals"].sum(1),
        }
        note = f"divergent {divergent.sum()}" + (f", acceptance {rate.mean():.2f}" if np.isfinite(rate).all() else "")
        return Chunk(state, draws=draws, metrics=metrics, note=note)

    work = (placement.size * num_draws, "draws")
    run_phase(run, "sample", num_draws // per_chunk, init, chunk, shapes, work, has_draws=True)
