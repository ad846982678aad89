"""Walks in weight space on which outputs on replay inputs stay, while an objective falls.

Functionally invariant paths (Raghavan and Thomson 2022, arXiv 2205.00334). Each step solves: least ``d^T g d / 2 + d^T
v`` at a given length, where v is the gradient of the objective and g the metric of the outputs on replay inputs. Its
direction is ``-(g + mu I)^-1 v`` for some damping mu: without damping, v projected on the null space of g; with much
of it, gradient descent. No matrix of all parameters is formed: with J the Jacobian and ``K = J J^T`` that direction is
``-(v - J^T (K + mu I)^-1 J v) / mu`` (Woodbury).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import cho_factor, cho_solve
from jax.scipy.sparse.linalg import cg

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.paths.metric import (
    OutputsOf,
    bhattacharyya,
    jacobian,
    make_products,
    refuse_graphs,
    squared_distance,
)
from asymjax.paths.objectives import Objective
from asymjax.settings import Count, NonNegative, Positive, Settings, Share
from asymjax.types import Array, Key, Position, PyTree

LayerInputs = Callable[[Position, Any], dict[str, Array]]
"""(position, inputs) -> path of a dense kernel -> what enters it [rows, ..., features]."""
DISTANCES = {"classification": bhattacharyya, "regression": squared_distance}
NUM_PROBES = 8
"""Of the trace that the damping is relative to, where no matrix is formed."""
CG_STEPS = 200
ROUNDING = 100
"""In units of the last place: a share of a gradient that is left by projections of all of it."""
LEAST_DAMPING = 10
"""In units of the last place of the trace."""
LARGEST_BYTES = 2**33


@dataclass(frozen=True)
class PathConfig(Settings):
    """How one path is walked."""

    driver: Literal["exact", "penalty", "layer"] = "exact"
    """Steps in the null space of the metric; down the objective and the distance of outputs; or in the null space of
    each dense layer's inputs."""
    num_steps: Count = 200
    """Steps."""
    step_size: Positive = 0.01
    """Length of each."""
    damping: NonNegative = 1e-4
    """Damping of the metric, in mean eigenvalues of J J^T, at least what rounding demands; where outputs would move
    faster than its root, the path rests (exact, and retraction)."""
    penalty: NonNegative = 0.1
    """Weight of the objective beside the mean distance of outputs (penalty)."""
    retract: bool = False
    """After each step take back, to first order, by how much replay outputs have moved."""
    anneal_share: Share = 0.0
    """Last share of the steps in which their length falls to zero."""
    metric: Literal["output", "fisher"] = "output"
    """What counts as a change: of outputs, or of the probabilities of logits (exact, and retraction)."""
    solver: Literal["dense", "cg"] = "dense"
    """Form the Jacobian on all replay inputs, or solve by conjugate gradients without it (exact, and retraction)."""

    @property
    def is_solved(self) -> bool:
        """Whether steps solve with the metric: the exact driver's, and retractions, of which layers need none."""
        return self.driver == "exact" or (self.driver == "penalty" and self.retract)

    def unused(self) -> frozenset[str]:
        """Return the settings of other drivers."""
        idle = {
            "damping": not self.is_solved,
            "solver": not self.is_solved,
            "penalty": self.driver != "penalty",
            "retract": self.driver == "layer",
        }
        return frozenset(name for name, is_idle in idle.items() if is_idle)


class Replay(NamedTuple):
    """Inputs on which outputs stay.

    Attributes
    ----------
    inputs : [rows, ...], arrays or a tree of them.
    outputs : [rows, outputs] of the network where the path starts, computed once.
    """

    inputs: Any
    outputs: Array


