"""Walks in weight space on which outputs on replay inputs stay, while an objective falls.

Functionally invariant paths (Raghavan and Thomson 2022, arXiv 2205.00334). Each step solves: least ``d^T g d / 2 + d^T
v`` at a given length, where v is the gradient of the objective and g the metric of the outputs on replay inputs. Its
direction is ``-(g + mu I)^-1 v`` for some damping mu: without damping, v projected on the null space of g; with much
of it, gradient descent. No matrix of all parameters is formed: with J the Jacobian and ``K = J J^T`` that direction is
``-(v - J^T (K + mu I)^-1 J v) / mu`` (Woodbury).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.paths.metric import (
    Metric,
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
    """Damping of the metric, in mean eigenvalues of J J^T; where outputs would move faster than its root, the path
    rests (exact, and retraction)."""
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

    def unused(self) -> frozenset[str]:
        """Return the settings of other drivers."""
        solves = self.driver == "exact" or self.retract
        return frozenset() if solves else frozenset({"damping", "solver"})


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
    """

    position: Position
    step: Array
    length: Array
    metric_length: Array
    failed_step: Array


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
    freedom : share of the objective's gradient that the metric leaves, from 0 to 1; 0 where nothing of it is left, and
        the path rests. Of ``"penalty"`` the cosine between the step and minus that gradient.
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
        objective takes. A path may be walked in chunks.
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
    limit_bytes : what there is.

    Raises
    ------
    InputError
        If the Jacobian in float32, held twice, and two matrices of as many rows and columns take more than there is.
    """
    if config.solver != "dense" or not (config.driver == "exact" or config.retract):
        return
    num_changes = num_rows * num_outputs
    needed = 4 * (2 * num_changes * num_parameters + 2 * num_changes**2)
    if needed > limit_bytes:
        most = int(limit_bytes / (8 * num_outputs * num_parameters))
        raise InputError(
            f"the Jacobian of {num_rows:,} replay inputs x {num_outputs} outputs in {num_parameters:,} parameters takes "
            f"{needed / 1e9:,.1f} GB, and there are {limit_bytes / 1e9:,.1f} GB; give at most {most:,} replay inputs, "
            "solver cg, or the driver penalty"
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
    layer_inputs : for the driver ``"layer"``.

    Raises
    ------
    InputError
        If the Fisher metric is asked for outputs that are no logits, or the inputs of layers are missing; in
        ``advance`` also as of :func:`check_replay`, and if replay inputs are a graph.
    """
    if config.metric == "fisher" and task != "classification":
        raise InputError(f"metric is 'fisher', which is of logits, but the task is {task}; give metric 'output'")
    if config.driver != "exact":
        raise NotImplementedError(config.driver)
    solves = config.driver == "exact" or config.retract
    distance = DISTANCES[task]

    def init(position: Position) -> PathState:
        none = jnp.zeros((), jax.tree.leaves(position)[0].dtype)
        return PathState(position, jnp.array(0), none, none, jnp.array(-1))

    def space_at(key: Key, position: Position, replay: Replay) -> _Space:
        if solves and config.solver == "dense":
            return _dense_space(outputs_of, position, replay.inputs, config)
        return _sparse_space(key, outputs_of, position, replay, config)

    def retracted(key: Key, position: Position, replay: Replay) -> tuple[Position, PyTree]:
        """Return where a position is taken back to, and by what: J^T (K + mu I)^-1 of how far outputs have moved."""
        space = space_at(key, position, replay)
        outputs = outputs_of(position, replay.inputs)
        # Of logits that count as probabilities, what changes those.
        moved = make_products(lambda outputs, _: outputs, outputs, None, config.metric).push(outputs - replay.outputs)
        back = space.pull(space.solve(moved.ravel()))
        return jax.tree.map(jnp.subtract, position, back), back

    def move(key: Key, state: PathState, replay: Replay, data: Any) -> tuple[Position, Steps]:
        value, slope = jax.value_and_grad(objective, argnums=1)(key, state.position, data)
        space = space_at(key, state.position, replay)
        direction, freedom, is_free = _null_direction(space, slope)
        size = jnp.where(is_free, _annealed(config, state.step), 0.0)
        change = jax.tree.map(lambda leaf: -_over(size, trees.norm(direction)) * leaf, direction)
        position = jax.tree.map(jnp.add, state.position, change)
        metric_length = jnp.linalg.norm(space.push(change))
        if config.retract:
            position, back = retracted(key, position, replay)
            position = jax.tree.map(lambda new, old: jnp.where(is_free, new, old), position, state.position)
            change = jax.tree.map(lambda step, back: jnp.where(is_free, step - back, 0.0), change, back)
        outputs = outputs_of(position, replay.inputs)
        drift = jnp.abs(outputs - replay.outputs)
        far = _mean(distance(outputs, replay.outputs))
        told = (value, _mean(drift), jnp.max(drift, initial=0.0), far, trees.norm(change), metric_length)
        return position, Steps(*told, jnp.where(is_free, freedom, 0.0))

    def advance(key: Key, state: PathState, replay: Replay, data: Any, num_steps: int) -> tuple[PathState, Steps]:
        refuse_graphs(replay.inputs)
        check_replay(*replay.outputs.shape, trees.num_entries(state.position), config)

        def one(state: PathState, _: None) -> tuple[PathState, Steps]:
            return _guarded(state, *move(jax.random.fold_in(key, state.step), state, replay, data))

        return lax.scan(one, state, None, length=num_steps)

    return Walker(init, advance)


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
    return PathState(position, state.step + 1, length, metric_length, failed), told


