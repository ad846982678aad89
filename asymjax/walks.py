"""Invariant paths in memory: a walk of one network on which its outputs on some inputs stay."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import rng, trees
from asymjax.divisors import largest_divisor
from asymjax.errors import DivergedError, InputError
from asymjax.inference.posterior import read_rows
from asymjax.lab import memory
from asymjax.lab.loop import Chunk, compile_ahead, run_phase
from asymjax.lab.recorder import InMemory
from asymjax.models import checked_frozen
from asymjax.paths.invariant import PathConfig, PathState, Replay, Steps, check_replay, make_walker
from asymjax.paths.objectives import Objective
from asymjax.types import Array, Frozen, Key, Model, Position


class Walked(NamedTuple):
    """A path, host arrays.

    Attributes
    ----------
    positions : trainable leaves [point, ...], where it starts first.
    num_steps : int [point] steps done there, from 0.
    told : what each step told, leaves [step].
    """

    positions: Position
    num_steps: np.ndarray
    told: Steps


def walk(
    key: Key,
    model: Model,
    position: Position,
    data: Any,
    objective: Objective,
    objective_data: Any = None,
    *,
    config: PathConfig | None = None,
    num_points: int = 20,
    frozen: Frozen | None = None,
    show_progress: bool = True,
) -> Walked:
    """Walk a network while its outputs on the inputs of some rows stay and an objective falls.

    Functionally invariant paths (Raghavan and Thomson 2022, arXiv 2205.00334), by steps in the null space of the metric
    that outputs give to parameters, or by another driver of :class:`~asymjax.paths.invariant.PathConfig`.

    Parameters
    ----------
    key : of what is random in the objective, ``jax.random.key(0)``.
    model : the network.
    position : trainable leaves where the path starts, as one network of :func:`~asymjax.train_sweep` has them.
    data : ``(X, y)``, or what else :func:`~asymjax.make_posterior` takes: the rows on whose inputs outputs stay.
        Targets only say whether outputs are logits.
    objective : what falls, see :mod:`asymjax.paths.objectives`, or any function of (key, position, data) to a number.
    objective_data : what that takes as data.
    config : how the path is walked. Default: 200 exact steps of length 0.01.
    num_points : points that are kept after the start, at least; at equal numbers of steps.
    frozen : constants of the network. Default: those of mask seed 0.
    show_progress : whether to show a bar.

    Raises
    ------
    InputError
        If data are damaged or a graph, the position is of another model, the key or the number of points is none, or
        the Jacobian on all rows does not fit into memory.
    DivergedError
        If a step leaves the finite numbers.

    Examples
    --------
    >>> import jax, numpy as np, asymjax
    >>> from flax import linen as nn
    >>> from asymjax.paths import objectives
    >>> from asymjax.paths.invariant import PathConfig
    >>> model = asymjax.from_flax(nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)]), np.zeros((2, 3), np.float32))
    >>> start, target = (model.init(jax.random.key(seed), {}) for seed in (0, 1))
    >>> X = np.random.default_rng(0).normal(size=(10, 3))
    >>> config = PathConfig(num_steps=20, step_size=0.05, retract=True)
    >>> rows = (X, np.arange(10) % 2)
    >>> options = {"config": config, "num_points": 4, "show_progress": False}
    >>> path = asymjax.walk(jax.random.key(0), model, start, rows, objectives.reach(), target, **options)
    >>> path.num_steps.tolist()
    [0, 5, 10, 15, 20]
    >>> bool(path.told.objective[-1] < path.told.objective[0]), bool(path.told.drift_max.max() < 0.01)
    (True, True)
    """
    frozen, key = checked_frozen(model, frozen), rng.checked_key(key)
    rows, kind, _ = read_rows(model, data)
    position, config = _checked_position(model, position, frozen), config or PathConfig()
    if not 1 <= num_points <= config.num_steps:
        raise InputError(f"num_points is {num_points}; give a whole number from 1 to {config.num_steps}, the steps")

    def outputs_of(position: Position, inputs: Any) -> Array:
        return model.apply(position, frozen, inputs)

    def layer_inputs(position: Position, inputs: Any) -> dict[str, Array]:
        return model.layer_inputs(model.merge(position, frozen), frozen, inputs)

    walker = make_walker(outputs_of, objective, config, kind.task, layer_inputs)
    replay = Replay(rows.inputs, jax.jit(outputs_of)(position, rows.inputs))
    num_rows, num_outputs = replay.outputs.shape
    limit = {"limit_bytes": found} if (found := memory.limit_bytes()) else {}
    check_replay(num_rows, num_outputs, trees.num_entries(position), config, **limit)
    per_point = largest_divisor(config.num_steps, config.num_steps // num_points)

    def advance(key: Key, state: PathState, replay: Replay, data: Any) -> tuple[PathState, Steps]:
        return walker.advance(key, state, replay, data, per_point)

    given = (key, walker.init(position), replay, objective_data)
    states, told = _walk_in_chunks(InMemory(show_progress), advance, given, config.num_steps // per_point)
    positions = jax.tree.map(lambda *leaves: np.stack(leaves), *(state.position for state in states))
    return Walked(positions, np.array([int(state.step) for state in states]), told)


def _walk_in_chunks(run: InMemory, advance: Any, given: tuple, num_chunks: int) -> tuple[list[PathState], Steps]:
    """Return the state before each chunk and after the last, and what all steps told."""
    key, start, replay, data = jax.tree.map(jnp.asarray, given)
    compiled = compile_ahead(run, advance, key, start, replay, data)
    states, told = [trees.to_host(start)], []

    def chunk(index: int, state: PathState) -> Chunk:
        state, new = compiled(key, state, replay, data)
        states.append(trees.to_host(state))
        told.append(trees.to_host(new))
        if state.failed_step >= 0:
            raise DivergedError(
                f"step {int(state.failed_step)} of the path left the finite numbers; give shorter steps, or check the "
                "objective where the path was"
            )
        return Chunk(state, note=f"objective {told[-1].objective[-1]:.4g}")

    num_steps = len(jax.eval_shape(advance, key, start, replay, data)[1].objective) * num_chunks
    run_phase(run, "walk", num_chunks, lambda: start, chunk, start, (num_steps, "steps"))
    return states, jax.tree.map(lambda *leaves: np.concatenate(leaves), *told)


def _checked_position(model: Model, position: Position, frozen: Frozen) -> Position:
    """Return the trainable leaves of one network, arrays.

    Raises
    ------
    InputError
        If they are of another model, or of several networks.
    """
    wanted = {path: leaf.shape for path, leaf in trees.flatten(_shapes(model, frozen)).items()}
    given = {path: np.shape(leaf) for path, leaf in trees.flatten(position).items()}
    if given != wanted:
        raise InputError(f"position has leaves {given}; give those of one network of the model, {wanted}")
    return jax.tree.map(jnp.asarray, position)


def _shapes(model: Model, frozen: Frozen) -> Position:
    return jax.eval_shape(model.init, jax.random.key(0), frozen)