class PathState(NamedTuple):
    """A path under way.

    Attributes
    ----------
    position : where it is.
    step : int [] steps done, those at rest too.
    length : [] sum of the lengths of its steps.
    metric_length : [] sum of the metric lengths of its steps, retractions left out.
    failed_step : int [] first step that led to a number that is not finite, or -1; the path rests where that began.
    start : where it began, whose inputs of layers stay (layer); None of other drivers.
    """

    position: Position
    step: Array
    length: Array
    metric_length: Array
    failed_step: Array
    start: Position | None


class Steps(NamedTuple):
    """What steps tell, leaves [step]; NaN after one that failed.

    Attributes
    ----------
    objective : where the step begins, on that step's batch.
    drift_mean, drift_max : |f - f0| over replay rows and outputs, after the step.
    distance : mean over replay rows of the Bhattacharyya distance (classification) or squared distance to the outputs
        of the start, after the step.
    step_length : how far the position moved, retraction included; 0 at rest.
    metric_length : root of ``d^T g d``, g summed over replay rows, to first order.
    freedom : share of the objective's gradient that the metric leaves, from 0 to 1; 0 where nothing of it is left, or
        the gradient is zero, and the path rests. Of ``"penalty"`` the cosine between the step and minus that gradient.
    """

    objective: Array
    drift_mean: Array
    drift_max: Array
    distance: Array
    step_length: Array
    metric_length: Array
    freedom: Array


class Walker(NamedTuple):
    """A walk as pure functions; map it over paths with ``jax.vmap`` or ``devices.map_leading``.

    Attributes
    ----------
    init : (position) -> PathState.
    advance : (key, state, replay, data, num_steps) -> (PathState, Steps); ``num_steps`` is static. ``data`` is what the
        objective takes. A path may be walked in chunks, to the same bits.
    """

    init: Callable[[Position], PathState]
    advance: Callable[[Key, PathState, Replay, Any, int], tuple[PathState, Steps]]


def check_replay(
    num_rows: int, num_outputs: int, num_parameters: int, config: PathConfig, limit_bytes: float = LARGEST_BYTES
) -> None:
    """Refuse replay inputs whose Jacobian cannot be held.

    Parameters
    ----------
    num_rows, num_outputs, num_parameters : replay inputs, outputs of each, and trainable entries.
    config : how the path is walked; nothing is refused where no Jacobian is formed.
    limit_bytes : what there is, as of :func:`asymjax.lab.memory.limit_bytes`.

    Raises
    ------
    InputError
        If the Jacobian in float32, held twice, and two matrices of as many rows and columns take more than there is.
    """
    if not config.is_solved or config.solver != "dense":
        return
    num_changes = num_rows * num_outputs
    needed = 8 * num_changes * (num_parameters + num_changes)
    if needed > limit_bytes:
        most = math.sqrt(num_parameters**2 / 4 + limit_bytes / 8) - num_parameters / 2
        raise InputError(
            f"the Jacobian of {num_rows:,} replay inputs x {num_outputs} outputs in {num_parameters:,} parameters "
            f"takes {needed / 1e9:,.1f} GB, and there are {limit_bytes / 1e9:,.1f} GB; give at most "
            f"{int(most / num_outputs):,} replay inputs, solver cg, or the driver penalty"
        )


