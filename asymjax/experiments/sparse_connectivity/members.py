"""The networks that a study trains from tickets, and the pairs of them that paths lie between."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

DENSE = "dense"
KINDS = ("twins", "seeds", "levels", "aligned")
"""Of pairs: of one ticket, of two initialisations, of successive sparsities, and of two initialisations aligned."""


class Members(NamedTuple):
    """The networks that are trained from tickets, arrays [network].

    Attributes
    ----------
    source : where the mask comes from, ``"dense"`` for none.
    round : rounds of pruning that its sparsity is of.
    seed, twin : which initialisation, and which order of the rows.
    """

    source: np.ndarray
    round: np.ndarray
    seed: np.ndarray
    twin: np.ndarray

    def pairs_of_twins(self) -> np.ndarray:
        """Return all pairs of networks that were trained from the same ticket, int [pair, 2]."""
        places: dict[tuple, list[int]] = {}
        for index, ticket in enumerate(zip(self.source, self.round, self.seed, strict=True)):
            places.setdefault(ticket, []).append(index)
        return np.array([pair for twins in places.values() for pair in combinations(twins, 2)], int).reshape(-1, 2)

    def first_of_tickets(self, pairs: np.ndarray) -> np.ndarray:
        """Return the place of the first pair of each ticket, int [ticket]."""
        tickets = [(self.source[a], self.round[a], self.seed[a]) for a in pairs[:, 0]]
        return np.array([tickets.index(ticket) for ticket in dict.fromkeys(tickets)], int)

    def pairs_of_seeds(self) -> np.ndarray:
        """Return all pairs of dense first twins, from two initialisations, int [pair, 2]."""
        first = np.flatnonzero((self.source == DENSE) & (self.twin == 0))
        return np.array(list(combinations(first.tolist(), 2)), int).reshape(-1, 2)

    def pairs_of_levels(self) -> np.ndarray:
        """Return pairs of first twins of one seed and source at successive levels, int [pair, 2] (Paul et al. 2022)."""
        found = []
        for source in dict.fromkeys(self.source.tolist()):
            own = (self.source == source) | (self.source == DENSE)
            for seed in np.unique(self.seed):
                chosen = np.flatnonzero(own & (self.seed == seed) & (self.twin == 0))
                chosen = chosen[np.argsort(self.round[chosen])]
                found += [] if source == DENSE else list(pairwise(chosen))
        return np.array(found, int).reshape(-1, 2)


def all_members(sources: Sequence[str], levels: Sequence[int], num_seeds: int, num_twins: int) -> Members:
    """Return all twins of dense networks, then of the tickets of every source and level, seed by seed."""
    tickets = [(DENSE, 0)] + [(source, level) for source in sources for level in levels]
    each = [(*ticket, seed, twin) for ticket in tickets for seed in range(num_seeds) for twin in range(num_twins)]
    return Members(*map(np.array, zip(*each, strict=True)))
