"""Iterative pruning and twins, in resumable chunks: networks side by side, and one compiled program for all rounds."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import rng, trees
from asymjax.divisors import largest_divisor
from asymjax.errors import DivergedError
from asymjax.lab import devices, processes
from asymjax.lab.loop import Chunk, compile_ahead, run_phase
from asymjax.lab.measure import measure_members
from asymjax.lab.run_config import RunConfig
from asymjax.lab.sweep import REMEDY
from asymjax.sparse.masks import Mask
from asymjax.sparse.tickets import Ticket, rewound, ticket_member
from asymjax.train.trainer import Trainer, TrainState
from asymjax.types import Array, Frozen, Key, Position, PyTree, Split

Choose = Callable[[Position, Mask, Array], Mask]
"""(trained position, mask before, entries left []) -> mask of the next round, of one network."""


class Rounds(NamedTuple):
    """What iterative pruning leaves, NumPy leaves.

    Attributes
    ----------
    kept : masks [round + 1, network, ...]; the first keeps all.
    position : trained networks [round, network, ...], each with the mask of its round.
    failed : int [network] the first round in which a network's loss was not finite, or -1; its masks are none from then
        on.
    """

    kept: Mask
    position: Position
    failed: np.ndarray


def run_rounds(
    run: Any,
    phase: str,
    trainer: Trainer,
    keys: Key,
    starts: TrainState,
    frozen: Frozen,
    data: Split,
    counts: list[int],
    choose: Choose,
    num_epochs: int,
    epochs_per_chunk: int,
    run_config: RunConfig,
) -> Rounds:
    """Train, prune and rewind, round after round; resumes what the run directory holds.

    Parameters
    ----------
    run, phase : where chunks are committed.
    trainer : of tickets, see :func:`~asymjax.sparse.tickets.make_ticket_trainer`.
    keys : [network] of the order of rows, the same in every round.
    starts : states at the step that is rewound to, leaves [network, ...].
    frozen : constants of all networks.
    data : rows that they are trained on.
    counts : entries that are left after 0, 1, ... rounds.
    choose : what is kept.
    num_epochs : passes over the rows in a round.
    epochs_per_chunk : upper bound on the passes in one compiled chunk.
    run_config : where work runs.

    Raises
    ------
    DivergedError
        If every loss leaves the finite numbers.
    """
    num_networks, num_rounds = len(keys), len(counts) - 1
    placement = devices.place(num_networks, run_config.num_devices, run_config.placement)
    epochs = largest_divisor(num_epochs, run.settle(f"{phase}_epochs_per_chunk", epochs_per_chunk))
    put = partial(devices.put, placement=placement, is_mapped=True)
    frozen, data = devices.put((frozen, jax.tree.map(jnp.asarray, data)), placement, is_mapped=False)
    whole = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), starts.position)
    begin = jax.jit(jax.vmap(rewound))
    advance = devices.map_leading(
        lambda member, state, frozen, data: trainer.advance(member, state, frozen, data, epochs),
        placement,
        [True, True, False, False],
    )
    examples = put((ticket_member(keys, whole), trees.to_host(begin(Ticket(starts, whole)))))
    compiled = compile_ahead(run, advance, *examples, frozen, data, phase=phase)
    pick = jax.jit(jax.vmap(choose, (0, 0, None)))

    def init() -> PyTree:
        masks = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (num_rounds + 1, *leaf.shape)), whole)
        trained = jax.tree.map(lambda leaf: np.zeros((num_rounds, *leaf.shape), leaf.dtype), starts.position)
        state = trees.to_host(begin(Ticket(starts, whole)))
        return {"state": state, "kept": masks, "trained": trained, "failed": np.full(num_networks, -1)}

    def chunk(index: int, old: PyTree) -> Chunk:
        number, within = divmod(index, num_epochs // epochs)
        kept = jax.tree.map(lambda leaf: np.asarray(leaf[number]), old["kept"])
        state, losses = compiled(*put((ticket_member(keys, kept), old["state"])), frozen, data)
        state, losses = processes.gather((state, losses))
        note = f"round {number}, {counts[number] / counts[0]:.1%} left, loss {np.mean(losses[:, -1]):.4f}"
        metrics = {"round": number, "epoch": (within + 1) * epochs, "loss": losses[:, -1]}
        if within + 1 < num_epochs // epochs:
            return Chunk({**old, "state": state}, metrics=metrics, note=note)
        failed = np.where((old["failed"] < 0) & (state.failed_step >= 0), number, old["failed"])
        if (failed >= 0).all():
            raise DivergedError(f"{phase}: every network diverged, seed by seed in rounds {failed}; {REMEDY}")
        chosen = trees.to_host(pick(state.position, kept, counts[number + 1]))
        new = {
            "state": trees.to_host(begin(Ticket(starts, chosen))),
            "kept": _with(old["kept"], number + 1, chosen),
            "trained": _with(old["trained"], number, state.position),
            "failed": failed,
        }
        return Chunk(new, metrics=metrics, note=note)

    num_chunks = num_rounds * (num_epochs // epochs)
    final = run_phase(run, phase, num_chunks, init, chunk, init(), (num_rounds, "rounds"))
    return Rounds(final["kept"], final["trained"], final["failed"])


def _with(stacked: PyTree, index: int, values: PyTree) -> PyTree:
    def one(array: Any, new: Any) -> np.ndarray:
        changed = np.array(array)
        changed[index] = new
        return changed

    return jax.tree.map(one, stacked, values)


def run_starts(
    run: Any,
    phase: str,
    trainer: Trainer,
    init_keys: Key,
    keys: Key,
    frozen: Frozen,
    data: Split,
    num_steps: int,
    run_config: RunConfig,
) -> TrainState:
    """Return the states of dense networks after their first steps, NumPy leaves [network, ...].

    Parameters
    ----------
    run, phase : where chunks are committed.
    trainer : of the plain model.
    init_keys, keys : [network] of the initial positions, and of the order of rows.
    frozen, data, run_config : see :func:`run_rounds`.
    num_steps : steps, from 0.
    """

    def begin(init_key: Key, key: Key, frozen: Frozen, data: Split) -> TrainState:
        return trainer.begin(key, trainer.init(init_key, frozen), frozen, data, num_steps)

    def members(index: np.ndarray) -> list[Key]:
        return [init_keys[index], keys[index]]

    shared = (frozen, jax.tree.map(jnp.asarray, data))
    return measure_members(run, phase, begin, members, shared, len(keys), 1, "networks", run_config)


def twin_keys(keys: Key, num_twins: int) -> Key:
    """Return the keys of twins, [network, twin]: trainings that differ in the order of rows alone."""
    return jax.vmap(lambda key: rng.member_keys(rng.named_key(key, "twin"), num_twins))(keys)
