"""What a study of one method works with: its trained networks, and what the function has to stay on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from asymjax import rng
from asymjax.experiments.invariant_paths.config import Config
from asymjax.lab.rundir import RunDir
from asymjax.paths.invariant import Replay
from asymjax.types import Dataset, Frozen, Key, Model, Position, PyTree, Split


class Subject(NamedTuple):
    """Trained networks of one method.

    Attributes
    ----------
    run, config : the run.
    arch : the method.
    model, frozen : the network, and the constants of all.
    dataset : all rows.
    kept : the training rows on which the function has to stay; those that networks were trained on.
    positions : trained networks, NumPy leaves [network, ...]; paths begin at ``start``.
    start : int [member] which of them.
    replay : of each path, leaves [member, ...].
    labels : of the replayed inputs, int [member, row], for what takes labels.
    failed : member -> why a network of its group is none.
    """

    run: RunDir
    config: Config
    arch: str
    model: Model
    frozen: Frozen
    dataset: Dataset
    kept: Split
    positions: Position
    start: np.ndarray
    replay: Replay
    labels: np.ndarray
    failed: dict[int, str]

    @property
    def starts(self) -> Position:
        """Where paths begin, leaves [member, ...]."""
        return take(self.positions, self.start)

    @property
    def keys(self) -> Key:
        """Keys of the walks [member]."""
        return rng.member_keys(rng.role_key(self.config.seeds.seed, "walk"), len(self.start))


def take(tree: PyTree, index: Any) -> PyTree:
    """Return the rows of an index of all leaves."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def why_groups_fail(failed: Mapping[int, str], start: np.ndarray, count: int) -> dict[int, str]:
    """Return why groups cannot be studied, by member: a network of theirs failed.

    Parameters
    ----------
    failed : network -> why it is none.
    start : int [member] the first network of each group, ascending; the others follow it.
    count : networks in all.
    """
    found = {}
    for member, networks in enumerate(np.split(np.arange(count), start[1:])):
        whys = [(int(network), failed[int(network)]) for network in networks if int(network) in failed]
        if whys:
            network, why = whys[0]
            found[member] = why if network == start[member] else f"network {network - start[member]} beside it: {why}"
    return found


def draw_rows(kept: Split, count: int, config: Config) -> Split:
    """Draw the rows on which each function has to stay, leaves [member, row, ...]."""
    keys = rng.member_keys(rng.role_key(config.seeds.seed, "replay"), count)
    size = len(kept.targets)
    index = np.stack([np.asarray(rng.permutation(key, size))[: config.study.num_replay] for key in keys])
    return Split(np.asarray(kept.inputs)[index], np.asarray(kept.targets)[index])


def replay_of(model: Model, frozen: Frozen, starts: Position, inputs: Any) -> Replay:
    """Return inputs of each path with the outputs of its start, leaves [member, ...]."""

    def outputs(member: tuple[Position, Any]) -> Any:
        return model.apply(member[0], frozen, member[1])

    found = jax.jit(lambda starts, inputs: jax.lax.map(outputs, (starts, inputs)))(starts, inputs)
    return Replay(inputs, found)
