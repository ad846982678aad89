"""Whether units keep their place: what a permutation symmetry does to chains, and what breaking it does.

Two draws are matched by what their units compute. Where units can change places at no cost, a chain that mixes matches
its own past no better than chance; where something tells them apart, units stay where they are, and chains agree.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from asymjax import trees
from asymjax.diagnostics.lags import check_lags
from asymjax.symmetry import activation_matching, identity
from asymjax.symmetry.connectivity import all_pairs
from asymjax.types import Frozen, Graph, Model, Params, Position

MAX_ROWS = 500
"""Inputs on which units are compared, the first ones."""


class UnitsInPlace(NamedTuple):
    """Shares of hidden units that a matching maps to themselves.

    Attributes
    ----------
    within : float64 [lag, chain], between the last draw of a chain and one so many draws before it.
    between : float64 [pair], between the last draws of two chains, pairs in the order of ``connectivity.all_pairs``.
    chance : what a random permutation keeps on average, one of each set of units.
    """

    within: np.ndarray
    between: np.ndarray
    chance: float


def units_in_place(model: Model, frozen: Frozen, positions: Position, inputs: Any, lags: Sequence[int]) -> UnitsInPlace:
    """Return the share of hidden units that a matching of activations maps to themselves.

    Parameters
    ----------
    model, frozen : of all chains.
    positions : leaves [chain, draw, ...].
    inputs : [rows, *input_shape], or a graph; see :func:`~asymjax.symmetry.activation_matching`.
    lags : how many draws before the last one of its chain a draw is that is matched with it, each below the number of
        draws.

    Raises
    ------
    InputError
        If there are units that feed no activation, or there are not so many draws.
    """
    check_lags(lags, jax.tree.leaves(positions)[0].shape[1])
    merge = jax.jit(jax.vmap(model.merge, (0, None)))

    def networks(lag: int) -> list[Params]:
        params = trees.to_host(merge(jax.tree.map(lambda leaf: leaf[:, -1 - lag], positions), frozen))
        return [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(len(jax.tree.leaves(params)[0]))]

    rows = inputs if isinstance(inputs, Graph) else inputs[:MAX_ROWS]
    last = networks(0)

    def share(reference: Params, params: Params) -> float:
        return kept_share(activation_matching(model, reference, params, frozen, rows).permutations)

    sets = [units.shape for units in identity(last[0], model.permutation_spec).values()]
    return UnitsInPlace(
        within=np.array([[share(*pair) for pair in zip(last, networks(lag), strict=True)] for lag in lags]),
        between=np.array([share(last[i], last[j]) for i, j in all_pairs(len(last))]),
        chance=sum(math.prod(shape[:-1]) for shape in sets) / sum(map(math.prod, sets)),
    )


def kept_share(permutations: Mapping[str, np.ndarray]) -> float:
    """Return the share of units, of all permutations int [..., units] together, that are mapped to themselves."""
    kept = sum(int(np.sum(units == np.arange(units.shape[-1]))) for units in permutations.values())
    return kept / sum(units.size for units in permutations.values())