def make_walker(
    outputs_of: OutputsOf,
    objective: Objective,
    config: PathConfig,
    task: str,
    layer_inputs: LayerInputs | None = None,
) -> Walker:
    """Build the walk of one path.

    Parameters
    ----------
    outputs_of : the network; nothing random, and no running averages.
    objective : what falls, see :mod:`asymjax.paths.objectives`.
    config : how.
    task : ``"classification"``, outputs are logits; or ``"regression"``.
    layer_inputs : for the driver ``"layer"``, which moves kernels and biases of dense layers and nothing else.

    Raises
    ------
    InputError
        If the Fisher metric is asked for outputs that are no logits, or the inputs of layers are missing; in
        ``advance`` also if replay inputs are a graph, or a layer's kernel is no leaf [features, units] of the
        position. Whether there is memory for a Jacobian is asked by :func:`check_replay`.
    """
    if config.metric == "fisher" and task != "classification":
        raise InputError(f"metric is 'fisher', which is of logits, but the task is {task}; give metric 'output'")
    if config.driver == "layer" and layer_inputs is None:
        raise InputError("driver is 'layer', but no inputs of layers are given; give layer_inputs, or another driver")
    distance = DISTANCES[task]

    def move(key: Key, state: PathState, replay: Replay, data: Any, bases: Bases) -> tuple[Position, Steps]:
        value, slope = jax.value_and_grad(objective, argnums=1)(key, state.position, data)
        space = _space_at(key, outputs_of, state.position, replay, config)
        if config.driver == "exact":
            way = _null_way(space, slope)
        elif config.driver == "penalty":
            far = jax.grad(lambda position: _mean(distance(outputs_of(position, replay.inputs), replay.outputs)))
            way = _penalised_way(far(state.position), slope, config.penalty)
        else:
            way = _layer_way(bases, slope)
        size = jnp.where(way.is_free, _annealed(config, state.step), 0.0)
        change = jax.tree.map(lambda leaf: -_over(size, trees.norm(way.direction)) * leaf, way.direction)
        metric_length = jnp.linalg.norm(space.push(change))
        if config.retract and config.is_solved:
            back = _retraction(key, outputs_of, jax.tree.map(jnp.add, state.position, change), replay, config)
            change = jax.tree.map(lambda step, back: jnp.where(way.is_free, step - back, 0.0), change, back)
        position = jax.tree.map(jnp.add, state.position, change)
        outputs = outputs_of(position, replay.inputs)
        drift, far_now = jnp.abs(outputs - replay.outputs), _mean(distance(outputs, replay.outputs))
        told = (value, _mean(drift), jnp.max(drift, initial=0.0), far_now, trees.norm(change), metric_length)
        return position, Steps(*told, jnp.where(way.is_free, way.freedom, 0.0))

    def advance(key: Key, state: PathState, replay: Replay, data: Any, num_steps: int) -> tuple[PathState, Steps]:
        refuse_graphs(replay.inputs)
        seen = layer_inputs(state.start, replay.inputs) if layer_inputs and state.start is not None else {}
        bases = input_bases(seen, state.position)

        def one(state: PathState, _: None) -> tuple[PathState, Steps]:
            return _guarded(state, *move(jax.random.fold_in(key, state.step), state, replay, data, bases))

        return lax.scan(one, state, None, length=num_steps)

    return Walker(partial(_begin, keeps_start=config.driver == "layer"), advance)


def _begin(position: Position, keeps_start: bool) -> PathState:
    none = jnp.zeros((), jax.tree.leaves(position)[0].dtype)
    return PathState(position, jnp.array(0), none, none, jnp.array(-1), position if keeps_start else None)


def _guarded(state: PathState, position: Position, told: Steps) -> tuple[PathState, Steps]:
    """Return the state after a step; as it was, where that is not finite or an earlier one was not."""
    walks = state.failed_step < 0
    goes_on = walks & trees.all_finite((position, told))
    position, length, metric_length = jax.tree.map(
        lambda new, old: jnp.where(goes_on, new, old),
        (position, state.length + told.step_length, state.metric_length + told.metric_length),
        (state.position, state.length, state.metric_length),
    )
    failed = jnp.where(walks & ~goes_on, state.step, state.failed_step)
    told = jax.tree.map(lambda leaf: jnp.where(walks, leaf, jnp.nan), told)
    return PathState(position, state.step + 1, length, metric_length, failed, state.start), told


def _annealed(config: PathConfig, step: Array) -> Array:
    """Return the length of a step []."""
    left = (config.num_steps - step) / max(1.0, config.anneal_share * config.num_steps)
    return config.step_size * jnp.clip(left, 0.0, 1.0)


# The metric ---------------------------------------------------------------------------------------------------------


