"""Scores that two zoos can be compared by: among networks of like recipes, and on targets spread alike."""

from collections.abc import Mapping, Sequence

import numpy as np

NUM_BINS = 3
"""Parts that each number of a recipe is cut into."""
NUM_LEVELS = 20
"""Parts that the targets of several zoos are cut into."""


def recipe_strata(recipes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return which networks have like recipes, int [network]: each number of it in the same third.

    Parameters
    ----------
    recipes : what was drawn, [network] by name.
    """
    names = sorted(recipes)
    parts = [_bins(np.asarray(recipes[name], float), np.asarray(recipes[name], float), NUM_BINS) for name in names]
    return np.unique(np.stack(parts, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def tau_within(targets: np.ndarray, predictions: np.ndarray, strata: np.ndarray) -> float:
    """Return Kendall's tau-b over pairs of networks of one stratum alone; 0 where nothing is told apart in any.

    What a ranking owes to what differs between strata is no part of it.

    Parameters
    ----------
    targets, predictions : [network].
    strata : int [network].
    """
    agreeing, num_targets, num_predictions = 0.0, 0.0, 0.0
    for stratum in np.unique(strata):
        order = [
            np.sign(np.subtract.outer(values, values))
            for values in (np.asarray(values, float)[strata == stratum] for values in (targets, predictions))
        ]
        agreeing += np.sum(order[0] * order[1])
        num_targets += np.sum(np.abs(order[0]))
        num_predictions += np.sum(np.abs(order[1]))
    scale = np.sqrt(num_targets * num_predictions)
    return float(agreeing / scale) if scale > 0 else 0.0


def matched(targets: Sequence[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """Return networks of several zoos whose targets are spread alike: places in each, as many in every one.

    All targets are cut at common quantiles; of each part every zoo gives as many networks, drawn without replacement,
    as the one that has the fewest there. Without it a zoo whose targets are spread wider is easier to rank.

    Parameters
    ----------
    targets : of each zoo, [network].
    seed : of the draw.
    """
    numbers = np.random.default_rng(seed)
    values = [np.asarray(one, float) for one in targets]
    levels = [_bins(one, np.concatenate(values), NUM_LEVELS) for one in values]
    taken: list[list[np.ndarray]] = [[] for _ in values]
    for level in range(NUM_LEVELS):
        here = [np.flatnonzero(own == level) for own in levels]
        count = min(map(len, here))
        for chosen, places in zip(taken, here, strict=True):
            chosen.append(numbers.permutation(places)[:count])
    return [np.sort(np.concatenate(chosen)) for chosen in taken]


def _bins(values: np.ndarray, of_all: np.ndarray, count: int) -> np.ndarray:
    """Return in which of so many quantiles of all values each lies, int."""
    edges = np.quantile(of_all, np.arange(1, count) / count)
    return np.searchsorted(edges, values, side="right")
