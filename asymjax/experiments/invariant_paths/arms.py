"""Arms of a study: the ways on which trained networks are walked on, and the walk itself, in resumable chunks."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from asymjax import trees
from asymjax.divisors import largest_divisor
from asymjax.errors import InputError
from asymjax.experiments.invariant_paths.config import Config
from asymjax.lab import devices, processes
from asymjax.lab.loop import Chunk, compile_ahead, run_phase
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import RunDir
from asymjax.paths.descent import make_descent
from asymjax.paths.invariant import PathConfig, Replay, make_walker
from asymjax.paths.objectives import Objective
from asymjax.types import Array, Frozen, Key, Model, Position, PyTree

Steps = dict[str, Array]
"""What each step tells, by name, [step]."""


class Way(NamedTuple):
    """How one network is walked, whatever drives it.

    Attributes
    ----------
    init : (position) -> state, with ``position`` and ``failed_step``.
    advance : (key, state, replay, data, num_steps) -> (state, Steps); ``num_steps`` is static.
    """

    init: Callable[[Position], Any]
    advance: Callable[[Key, Any, Replay, Any, int], tuple[Any, Steps]]


class Arm(NamedTuple):
    """Networks that are walked on alike.

    Attributes
    ----------
    make : (frozen) -> Way.
    starts : where each begins, leaves [member, ...].
    own, shared : data of the objective that each has of its own, leaves [member, ...], and of all; None for none.
    data : (own, shared) -> what the objective takes.
    project : (position) -> the network that a point stands for, where that is another one; None for itself.
    beside : the arm that it is compared with; None for the paths themselves.
    is_path : whether the function stays on it.
    rows : rows of which the objective takes the gradient in a step; twice where it attacks them first.
    once : row gradients taken before the first step.
    """

    make: Callable[[Frozen], Way]
    starts: Position
    own: PyTree
    shared: PyTree
    data: Callable[[Any, Any], Any]
    project: Callable[[Position], Position] | None = None
    beside: str | None = None
    is_path: bool = False
    rows: int = 0
    once: int = 0


class Walked(NamedTuple):
    """What is left of an arm, NumPy leaves.

    Attributes
    ----------
    points : leaves [member, point + 1, ...], the start first.
    steps : name -> [member, step].
    at : int [point + 1] steps done at each point.
    failed : member -> why it is no network.
    """

    points: Position
    steps: dict[str, np.ndarray]
    at: np.ndarray
    failed: dict[int, str]


def path_way(model: Model, objective: Callable[[Frozen], Objective], config: PathConfig, task: str) -> Callable:
    """Return what makes an invariant path of an objective: (frozen) -> Way."""

    def make(frozen: Frozen) -> Way:
        def layer_inputs(position: Position, inputs: Any) -> dict[str, Array]:
            return model.layer_inputs(model.merge(position, frozen), frozen, inputs)

        def outputs_of(position: Position, inputs: Any) -> Array:
            return model.apply(position, frozen, inputs)

        layers = layer_inputs if config.driver == "layer" else None
        walker = make_walker(outputs_of, objective(frozen), config, task, layers)

        def advance(key: Key, state: Any, replay: Replay, data: Any, num_steps: int) -> tuple[Any, Steps]:
            state, steps = walker.advance(key, state, replay, data, num_steps)
            return state, steps._asdict()

        return Way(walker.init, advance)

    return make


def descent_way(objective: Callable[[Frozen], Objective], optimizer: optax.GradientTransformation) -> Callable:
    """Return what makes the ordinary descent of an objective, which replays nothing: (frozen) -> Way."""

    def make(frozen: Frozen) -> Way:
        descent = make_descent(objective(frozen), optimizer)

        def advance(key: Key, state: Any, replay: Replay, data: Any, num_steps: int) -> tuple[Any, Steps]:
            state, steps = descent.advance(key, state, data, num_steps)
            return state, steps._asdict()

        return Way(descent.init, advance)

    return make


def count_row_gradients(arm: Arm, config: PathConfig, num_replay: int, num_outputs: int) -> dict[str, int | None]:
    """Count the backward passes of single rows that each network of an arm takes.

    Returns
    -------
    ``objective``, for what falls; and ``replay``, for what stays: of the dense solver one for each output on each
    replayed input, in each Jacobian, of the penalty one for each replayed input. None where conjugate gradients take as
    many as they need. Forward passes and solves are not counted, nor is the one factorisation of the layer driver.
    """
    found: dict[str, int | None] = {"objective": arm.once + config.num_steps * arm.rows, "replay": 0}
    if arm.is_path:
        is_retracted = config.retract and config.is_solved
        jacobians = config.is_solved + is_retracted
        a_step = jacobians * num_replay * num_outputs + (config.driver == "penalty") * num_replay
        is_counted = config.solver == "dense" or not config.is_solved
        found["replay"] = config.num_steps * a_step if is_counted else None
    return found


def own_data(own: Any, shared: Any) -> Any:
    """Return the data that each network has of its own."""
    return own


def shared_data(own: Any, shared: Any) -> Any:
    """Return the data of all networks."""
    return shared


def check_points(config: Config) -> None:
    """Refuse a number of steps that does not divide into about as many points as are asked for.

    Raises
    ------
    InputError
        If fewer than half of them would be kept.
    """
    num_steps, wanted = config.path.num_steps, config.study.num_points
    found = largest_divisor(num_steps, wanted)
    if 2 * found < min(num_steps, wanted):
        raise InputError(
            f"num_points is {wanted}, but {num_steps} steps divide into {found} at most; give a number of steps that "
            "is a multiple of it"
        )


def walk(
    run: RunDir,
    phase: str,
    arm: Arm,
    frozen: Frozen,
    replay: Replay,
    keys: Key,
    num_steps: int,
    num_points: int,
    run_config: RunConfig,
) -> Walked:
    """Walk all networks of an arm side by side, a chunk from point to point; resumes what the run directory holds.

    Parameters
    ----------
    run, phase : where chunks are committed.
    arm, frozen : the networks.
    replay : inputs and outputs that stay, leaves [member, ...].
    keys : [member] of the walks.
    num_steps : steps of each.
    num_points : points that are kept at most, beside the start.
    run_config : where work runs.
    """
    count, num_chunks = len(keys), largest_divisor(num_steps, num_points)
    per_chunk = num_steps // num_chunks
    placement = devices.place(count, run_config.num_devices, run_config.placement)
    put = partial(devices.put, placement=placement, is_mapped=True)
    shared = devices.put((frozen, arm.shared), placement, is_mapped=False)

    def chunk_of(key: Key, state: Any, replay: Replay, own: Any, frozen: Frozen, data: Any) -> tuple[Any, Steps]:
        return arm.make(frozen).advance(key, state, replay, arm.data(own, data), per_chunk)

    mapped = devices.map_leading(chunk_of, placement, [True, True, True, True, False, False])
    first = trees.to_host(jax.jit(jax.vmap(arm.make(frozen).init))(arm.starts))
    members = put((keys, replay, arm.own))

    def on_devices(state: Any) -> tuple:
        return members[0], put(state), *members[1:], *shared

    compiled = compile_ahead(run, mapped, *on_devices(first), phase=phase)
    steps = jax.eval_shape(mapped, *on_devices(first))[1]

    def init() -> PyTree:
        points = jax.tree.map(lambda leaf: _begun(leaf, num_chunks + 1), first.position)
        told = {name: np.zeros((count, num_steps), leaf.dtype) for name, leaf in steps.items()}
        return {"state": first, "points": points, "steps": told}

    def chunk(index: int, old: PyTree) -> Chunk:
        state, told = processes.gather(compiled(*on_devices(old["state"])))
        points = jax.tree.map(partial(_with_column, slice(index + 1, index + 2)), old["points"], _column(state))
        place = slice(index * per_chunk, (index + 1) * per_chunk)
        named = {name: _with_column(place, old["steps"][name], values) for name, values in told.items()}
        objective = told["objective"][:, -1]
        metrics = {"step": (index + 1) * per_chunk, "objective": objective}
        note = f"objective {np.mean(objective):.4g}"
        return Chunk({"state": state, "points": points, "steps": named}, metrics=metrics, note=note)

    done = run_phase(run, phase, num_chunks, init, chunk, init(), (num_steps, "steps"))
    failed = np.asarray(done["state"].failed_step)
    why = {member: f"not finite at step {failed[member]}" for member in np.flatnonzero(failed >= 0).tolist()}
    steps = {name: np.asarray(values) for name, values in done["steps"].items()}
    return Walked(trees.to_host(done["points"]), steps, np.arange(num_chunks + 1) * per_chunk, why)


def _begun(leaf: Any, num_points: int) -> np.ndarray:
    """Return room for points of all members [member, point, ...], the first of them there."""
    points = np.zeros((len(leaf), num_points, *leaf.shape[1:]), leaf.dtype)
    points[:, 0] = leaf
    return points


def _column(state: Any) -> Position:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:, None], state.position)


def _with_column(place: slice, array: Any, values: Any) -> np.ndarray:
    changed = np.array(array)
    changed[:, place] = values
    return changed
