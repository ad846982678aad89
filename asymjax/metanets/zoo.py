"""Zoos: trained networks, and what is to be predicted of each from its weights."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from asymjax import trees
from asymjax.errors import InputError, choose
from asymjax.metanets.reader import Reader, make_reader
from asymjax.symmetry.connectivity import finite_networks
from asymjax.types import Frozen, Model, Position, PyTree

SHARES = (0.5, 0.25)
"""Of the networks, those for training and for validation; the others are for the test (Lim et al. 2024)."""
MIN_NETWORKS = 40
"""Below which no split says anything."""


class Zoo(NamedTuple):
    """Trained networks of one model.

    Attributes
    ----------
    model, frozen : of all.
    position : their trainable leaves [network, ...], finite: NumPy, or what reads rows anew whenever it is indexed, and
        has ``select(places)``, the same for some networks.
    scores : what was measured of each, float64 [network] by name: ``"test.accuracy"``, ``"train.loss"``.
    recipes : what was drawn for the training of each, [network] by name; empty where all had the same.
    ids : int [network], which networks of the sweep they are; networks of one id, as checkpoints of one run, are never
        on two sides of a split.
    excluded : id -> why, of networks that are not here.
    labels : what kind each network is of, [network] by name: ``"chain"`` of the draws of a posterior.
    """

    model: Model
    frozen: Frozen
    position: Position
    scores: Mapping[str, np.ndarray]
    recipes: Mapping[str, np.ndarray]
    ids: np.ndarray
    excluded: Mapping[int, str]
    labels: Mapping[str, np.ndarray] = MappingProxyType({})

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        return len(self.ids)

    def take(self, places: np.ndarray) -> "Zoo":
        """Return the zoo of some of its networks, by their places."""
        position = jax.tree.map(
            lambda leaf: leaf.select(places) if hasattr(leaf, "select") else leaf[places], self.position
        )
        named = (self.scores, self.recipes, self.labels)
        own, recipes, labels = ({name: values[places] for name, values in each.items()} for each in named)
        return self._replace(position=position, scores=own, recipes=recipes, ids=self.ids[places], labels=labels)

    def networks(self, reads: str, reference: int = 0) -> PyTree:
        """Return what a metanetwork reads, NumPy leaves [network, ...].

        Parameters
        ----------
        reads : ``"position"``, trainable entries; ``"params"``, effective weights; ``"aligned"``, these with their
            units permuted to match those of one network, as far as its model's own set allows (weight matching of
            Ainsworth et al. 2023).
        reference : place of that network.
        """
        return self.reader(reads, reference).read(slice(None))

    def reader(self, reads: str, reference: int = 0) -> Reader:
        """Return how networks are read, see :meth:`networks`: some of them at a time."""
        return make_reader(reads, self.model, self.frozen, self.position, reference)

    def target(self, name: str) -> np.ndarray:
        """Return what is to be predicted.

        A score, or ``"gap"``, of training and test accuracy, is float64 [network]; a label is a class, int64 [network]
        from 0, in the order of the labels' values.

        Raises
        ------
        InputError
            If there is no score or label of that name, it is not finite everywhere, or the same for all.
        """
        named = {**self.scores, **self.labels}
        if {"train.accuracy", "test.accuracy"} <= named.keys():
            named["gap"] = np.asarray(named["train.accuracy"], float) - np.asarray(named["test.accuracy"], float)
        values = choose(named, name, "target")
        values = np.unique(values, return_inverse=True)[1] if name in self.labels else np.asarray(values, float)
        if not np.all(np.isfinite(values)):
            raise InputError(f"{name} is not finite for {np.sum(~np.isfinite(values))} networks; leave them out")
        if np.ptp(values) == 0:
            raise InputError(
                f"{name} is {values[0]:g} for all networks, so that nothing can be predicted; take another"
            )
        return values


def reference_of(zoo: Zoo, targets: np.ndarray, parts: "Parts") -> int:
    """Return the place of the training network that others are aligned to.

    It is the one of the best test accuracy, whatever the target, or of the largest target where that is not known.
    """
    values = zoo.scores.get("test.accuracy", targets)
    return int(parts.train[np.argmax(values[parts.train])])


def finite_zoo(
    model: Model,
    frozen: Frozen,
    position: Position,
    scores: Mapping[str, np.ndarray],
    recipes: Mapping[str, np.ndarray],
    failed: Mapping[int, str],
    source: str = "the zoo",
) -> Zoo:
    """Return a zoo of those networks that trained and whose parameters and scores are finite.

    Parameters
    ----------
    model, frozen : of all.
    position, scores, recipes : of all networks of a sweep, leaves [network, ...], as of :class:`Zoo`.
    failed : place -> why, of networks that did not train.
    source : where they are from, for the message.

    Raises
    ------
    InputError
        If fewer than ``MIN_NETWORKS`` are left.
    """
    blocks = (jax.tree.map(lambda leaf, rows=rows: leaf[rows], position) for rows in trees.row_blocks(position))
    is_finite = np.concatenate([finite_networks(block) for block in blocks])
    is_scored = np.all([np.isfinite(values) for values in scores.values()], axis=0)
    excluded = {
        **dict.fromkeys(np.flatnonzero(~is_scored).tolist(), "a score is not finite"),
        **dict.fromkeys(np.flatnonzero(~is_finite).tolist(), "parameters are not finite"),
        **failed,
    }
    all_ids = np.arange(len(is_scored))
    ids = np.setdiff1d(all_ids, list(excluded))
    if len(ids) < MIN_NETWORKS:
        raise InputError(f"{source} has {len(ids)} finite networks; a zoo takes {MIN_NETWORKS} at least, train more")
    return Zoo(model, frozen, position, scores, recipes, all_ids, excluded).take(ids)


class Parts(NamedTuple):
    """Places of the networks on each side of a split, int arrays."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(ids: np.ndarray, seed: int = 0) -> Parts:
    """Split networks 50 / 25 / 25 by their ids, as Lim et al. (2024) did by position.

    Which side an id is on depends on the seed and on the ids that there are, not on their order.

    Raises
    ------
    InputError
        If there are fewer than ``MIN_NETWORKS`` different ids.
    """
    kinds = np.unique(ids)
    if len(kinds) < MIN_NETWORKS:
        raise InputError(f"there are {len(kinds)} networks; give {MIN_NETWORKS} or more, else no split tells anything")
    order = np.random.default_rng(seed).permutation(kinds)
    cuts = np.cumsum([round(share * len(kinds)) for share in SHARES])
    return Parts(*(np.flatnonzero(np.isin(ids, side)) for side in np.split(order, cuts)))