class _Space(NamedTuple):
    """The Jacobian J at a position, and what is solved with it.

    Attributes
    ----------
    push : (tree like the position) -> J v [changes].
    pull : ([changes]) -> J^T u, a tree.
    solve : ([changes]) -> (J J^T + mu I)^-1 u.
    damping : [] mu.
    """

    push: Callable[[PyTree], Array]
    pull: Callable[[Array], PyTree]
    solve: Callable[[Array], Array]
    damping: Array


def _space_at(key: Key, outputs_of: OutputsOf, position: Position, replay: Replay, config: PathConfig) -> _Space:
    if config.is_solved and config.solver == "dense":
        return _dense_space(outputs_of, position, replay.inputs, config)
    return _sparse_space(key, outputs_of, position, replay, config)


def _damping(trace: Array, num_changes: int, config: PathConfig) -> Array:
    """Return mu, above what rounding makes of eigenvalues that are zero, so that the matrix stays definite."""
    least = LEAST_DAMPING * float(jnp.finfo(trace.dtype).eps)
    return jnp.where(trace > 0, trace, 1.0) * jnp.maximum(config.damping / max(1, num_changes), least)


def _dense_space(outputs_of: OutputsOf, position: Position, inputs: Any, config: PathConfig) -> _Space:
    matrix = jacobian(outputs_of, position, inputs, config.metric)
    _, unravel = ravel_pytree(position)
    times = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    products = times(matrix, matrix.T)
    damping = _damping(jnp.trace(products), len(matrix), config)
    factor = cho_factor(products + damping * jnp.eye(len(matrix), dtype=matrix.dtype), lower=True)
    return _Space(
        lambda tree: times(matrix, ravel_pytree(tree)[0]),
        lambda changes: unravel(times(changes, matrix)),
        lambda changes: cho_solve(factor, changes),
        damping,
    )


def _sparse_space(key: Key, outputs_of: OutputsOf, position: Position, replay: Replay, config: PathConfig) -> _Space:
    products, shape = make_products(outputs_of, position, replay.inputs, config.metric), replay.outputs.shape

    def push(tree: PyTree) -> Array:
        return products.push(tree).ravel()

    def pull(changes: Array) -> PyTree:
        return products.pull(changes.reshape(shape))

    def square(key: Key) -> Array:
        signs = jax.random.rademacher(key, (replay.outputs.size,), replay.outputs.dtype)
        return jnp.square(trees.norm(pull(signs)))

    # The mean of |J^T z|^2 over signs z is the trace of J J^T (Hutchinson 1990).
    probes = lax.map(square, rng.member_keys(rng.named_key(key, "trace"), NUM_PROBES))
    damping = _damping(jnp.mean(probes), replay.outputs.size, config)
    tolerance = float(jnp.finfo(replay.outputs.dtype).eps) ** 0.75

    def solve(changes: Array) -> Array:
        return cg(lambda u: push(pull(u)) + damping * u, changes, tol=tolerance, maxiter=CG_STEPS)[0]

    return _Space(push, pull, solve, damping)


def _retraction(key: Key, outputs_of: OutputsOf, position: Position, replay: Replay, config: PathConfig) -> PyTree:
    """Return by what a position is taken back: J^T (K + mu I)^-1 of how far its outputs have moved."""
    space = _space_at(key, outputs_of, position, replay, config)
    outputs = outputs_of(position, replay.inputs)
    # The identity has the metric of its outputs: what counts as a change of logits.
    weigh = make_products(lambda logits, _: logits["logits"], {"logits": outputs}, None, config.metric).push
    return space.pull(space.solve(weigh({"logits": outputs - replay.outputs}).ravel()))


# Ways -------------------------------------------------------------------------------------------------------------


class _Way(NamedTuple):
    """Where a step goes.

    Attributes
    ----------
    direction : tree like the position, up the objective; of any length.
    freedom : [] as of :class:`Steps`.
    is_free : bool [] whether there is a way at all; True where something is not a number, for the step to find out.
    """

    direction: PyTree
    freedom: Array
    is_free: Array