def _annealed(config: PathConfig, step: Array) -> Array:
    """Return the length of a step []."""
    left = (config.num_steps - step) / max(1.0, config.anneal_share * config.num_steps)
    return config.step_size * jnp.clip(left, 0.0, 1.0)


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


def _damping(trace: Array, num_changes: int, config: PathConfig) -> Array:
    """Return mu, no less than what rounding makes of eigenvalues that are zero."""
    return trace * max(config.damping / max(1, num_changes), float(jnp.finfo(trace.dtype).eps))


def _dense_space(outputs_of: OutputsOf, position: Position, inputs: Any, config: PathConfig) -> _Space:
    matrix = jacobian(outputs_of, position, inputs, config.metric)
    _, unravel = ravel_pytree(position)
    products = matrix @ matrix.T
    damping = _damping(jnp.trace(products), len(matrix), config)
    # By eigenvalues, where a factorisation fails on a singular matrix.
    values, vectors = jnp.linalg.eigh(products)
    scale = jnp.maximum(values, 0) + damping

    def solve(changes: Array) -> Array:
        return vectors @ (_over(vectors.T @ changes, scale))

    return _Space(lambda tree: matrix @ ravel_pytree(tree)[0], lambda u: unravel(u @ matrix), solve, damping)


def _sparse_space(key: Key, outputs_of: OutputsOf, position: Position, replay: Replay, config: PathConfig) -> _Space:
    products, shape = make_products(outputs_of, position, replay.inputs, config.metric), replay.outputs.shape

    def push(tree: PyTree) -> Array:
        return products.push(tree).ravel()

    def pull(changes: Array) -> PyTree:
        return products.pull(changes.reshape(shape))

    def square(key: Key) -> Array:
        signs = jax.random.rademacher(key, (replay.outputs.size,), replay.outputs.dtype)
        return jnp.square(trees.norm(pull(signs)))

    probes = lax.map(square, rng.member_keys(rng.named_key(key, "trace"), NUM_PROBES))
    damping = _damping(jnp.mean(probes), replay.outputs.size, config)
    tolerance = float(jnp.finfo(replay.outputs.dtype).eps) ** 0.75

    def solve(changes: Array) -> Array:
        return cg(lambda u: push(pull(u)) + damping * u, changes, tol=tolerance, maxiter=CG_STEPS)[0]

    return _Space(push, pull, solve, damping)


def _null_direction(space: _Space, slope: PyTree) -> tuple[PyTree, Array, Array]:
    """Return mu (g + mu I)^-1 v, its share of v, and whether it is a direction in which outputs stay.

    It is none where it moves outputs faster than the root of the damping: then nothing is left of v but what damping
    lets through.
    """
    direction = jax.tree.map(jnp.subtract, slope, space.pull(space.solve(space.push(slope))))
    length = trees.norm(direction)
    moved = jnp.linalg.norm(space.push(direction))
    # Where something is not a number the step is taken, and found out.
    is_free = ~(length == 0) & ~(moved > jnp.sqrt(space.damping) * length)
    return direction, _over(length, trees.norm(slope)), is_free


def _over(values: Array, divisor: Array) -> Array:
    return values / jnp.where(divisor > 0, divisor, 1)


def _mean(values: Array) -> Array:
    return jnp.sum(values) / max(1, values.size)
