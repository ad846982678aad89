"""The driver: chains through warmup to kept draws, in compiled and resumable chunks.

A chunk takes keys, state, tuned values, constants and data as arguments; nothing large is closed over, and another
step size or data set of the same shape runs the same program.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax import parallel, trees
from asymjax.chunks import Chunk, chunk_size, compile_ahead, run_phase
from asymjax.config import HMCConfig
from asymjax.errors import DivergedError
from asymjax.inference.problem import Problem
from asymjax.inference.samplers.hmc import Tuned, make_hmc
from asymjax.inference.warmup import INITIAL_STEP_SIZE, WarmupState, WarmupTrace, make_warmup
from asymjax.parallel import Placement, map_leading
from asymjax.rundir import RunDir, require_space
from asymjax.types import Array, Draw, Frozen, Key, Position, Split

AXIS = "chain"
AUTO_TRAJECTORY_LENGTH = np.pi / 2
MAX_WEIGHT_BYTES = 2e9
NUM_CHUNKS = 20
NUM_WARMUP_CHUNKS = 10


# Before the start ------------------------------------------------------------------------------------------------


def trajectory_length(config: HMCConfig) -> float:
    """Return the integration time, in units of the metric's scale; "auto" is pi/2 (Izmailov et al. 2021, section 4).

    With the prior's variance as inverse mass matrix this is (pi/2) times the prior scale under a unit mass matrix.
    """
    return AUTO_TRAJECTORY_LENGTH if config.trajectory_length == "auto" else float(config.trajectory_length)


def num_gradients(config: HMCConfig, step_size: float) -> float:
    """Return about how many gradients the kept draws of all chains take at a step size."""
    steps = min(config.max_integration_steps, trajectory_length(config) / step_size)
    return config.num_chains * config.num_draws * config.thinning * steps


def keeps_weights(config: HMCConfig, num_coordinates: int) -> bool:
    """Return whether draws keep weights; with ``keep="auto"`` while all of them take less than 2 GB."""
    num_bytes = 4 * num_coordinates * config.num_chains * config.num_draws
    return config.keep == "weights" or (config.keep == "auto" and num_bytes < MAX_WEIGHT_BYTES)


def state_plan(run: RunDir, problem: Problem, config: HMCConfig, inputs: Array, keep_position: bool) -> str:
    """Say what the run will keep and compute.

    Raises
    ------
    InputError
        If the disk is too small for it.
    """
    num_coordinates = trees.num_entries(problem.shape)
    outputs = jax.eval_shape(problem.predict, problem.shape, problem.frozen, inputs)
    num_kept = trees.num_entries(outputs) + (num_coordinates if keep_position else 0)
    megabytes = 4e-6 * num_kept * config.num_chains * config.num_draws
    require_space(run.path, int(1.2e6 * megabytes))
    kept = "weights and outputs" if keep_position else "outputs"
    return (
        f"{num_coordinates:,} coordinates, {config.num_chains} chains x {config.num_draws} draws; keeps {kept} at "
        f"{len(inputs)} inputs: {megabytes:,.0f} MB on disk, {megabytes / min(NUM_CHUNKS, config.num_draws):,.1f} MB a "
        f"chunk in memory; about {num_gradients(config, INITIAL_STEP_SIZE):,.0f} gradients if the step size is "
        f"{INITIAL_STEP_SIZE}"
    )


def refuse_non_finite(logdensity: np.ndarray, phase: str, first: int) -> None:
    """Look at log densities [chain, draw].

    Raises
    ------
    DivergedError
        If one is not finite; names the chain and the draw, counted from ``first``.
    """
    bad = np.argwhere(~np.isfinite(logdensity))
    if bad.size:
        chain, draw = bad[0]
        raise DivergedError(
            f"the log density of chain {chain} is {logdensity[chain, draw]} at {phase} draw {first + draw}; "
            "lower the prior scale or the step size, or look for unstandardised data"
        )


# Warmup ----------------------------------------------------------------------------------------------------------


def prior_metric(problem: Problem) -> Array:
    """Return the variance of the prior as an inverse mass matrix [coordinates]."""
    variances = jax.tree.map(
        lambda leaf, scale: jnp.full(leaf.shape, scale**2, jnp.float32), problem.shape, problem.prior_scale
    )
    return ravel_pytree(variances)[0]


def metric_updates(num_chunks: int, mass_matrix: str) -> frozenset[int]:
    """Return after which warmup chunks the metric is adapted: growing windows, none in the last third."""
    return frozenset() if mass_matrix == "prior" else frozenset({num_chunks // 5, num_chunks * 3 // 5})


def make_warmup_chunk(problem: Problem, config: HMCConfig, num_steps: int) -> tuple[Callable, Callable]:
    """Return the functions of one chain's warmup that are compiled.

    Returns
    -------
    ``begin(position, metric, frozen, data) -> WarmupState`` and
    ``advance(key, state, first, frozen, data) -> (WarmupState, WarmupTrace [num_steps])``.
    """
    warmup = make_warmup(config.target_acceptance_rate, config.jitter, config.max_integration_steps)

    def begin(position: Position, metric: Array, frozen: Frozen, data: Split) -> WarmupState:
        logdensity = partial(problem.posterior.logdensity, frozen=frozen, batch=data)
        return warmup.init(position, logdensity, metric, jnp.asarray(trajectory_length(config)))

    def advance(
        key: Key, state: WarmupState, first: Array, frozen: Frozen, data: Split
    ) -> tuple[WarmupState, WarmupTrace]:
        logdensity = partial(problem.posterior.logdensity, frozen=frozen, batch=data)
        return warmup.advance(key, state, first, logdensity, num_steps)

    return begin, advance


def warm_up(
    run: RunDir, problem: Problem, keys: Key, start: Position, placement: Placement, config: HMCConfig
) -> tuple[Position, Tuned]:
    """Adapt step size and metric of every chain.

    Returns
    -------
    Positions [chain, ...] after warmup, and Tuned with a leading [chain] axis.

    Raises
    ------
    DivergedError
        If a log density leaves the finite numbers.
    """
    num_steps = chunk_size(config.num_warmup, max(1, config.num_warmup // NUM_WARMUP_CHUNKS))
    num_chunks = config.num_warmup // num_steps
    updates = metric_updates(num_chunks, config.mass_matrix)
    warmup = make_warmup(config.target_acceptance_rate, config.jitter, config.max_integration_steps)
    begin, advance = make_warmup_chunk(problem, config, num_steps)

    put = partial(parallel.put, placement=placement, axis=AXIS)
    keys, start = put((keys, start), is_mapped=True)
    shared = put((problem.frozen, problem.data), is_mapped=False)
    mapped_begin = map_leading(begin, placement, [True, False, False, False], AXIS)
    init = partial(jax.jit(mapped_begin), start, put(prior_metric(problem), is_mapped=False), *shared)
    shapes = parallel.abstract(jax.eval_shape(init), placement, is_mapped=True, axis=AXIS)
    mapped = map_leading(advance, placement, [True, True, False, False, False], AXIS)
    compiled = compile_ahead(run, mapped, keys, shapes, jnp.asarray(0), *shared)
    adopt_metric = jax.jit(jax.vmap(warmup.adopt_metric))

    def chunk(index: int, state: WarmupState) -> Chunk:
        state, trace = compiled(keys, put(state, is_mapped=True), jnp.asarray(index * num_steps), *shared)
        trace = trees.to_host(trace)
        refuse_non_finite(np.asarray(state.sampler.logdensity)[:, None], "warmup", (index + 1) * num_steps - 1)
        if index + 1 in updates:
            state = adopt_metric(state)
        rate, step_size = trace.acceptance_rate.mean(1), trace.step_size[:, -1]
        metrics = {"acceptance_rate": rate, "step_size": step_size, "num_grad_evals": trace.num_grad_evals.sum(1)}
        return Chunk(state, metrics=metrics, note=f"acceptance {rate.mean():.2f}, step size {step_size.mean():.4f}")

    state = run_phase(run, "warmup", num_chunks, init, chunk)
    return state.sampler.position, jax.jit(jax.vmap(warmup.tuned))(state)


# Sampling --------------------------------------------------------------------------------------------------------


def make_sampling_chunk(
    problem: Problem, config: HMCConfig, num_draws: int, keep_position: bool
) -> tuple[Callable, Callable]:
    """Return the functions of one chain's sampling that are compiled.

    Returns
    -------
    ``begin(position, tuned, frozen, data) -> state`` and
    ``advance(key, state, tuned, first, frozen, data, inputs) -> (state, Draw [num_draws, ...])``.
    """

    def make(tuned: Tuned, frozen: Frozen, data: Split, inputs: Array | None = None) -> Any:
        return make_hmc(
            partial(problem.posterior.logdensity, frozen=frozen, batch=data),
            tuned,
            None if inputs is None else lambda position: problem.predict(position, frozen, inputs),
            jitter=config.jitter,
            max_steps=config.max_integration_steps,
            keep_position=keep_position,
        )

    def begin(position: Position, tuned: Tuned, frozen: Frozen, data: Split) -> Any:
        return make(tuned, frozen, data).init(position)

    def advance(
        key: Key, state: Any, tuned: Tuned, first: Array, frozen: Frozen, data: Split, inputs: Array
    ) -> tuple[Any, Draw]:
        sampler = make(tuned, frozen, data, inputs)

        def step(state: Any, t: Array) -> tuple[Any, Any]:
            return sampler.step(jax.random.fold_in(key, t), state)

        def keep_one(state: Any, draw: Array) -> tuple[Any, Draw]:
            state, infos = lax.scan(step, state, draw * config.thinning + jnp.arange(config.thinning))
            last = sampler.collect(state, jax.tree.map(lambda info: info[-1], infos))
            return state, last._replace(
                acceptance_rate=jnp.mean(infos.acceptance_rate),
                is_divergent=jnp.any(infos.is_divergent),
                num_grad_evals=jnp.sum(infos.num_integration_steps),
            )

        return lax.scan(keep_one, state, first + jnp.arange(num_draws))

    return begin, advance


def sample_chains(
    run: RunDir,
    problem: Problem,
    keys: Key,
    start: Position,
    tuned: Tuned,
    inputs: Array,
    placement: Placement,
    config: HMCConfig,
    keep_position: bool,
) -> None:
    """Draw from every chain and commit the draws to the run directory.

    Parameters
    ----------
    run, problem, placement, config : where, what, on what and how.
    keys : [chain] keys.
    start, tuned : positions and tuned values, [chain, ...].
    inputs : [rows, ...] where the outputs of every draw are kept.
    keep_position : whether weights are kept too.

    Raises
    ------
    DivergedError
        If a log density leaves the finite numbers; names the chain and the draw.
    """
    num_draws = chunk_size(config.num_draws, max(1, config.num_draws // NUM_CHUNKS))
    begin, advance = make_sampling_chunk(problem, config, num_draws, keep_position)

    put = partial(parallel.put, placement=placement, axis=AXIS)
    keys, start, tuned = put((keys, start, tuned), is_mapped=True)
    shared = put((problem.frozen, problem.data, inputs), is_mapped=False)
    mapped_begin = map_leading(begin, placement, [True, True, False, False], AXIS)
    init = partial(jax.jit(mapped_begin), start, tuned, *shared[:2])
    shapes = parallel.abstract(jax.eval_shape(init), placement, is_mapped=True, axis=AXIS)
    mapped = map_leading(advance, placement, [True, True, True, False, False, False, False], AXIS)
    compiled = compile_ahead(run, mapped, keys, shapes, tuned, jnp.asarray(0), *shared)

    def chunk(index: int, state: Any) -> Chunk:
        state, draw = compiled(keys, put(state, is_mapped=True), tuned, jnp.asarray(index * num_draws), *shared)
        draw = trees.to_host(draw)
        refuse_non_finite(draw.logdensity, "sampling", index * num_draws)
        rate, divergent = draw.acceptance_rate.mean(1), draw.is_divergent.sum(1)
        metrics = {"acceptance_rate": rate, "num_divergent": divergent, "num_grad_evals": draw.num_grad_evals.sum(1)}
        note = f"acceptance {rate.mean():.2f}, divergent {divergent.sum()}"
        return Chunk(state, draws=flatten_draw(draw), metrics=metrics, note=note)

    run_phase(run, "sample", config.num_draws // num_draws, init, chunk)


def flatten_draw(draw: Draw) -> dict[str, np.ndarray]:
    """Return the arrays of a draw by name; weights under ``position/...``."""
    return trees.flatten({name: value for name, value in draw._asdict().items() if value is not None})
