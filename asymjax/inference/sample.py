"""The driver: chains from their start through warmup to kept draws, in compiled and resumable chunks."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax import parallel, rng, trees
from asymjax.chunks import Chunk, chunk_size, compile_ahead, run_phase
from asymjax.config import HMCConfig, PosteriorConfig
from asymjax.errors import DivergedError
from asymjax.inference.posterior import draw_prior, make_init, make_posterior, make_predict, prior_moments
from asymjax.inference.samplers.hmc import Tuned, make_hmc
from asymjax.inference.warmup import WarmupState, make_warmup
from asymjax.parallel import Placement, map_leading
from asymjax.rundir import RunDir, require_space
from asymjax.train.sweep import run_sweep
from asymjax.train.trainer import make_train
from asymjax.types import Array, Draw, Frozen, Key, Model, Position, Posterior, Split

AXIS = "chain"
AUTO_TRAJECTORY_LENGTH = np.pi / 2
MAX_WEIGHT_BYTES = 2e9
NUM_CHUNKS = 20
NUM_WARMUP_CHUNKS = 10
NUM_MAP_CHUNKS = 10


class Problem(NamedTuple):
    """What chains sample: everything that a compiled chunk takes as an argument, and the functions in it.

    Attributes
    ----------
    model, task, posterior, frozen, data : the target; ``data`` are the training rows.
    init : (key, frozen) -> position.
    predict : (position, frozen, inputs) -> predictive parameters [rows, ...].
    prior_mean, prior_scale : trees of scalars, one a leaf.
    """

    model: Model
    task: str
    posterior: Posterior
    frozen: Frozen
    data: Split
    init: Callable[[Key, Frozen], Position]
    predict: Callable[[Position, Frozen, Array], Array]
    prior_mean: Any
    prior_scale: Any

    @property
    def shape(self) -> Position:
        """Shape structs of one position."""
        return jax.eval_shape(self.init, jax.random.key(0), self.frozen)


def make_problem(model: Model, task: str, config: PosteriorConfig, frozen: Frozen, data: Split) -> Problem:
    """Gather what chains sample."""
    init = make_init(model, task, config)
    like = jax.eval_shape(init, jax.random.key(0), frozen)
    mean, scale = prior_moments(model, config, like)
    return Problem(
        model=model,
        task=task,
        posterior=make_posterior(model, task, config, like),
        frozen=frozen,
        data=Split(*map(jnp.asarray, data)),
        init=init,
        predict=make_predict(model, task, config),
        prior_mean=mean,
        prior_scale=scale,
    )


# The start -------------------------------------------------------------------------------------------------------


def find_map(
    run: RunDir, problem: Problem, keys: Key, placement: Placement, num_steps: int, learning_rate: float
) -> Position:
    """Train one network a key to the optimum of the posterior density, full batch [chain, ...].

    Adam on -log density / rows with a cosine schedule from ``learning_rate`` to zero.
    """
    num_rows = problem.data.targets.shape[0]

    def loss(apply: Any, position: Position, frozen: Frozen, batch: Split) -> Array:
        return -problem.posterior.logdensity(position, frozen, batch) / num_rows

    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    trainer = make_train(problem.model._replace(init=problem.init), loss, optimizer, num_steps, batch_size=None)
    epochs = chunk_size(num_steps, max(1, num_steps // NUM_MAP_CHUNKS))
    return run_sweep(run, trainer, keys, keys, problem.frozen, problem.data, placement, num_steps, epochs).position


def logdensity_and_gradient_norm(problem: Problem, positions: Position) -> tuple[np.ndarray, np.ndarray]:
    """Return the log density and the Euclidean norm of its gradient at each position [member]."""

    def one(position: Position) -> tuple[Array, Array]:
        value, grad = jax.value_and_grad(problem.posterior.logdensity)(position, problem.frozen, problem.data)
        return value, trees.norm(grad)

    value, norm = jax.jit(partial(lax.map, one))(positions)
    return np.asarray(value), np.asarray(norm)


def prior_start(problem: Problem, keys: Key) -> Position:
    """Draw one position a key from the prior [chain, ...]."""
    draw = partial(draw_prior, mean=problem.prior_mean, scale=problem.prior_scale, like=problem.shape)
    return jax.jit(jax.vmap(lambda key: draw(rng.named_key(key, "prior"))))(keys)


# Warmup and sampling ---------------------------------------------------------------------------------------------


def prior_metric(problem: Problem) -> Array:
    """Return the variance of the prior as an inverse mass matrix [coordinates]."""
    variances = jax.tree.map(
        lambda leaf, scale: jnp.full(leaf.shape, scale**2, jnp.float32), problem.shape, problem.prior_scale
    )
    return ravel_pytree(variances)[0]


def metric_updates(num_chunks: int, mass_matrix: str) -> frozenset[int]:
    """Return after which warmup chunks the metric is adapted: growing windows, none in the last third."""
    return frozenset() if mass_matrix == "prior" else frozenset({num_chunks // 5, num_chunks * 3 // 5})


def warm_up(
    run: RunDir, problem: Problem, keys: Key, start: Position, placement: Placement, config: HMCConfig
) -> tuple[Position, Tuned]:
    """Adapt step size and metric of every chain.

    Returns
    -------
    Positions [chain, ...] after warmup, and Tuned with a leading [chain] axis.
    """
    warmup = make_warmup(config.target_acceptance_rate, config.jitter, config.max_integration_steps)
    length = AUTO_TRAJECTORY_LENGTH if config.trajectory_length == "auto" else float(config.trajectory_length)
    num_steps = chunk_size(config.num_warmup, max(1, config.num_warmup // NUM_WARMUP_CHUNKS))
    num_chunks = config.num_warmup // num_steps
    updates = metric_updates(num_chunks, config.mass_matrix)

    def logdensity(position: Position, frozen: Frozen, data: Split) -> Array:
        return problem.posterior.logdensity(position, frozen, data)

    def begin(position: Position, metric: Array, frozen: Frozen, data: Split) -> WarmupState:
        state = warmup.init(position, partial(logdensity, frozen=frozen, data=data), metric, jnp.asarray(length))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), state)

    def advance(key: Key, state: WarmupState, first: Array, frozen: Frozen, data: Split) -> Any:
        return warmup.advance(key, state, first, partial(logdensity, frozen=frozen, data=data), num_steps)

    put = partial(parallel.put, placement=placement, axis=AXIS)
    keys, start = put(keys, is_mapped=True), put(start, is_mapped=True)
    shared = put((problem.frozen, problem.data), is_mapped=False)
    init = partial(
        jax.jit(map_leading(begin, placement, [True, False, False, False], AXIS)), start, prior_metric(problem), *shared
    )
    shapes = parallel.abstract(jax.eval_shape(init), placement, is_mapped=True, axis=AXIS)
    mapped = map_leading(advance, placement, [True, True, False, False, False], AXIS)
    compiled = compile_ahead(run, mapped, keys, shapes, jnp.asarray(0), *shared)
    adopt = jax.jit(jax.vmap(warmup.adopt_metric))

    def chunk(index: int, state: WarmupState) -> Chunk:
        state, trace = compiled(keys, put(state, is_mapped=True), jnp.asarray(index * num_steps), *shared)
        if index + 1 in updates:
            state = adopt(state)
        refuse_non_finite(np.asarray(state.sampler.logdensity)[:, None], "warmup", index * num_steps)
        rate, size = np.asarray(trace.acceptance_rate).mean(1), np.asarray(trace.step_size)[:, -1]
        metrics = {"acceptance_rate": rate, "step_size": size, "num_grad_evals": np.asarray(trace.num_grad_evals).sum(1)}
        return Chunk(state, metrics=metrics, note=f"acceptance {rate.mean():.2f}, step size {size.mean():.4f}")

    state = run_phase(run, "warmup", num_chunks, init, chunk)
    return state.sampler.position, jax.jit(jax.vmap(warmup.tuned))(state)


def refuse_non_finite(logdensity: np.ndarray, phase: str, first: int) -> None:
    """Raise if a log density [chain, draw] is not finite.

    Raises
    ------
    DivergedError
        Names the chain and the draw.
    """
    bad = np.argwhere(~np.isfinite(logdensity))
    if bad.size:
        chain, draw = bad[0]
        raise DivergedError(
            f"the log density of chain {chain} is {logdensity[chain, draw]} at {phase} draw {first + draw}; "
            "lower the prior scale or the step size, or look for unstandardised data"
        )


def keeps_weights(config: HMCConfig, num_coordinates: int) -> bool:
    """Return whether draws keep weights; with ``keep="auto"`` while all of them take less than 2 GB."""
    num_bytes = 4 * num_coordinates * config.num_chains * config.num_draws
    return config.keep == "weights" or (config.keep == "auto" and num_bytes < MAX_WEIGHT_BYTES)


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
    make = partial(
        make_hmc, jitter=config.jitter, max_steps=config.max_integration_steps, keep_position=keep_position
    )

    def begin(position: Position, frozen: Frozen, data: Split) -> Any:
        logdensity = partial(problem.posterior.logdensity, frozen=frozen, batch=data)
        return jax.tree.map(jnp.asarray, make(logdensity, None).init(position))  # type: ignore[arg-type]

    def advance(
        key: Key, state: Any, tuned: Tuned, first: Array, frozen: Frozen, data: Split, inputs: Array
    ) -> tuple[Any, Draw]:
        sampler = make(
            partial(problem.posterior.logdensity, frozen=frozen, batch=data),
            tuned,
            lambda position: problem.predict(position, frozen, inputs),
        )

        def step(state: Any, t: Array) -> tuple[Any, Any]:
            return sampler.step(jax.random.fold_in(key, t), state)

        def kept(state: Any, draw: Array) -> tuple[Any, Draw]:
            state, infos = lax.scan(step, state, draw * config.thinning + jnp.arange(config.thinning))
            last = sampler.collect(state, jax.tree.map(lambda info: info[-1], infos))
            return state, last._replace(
                acceptance_rate=jnp.mean(infos.acceptance_rate),
                is_divergent=jnp.any(infos.is_divergent),
                num_grad_evals=jnp.sum(infos.num_integration_steps),
            )

        return lax.scan(kept, state, first + jnp.arange(num_draws))

    put = partial(parallel.put, placement=placement, axis=AXIS)
    keys, start, tuned = put((keys, start, tuned), is_mapped=True)
    shared = put((problem.frozen, problem.data, jnp.asarray(inputs)), is_mapped=False)
    init = partial(jax.jit(map_leading(begin, placement, [True, False, False], AXIS)), start, *shared[:2])
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
    fields = {name: value for name, value in draw._asdict().items() if value is not None}
    return trees.flatten(fields)


def state_plan(run: RunDir, problem: Problem, config: HMCConfig, num_inputs: int, keep_position: bool) -> str:
    """Say what the run will keep and compute, and refuse it where the disk is too small."""
    num_coordinates = trees.num_entries(problem.shape)
    num_outputs = num_inputs * int(np.prod(jax.eval_shape(problem.predict, problem.shape, problem.frozen, jnp.zeros((1, *problem.data.inputs.shape[1:]))).shape))
    per_draw = 4 * (num_outputs + (num_coordinates if keep_position else 0))
    total = per_draw * config.num_chains * config.num_draws
    require_space(run.path, int(1.2 * total))
    return (
        f"{num_coordinates:,} coordinates, {config.num_chains} chains x {config.num_draws} draws; keeps "
        f"{'weights and outputs' if keep_position else 'outputs'} at {num_inputs} inputs: {total / 1e6:,.0f} MB on disk, "
        f"{total / 1e6 / min(NUM_CHUNKS, config.num_draws):,.1f} MB a chunk in memory"
    )
