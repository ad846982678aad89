"""Kendall's tau by which zoos can be compared: among networks of like recipes, and on targets spread alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from asymjax.metanets import Fit, Zoo, kinds, score
from asymjax.metanets.comparable import matched, recipe_strata, tau_within
from asymjax.symmetry.interpolation import over_networks

Places = Mapping[str, np.ndarray]
MIN_MATCHED = 40
"""Networks of a zoo below which none are matched."""


def matched_places(fits: Mapping[str, Fit]) -> Places:
    """Return, of each zoo, test networks whose targets are spread as those of all others.

    There are none of one zoo alone, of classes, or where fewer than ``MIN_MATCHED`` would be left.

    Parameters
    ----------
    fits : one of each zoo, for its targets and its split.
    """
    if len(fits) < 2 or any(kinds.kind_of(fitted.targets).is_class for fitted in fits.values()):
        return {}
    targets = [fitted.targets[fitted.parts.test] for fitted in fits.values()]
    found = matched(targets)
    if len(found[0]) < MIN_MATCHED:
        return {}
    return {name: fitted.parts.test[places] for (name, fitted), places in zip(fits.items(), found, strict=True)}


def comparable_taus(zoo: Zoo, fitted: Fit, places: np.ndarray | None) -> dict[str, dict[str, Any]]:
    """Return further scores of numbers, each over seeds, by name; of classes none.

    Parameters
    ----------
    zoo, fitted : the networks, and what is predicted of them.
    places : of :func:`matched_places`, if there are other zoos.
    """
    if kinds.kind_of(fitted.targets).is_class:
        return {}
    taus: dict[str, list[float]] = {}
    test = fitted.parts.test
    if zoo.recipes:
        strata = recipe_strata({name: values[test] for name, values in zoo.recipes.items()})
        taus["tau_within"] = [tau_within(fitted.targets[test], one[test], strata) for one in fitted.predictions]
    if places is not None:
        taus["tau_matched"] = [score(fitted.targets[places], one[places]).tau for one in fitted.predictions]
    return {name: over_networks(np.array(values)) | {"values": values} for name, values in taus.items()}