def _null_way(space: _Space, slope: PyTree) -> _Way:
    """Return mu (g + mu I)^-1 v.

    It is no way where it moves outputs faster than the root of the damping: then nothing is left of v but what damping
    lets through.
    """
    direction = jax.tree.map(jnp.subtract, slope, space.pull(space.solve(space.push(slope))))
    length, moved = trees.norm(direction), jnp.linalg.norm(space.push(direction))
    is_stuck = (length == 0) | (moved > jnp.sqrt(space.damping) * length)
    return _Way(direction, _over(length, trees.norm(slope)), ~is_stuck)


def _penalised_way(far: PyTree, slope: PyTree, penalty: float) -> _Way:
    """Return the gradient of the distance of outputs and so many times v, as the authors' programs do."""
    direction = jax.tree.map(lambda one, two: one + penalty * two, far, slope)
    length, steepness = trees.norm(direction), trees.norm(slope)
    along = _over(_over(optax.tree.vdot(direction, slope), length), steepness)
    # Without v what is left is the rounding of a gradient that is zero where the path starts.
    return _Way(direction, along, ~((length == 0) | (steepness == 0)))


Bases = dict[str, Array]


def input_bases(layer_inputs: dict[str, Array], position: Position) -> Bases:
    """Return orthonormal vectors that span the inputs of each dense layer; directions beside them change none of them.

    Parameters
    ----------
    layer_inputs : path of a kernel -> [rows, ..., features].
    position : has that kernel, and maybe a bias, which counts as the weight of an input of one.

    Returns
    -------
    Path of a kernel -> [vectors, features], with one feature more for a bias; zeros beyond the rank of the inputs.

    Raises
    ------
    InputError
        If a kernel is no leaf [features, units] of the position, as where a method fixes single entries.
    """
    named, bases = trees.flatten(position), {}
    for path, inputs in layer_inputs.items():
        rows = inputs.reshape(-1, inputs.shape[-1])
        if path not in named or named[path].shape[:-1] != rows.shape[1:]:
            raise InputError(
                f"the kernel {path} takes {rows.shape[1]} features, but the position has no such leaf [features, "
                "units]; give a network whose kernels are trained as a whole, or the driver exact"
            )
        if _bias(path) in named:
            rows = jnp.concatenate([rows, jnp.ones((len(rows), 1), rows.dtype)], axis=1)
        _, values, vectors = jnp.linalg.svd(rows, full_matrices=False)
        least = jnp.max(values, initial=0.0) * max(rows.shape) * jnp.finfo(rows.dtype).eps
        bases[path] = jnp.where((values > least)[:, None], vectors, 0.0)
    return bases


def _bias(path: str) -> str:
    return "/".join([*path.split("/")[:-1], "bias"])


def _layer_way(bases: Bases, slope: PyTree) -> _Way:
    """Return v projected beside the inputs of each dense layer; zero of all other leaves.

    Wu et al. 2025, "Null-space teleportation", arXiv 2502.11362.
    """
    named = trees.flatten(slope)
    direction = {path: jnp.zeros_like(leaf) for path, leaf in named.items()}
    for path, basis in bases.items():
        has_bias = _bias(path) in named
        whole = jnp.concatenate([named[path], named[_bias(path)][None]]) if has_bias else named[path]
        whole = whole - basis.T @ (basis @ whole)
        direction |= {path: whole[:-1], _bias(path): whole[-1]} if has_bias else {path: whole}
    share = _over(trees.norm(direction), trees.norm(named))
    is_stuck = share <= ROUNDING * float(jnp.finfo(share.dtype).eps)
    return _Way(trees.unflatten(direction), share, ~is_stuck)


def _over(values: Array, divisor: Array) -> Array:
    return values / jnp.where(divisor > 0, divisor, 1)


def _mean(values: Array) -> Array:
    return jnp.sum(values) / max(1, values.size)
