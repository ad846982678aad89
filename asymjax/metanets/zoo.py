"""Zoos: trained networks, and what is to be predicted of each from its weights."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from asymjax.errors import InputError, choose
from asymjax.types import Frozen, Model, Position

SHARES = (0.5, 0.25)
"""Of the networks, those for training and for validation; the others are for the test (Lim et al. 2024)."""
MIN_NETWORKS = 40
"""Below which no split says anything."""


class Zoo(NamedTuple):
    """Trained networks of one model.

    Attributes
    ----------
    model, frozen : of all.
    position : their trainable leaves, NumPy [network, ...], finite.
    scores : what was measured of each, float64 [network] by name: ``"test.accuracy"``, ``"train.loss"``.
    recipes : what was drawn for the training of each, [network] by name; empty where all had the same.
    ids : int [network], which networks of the sweep they are; networks of one id, as checkpoints of one run, are never
        on two sides of a split.
    excluded : id -> why, of networks that are not here.
    """

    model: Model
    frozen: Frozen
    position: Position
    scores: Mapping[str, np.ndarray]
    recipes: Mapping[str, np.ndarray]
    ids: np.ndarray
    excluded: Mapping[int, str]

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        return len(self.ids)

    def target(self, name: str) -> np.ndarray:
        """Return what is to be predicted, float64 [network]: a score, or ``"gap"``, of training and test accuracy.

        Raises
        ------
        InputError
            If there is no score of that name, or it is not finite everywhere.
        """
        if name == "gap":
            return self.target("train.accuracy") - self.target("test.accuracy")
        values = np.asarray(choose(dict(self.scores), name, "target"), float)
        if not np.all(np.isfinite(values)):
            raise InputError(f"{name} is not finite for {np.sum(~np.isfinite(values))} networks; leave them out")
        return values


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
