"""Iterative pruning and twins, in resumable chunks: networks side by side, and one compiled program for all rounds."""

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
from asymjax.lab.recorder import Recorder
from asymjax.lab.run_config import RunConfig
from asymjax.lab.sweep import REMEDY
from asymjax.sparse.masks import Mask
from asymjax.sparse.pruning import PruningPlan, prune_to
from asymjax.sparse.tickets import Ticket, rewound, ticket_member
from asymjax.train.trainer import Trainer, TrainState
from asymjax.types import Array, Frozen, Key, Position, PyTree, Split


class Search(NamedTuple):
    """A search for masks by iterative pruning with rewinding, of several networks side by side.

    Attributes
    ----------
    trainer : of tickets, see :func:`~asymjax.sparse.tickets.make_ticket_trainer`.
    keys : [network] of the order of rows, the same in every round.
    starts : states that are rewound to, NumPy leaves [network, ...].
    frozen : constants of all networks.
    data : rows that they are trained on.
    plan : what each round prunes, those of the smallest magnitude.
    num_epochs : passes over the rows in a round.
    epochs_per_chunk : upper bound on the passes in one compiled chunk.
    """

    trainer: Trainer
    keys: Key
    starts: TrainState
    frozen: Frozen
    data: Split
    plan: PruningPlan
    num_epochs: int
    epochs_per_chunk: int


class Found(NamedTuple):
    """What iterative pruning leaves, NumPy leaves.

    Attributes
    ----------
    kept : masks [round + 1, network, ...]; the first keeps all.
    dense : the networks of the first round, trained before anything is pruned [network, ...].
    failed : int [network] the first round in which a network's loss was not finite, or -1; its masks are none from then
        on.
    """

    kept: Mask
    dense: Position
    failed: np.ndarray


def search_masks(run: Recorder, phase: str, search: Search, run_config: RunConfig) -> Found:
    """Train, prune and rewind, round after round; resumes what the run directory holds.

    Raises
    ------
    DivergedError
        If every loss leaves the finite numbers.
    """
    trainer, keys, starts, frozen, data, plan, num_epochs, most_epochs = search
    num_networks, num_rounds = len(keys), len(plan.left) - 1
    placement = devices.place(num_networks, run_config.num_devices, run_config.placement)
    epochs = largest_divisor(num_epochs, run.settle(f"{phase}_epochs_per_chunk", most_epochs))
    put = partial(devices.put, placement=placement, is_mapped=True)
    frozen, data = devices.put((frozen, jax.tree.map(jnp.asarray, data)), placement, is_mapped=False)
    whole = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), starts.position)
    rewind, pick = jax.jit(jax.vmap(rewound)), jax.jit(jax.vmap(partial(_smallest_go, plan), (0, 0, None)))
    advance = devices.map_leading(partial(_advance, trainer, epochs), placement, [True, True, False, False])
    first = trees.to_host(rewind(Ticket(starts, whole)))
    compiled = compile_ahead(run, advance, *put((ticket_member(keys, whole), first)), frozen, data, phase=phase)

    def init() -> PyTree:
        masks = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (num_rounds + 1, *leaf.shape)), whole)
        return {"state": first, "kept": masks, "dense": first.position, "failed": np.full(num_networks, -1)}

    def chunk(index: int, old: PyTree) -> Chunk:
        number, within = divmod(index, num_epochs // epochs)
        kept = jax.tree.map(lambda leaf: np.asarray(leaf[number]), old["kept"])
        state, losses = processes.gather(compiled(*put((ticket_member(keys, kept), old["state"])), frozen, data))
        left = plan.counts[number] / plan.counts[0]
        note = f"round {number}, {left:.1%} left, loss {np.mean(losses[:, -1]):.4f}"
        metrics = {"round": number, "epoch": (within + 1) * epochs, "loss": losses[:, -1]}
        if within + 1 < num_epochs // epochs:
            return Chunk({**old, "state": state}, metrics=metrics, note=note)
        failed = np.where((old["failed"] < 0) & (state.failed_step >= 0), number, old["failed"])
        if (failed >= 0).all():
            raise DivergedError(f"{phase}: every network diverged, seed by seed in rounds {failed}; {REMEDY}")
        chosen = trees.to_host(pick(state.position, kept, number + 1))
        new = {
            "state": trees.to_host(rewind(Ticket(starts, chosen))),
            "kept": _with(old["kept"], number + 1, chosen),
            "dense": state.position if number == 0 else old["dense"],
            "failed": failed,
        }
        return Chunk(new, metrics=metrics, note=note)

    num_chunks = num_rounds * (num_epochs // epochs)
    final = run_phase(run, phase, num_chunks, init, chunk, init(), (num_rounds, "rounds"))
    return Found(final["kept"], final["dense"], final["failed"])


def _advance(
    trainer: Trainer, num_epochs: int, member: PyTree, state: TrainState, frozen: Frozen, data: Split
) -> tuple[TrainState, Array]:
    return trainer.advance(member, state, frozen, data, num_epochs)


def _smallest_go(plan: PruningPlan, position: Position, kept: Mask, num_rounds: Array) -> Mask:
    return prune_to(plan, jax.tree.map(jnp.abs, position), kept, num_rounds)


def _with(stacked: PyTree, index: int, values: PyTree) -> PyTree:
    def one(array: Any, new: Any) -> np.ndarray:
        changed = np.array(array)
        changed[index] = new
        return changed

    return jax.tree.map(one, stacked, values)


def run_starts(
    run: Recorder,
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
    frozen, data, run_config : as of :class:`Search`.
    num_steps : steps, from 0.
    """

    def begin(init_key: Key, key: Key, frozen: Frozen, data: Split) -> TrainState:
        return trainer.begin(key, trainer.init(init_key, frozen), frozen, data, num_steps)

    def members(index: np.ndarray) -> list[Key]:
        return [init_keys[index], keys[index]]

    shared = (frozen, jax.tree.map(jnp.asarray, data))
    return measure_members(run, phase, begin, members, shared, len(keys), 1, "networks", run_config)


def search_keys(keys: Key) -> Key:
    """Return the keys of searches for masks [network]: no twin that tests a mask has the order that it was found in."""
    return jax.vmap(lambda key: rng.named_key(key, "search"))(keys)


def twin_keys(keys: Key, num_twins: int) -> Key:
    """Return the keys of twins, [network, twin]: trainings that differ in the order of rows alone."""
    return jax.vmap(lambda key: rng.member_keys(rng.named_key(key, "twin"), num_twins))(keys)
