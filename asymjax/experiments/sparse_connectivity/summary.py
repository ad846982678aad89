"""What a study comes to: for every source of masks and sparsity, accuracy and instability over initialisations."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from asymjax.diagnostics.curvature import Curvature
from asymjax.experiments.compare_posteriors.repeats import over_repeats
from asymjax.experiments.sparse_connectivity.members import DENSE
from asymjax.experiments.sparse_connectivity.study import Studied
from asymjax.sparse.masks import Mask, densities, overlap, sparsity
from asymjax.symmetry.connectivity import instabilities, over_pairs
from asymjax.symmetry.interpolation import over_networks

STABLE, MATCHING = 0.02, 0.002
"""Frankle et al. (2020): a test error that rises by less is stable, an accuracy that is lower by less is matching."""

Measures = dict[str, np.ndarray]
"""Name, as ``"test.error.over_mean"`` -> [pair]."""


def summarise_study(
    studied: Studied, points: np.ndarray, paths: frozenset[str], levels: Sequence[int]
) -> dict[str, Any]:
    """Return what summary.json says of a study.

    Parameters
    ----------
    studied : what was measured.
    points : [point] of all paths.
    paths : of the leaves that are pruned.
    levels : rounds at which twins were trained.

    Returns
    -------
    ``cells``, one of each source and level, the dense one first: sparsity, least densities of leaves, overlap with imp,
    and ``measures``: statistics over initialisations of what ends and paths of twins have, each with its difference to
    the dense twins of the same initialisations; ``between``, the same of paths between initialisations, over pairs;
    ``successive``, of paths between successive levels; ``failed``, the networks that are none, by name.
    """
    measured = pair_measures(studied, points)
    tickets = [(DENSE, 0)] + [(source, level) for source in studied.masks for level in levels]
    dense = _of_seeds(studied, measured, DENSE, 0)
    cells: list[dict[str, Any]] = []
    for source, level in tickets:
        own = _of_seeds(studied, measured, source, level)
        statistics = _statistics(own, None if source == DENSE else dense)
        cell = {"source": source, "round": level} | _of_masks(studied, source, level, paths, levels)
        cell |= {"beside_imp": _beside_imp(studied, measured, own, source, level)}
        cells.append(cell | _verdicts(statistics) | {"measures": statistics})
    between = {
        kind: {name: over_pairs(values, studied.pairs[kind]) for name, values in measured[kind].items()}
        for kind in ("seeds", "aligned")
        if len(studied.pairs.get(kind, ()))
    }
    if studied.curvature is not None:
        for cell, ticket in zip(cells, tickets, strict=True):
            cell["curvature"] = _curvature(studied, studied.curvature, *ticket)
    failed = {_name(studied, index): why for index, why in studied.failed.items()}
    return {"cells": cells, "between": between, "successive": _successive(studied, measured), "failed": failed} | {
        "stability": studied.stability
    }


def pair_measures(studied: Studied, points: np.ndarray) -> dict[str, Measures]:
    """Return what every path has, kind of pairs -> name -> [pair].

    Instabilities of loss and error by their three definitions, the mean of both ends, and the distance.
    """
    found: Measures = {"distance": studied.distance}
    for split, metrics in studied.curves.items():
        for metric, curves in metrics.items():
            name = f"{split}.{'error' if metric == 'accuracy' else metric}"
            values = 1 - curves if metric == "accuracy" else curves
            found[name] = values[:, [0, -1]].mean(axis=1)
            found |= {f"{name}.{which}": rise for which, rise in instabilities(points, values).items()}
    cuts = np.cumsum([len(pairs) for pairs in studied.pairs.values()])[:-1]
    parts = {name: np.split(values, cuts) for name, values in found.items()}
    return {kind: {name: part[i] for name, part in parts.items()} for i, kind in enumerate(studied.pairs)}


def _of_seeds(studied: Studied, measured: Mapping[str, Measures], source: str, level: int) -> Measures:
    """Return means over the pairs of each initialisation [seed], NaN where none of them is there."""
    members, first = studied.members, studied.pairs["twins"][:, 0]
    is_own = (members.source[first] == source) & (members.round[first] == level)
    seeds = np.unique(members.seed)
    places = [np.flatnonzero(is_own & (members.seed[first] == seed)) for seed in seeds]
    return {
        name: np.array([values[place].mean() if len(place) else np.nan for place in places])
        for name, values in measured["twins"].items()
    }


def _statistics(own: Measures, baseline: Measures | None) -> dict[str, Any]:
    """Return statistics over initialisations, with those of the differences to a baseline's same initialisations.

    Over those whose twins are there in both; where the baseline has none of them, over those that are there.
    """
    found = {}
    for name, values in own.items():
        is_there = np.isfinite(values)
        in_both = is_there & np.isfinite(baseline[name]) if baseline is not None else is_there
        if baseline is not None and in_both.any():
            found[name] = over_repeats(values[in_both], baseline[name][in_both])
        elif is_there.any():
            found[name] = over_repeats(values[is_there])
    return found


def _beside_imp(
    studied: Studied, measured: Mapping[str, Measures], own: Measures, source: str, level: int
) -> dict[str, Any]:
    """Return the differences to what twins of the imp masks of the same sparsity have; none where there are none."""
    if source in (DENSE, "imp") or "imp" not in studied.masks:
        return {}
    found = _statistics(own, _of_seeds(studied, measured, "imp", level))
    return {name: one["difference"] for name, one in found.items() if one["difference"]}


def _verdicts(measures: Mapping[str, Any]) -> dict[str, bool | None]:
    """Say whether twins are stable, and as accurate as dense networks, by the bounds of Frankle et al. (2020)."""
    if "test.error" not in measures:
        return {"is_stable": None, "is_matching": None}
    lost = (measures["test.error"]["difference"] or {"mean": 0.0})["mean"]
    return {"is_stable": measures["test.error.over_mean"]["mean"] < STABLE, "is_matching": lost <= MATCHING}


def _of_masks(
    studied: Studied, source: str, level: int, paths: frozenset[str], levels: Sequence[int]
) -> dict[str, Any]:
    """Say what the masks of a cell keep: over seeds, the sparsity, the least density of each leaf, and the overlap."""
    if source == DENSE:
        return {"sparsity": 0.0, "density": {}, "collapsed": {}, "overlap": None}
    masks = _each(studied.masks[source], levels.index(level))
    own = [{path: float(share) for path, share in densities(mask, paths).items()} for mask in masks]
    empty = {str(seed): [path for path, share in shares.items() if share == 0] for seed, shares in enumerate(own)}
    like = studied.masks.get("imp") if source != "imp" else None
    common = (
        None
        if like is None
        else [overlap(*both, paths) for both in zip(masks, _each(like, levels.index(level)), strict=True)]
    )
    return {
        "sparsity": float(np.mean([sparsity(mask, paths) for mask in masks])),
        "density": {path: min(shares[path] for shares in own) for path in own[0]},
        "collapsed": {seed: found for seed, found in empty.items() if found},
        "overlap": None if common is None else float(np.mean(common)),
    }


def _curvature(studied: Studied, curvature: Curvature, source: str, level: int) -> dict[str, Any]:
    """Return statistics over initialisations at each point of a path of twins: trace, largest eigenvalue, their errors.

    Errors are those of one network: the standard error of its trace, and how near some eigenvalue is to the largest.
    """
    first = studied.pairs["twins"][studied.first, 0]
    is_own = (studied.members.source[first] == source) & (studied.members.round[first] == level)
    if not is_own.any():
        return {}
    return {name: [over_networks(at) for at in values[is_own].T] for name, values in curvature._asdict().items()}


def _each(masks: Mask, level: int) -> list[Mask]:
    count = jax.tree.leaves(masks)[0].shape[1]
    return [jax.tree.map(lambda leaf, seed=seed: leaf[level, seed], masks) for seed in range(count)]


def _successive(studied: Studied, measured: Mapping[str, Measures]) -> list[dict[str, Any]]:
    """Return statistics over initialisations of the paths from one level to the next of the same source."""
    members, pairs = studied.members, studied.pairs["levels"]
    steps = {(members.source[b], members.round[a], members.round[b]) for a, b in pairs}
    found = []
    for source, before, after in sorted(steps):
        is_own = np.array(
            [(members.source[b], members.round[a], members.round[b]) == (source, before, after) for a, b in pairs]
        )
        own = {name: values[is_own] for name, values in measured["levels"].items()}
        found.append({"source": source, "from": before, "to": after, "measures": _statistics(own, None)})
    return found


def _name(studied: Studied, index: int) -> str:
    source, level, seed, twin = (column[index] for column in studied.members)
    return f"{source}, round {level}, seed {seed}, twin {twin}"
