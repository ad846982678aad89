"""Predictors that are fitted and not trained, of scikit-learn: what a metanetwork has to beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from asymjax.errors import InputError
from asymjax.metanets.statistics import flattened, log_norms, statistics
from asymjax.settings import Settings
from asymjax.types import PyTree

ALPHAS = 10.0 ** np.arange(-3, 6)
"""Penalties that ridge regression chooses from, by leaving one network out."""
MAX_STEPS = 1000
"""Of the optimizer of logistic regression."""


@dataclass(frozen=True)
class Regression(Settings):
    """Settings of a predictor.

    A subclass overrides ``features``, and ``regressor`` and ``classifier`` where these are no forest of trees.
    """

    @property
    def reads(self) -> str:
        """What it reads, as of a metanetwork."""
        return "position"

    def features(self, networks: PyTree, recipes: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return what it knows of networks, float [network, feature]."""
        raise NotImplementedError

    def regressor(self, seed: int) -> Any:
        """Return gradient-boosted trees of scikit-learn, with its own settings."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(random_state=seed)

    def classifier(self, seed: int) -> Any:
        """Return what predicts classes, with ``predict_proba``; trees as well."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(random_state=seed)


@dataclass(frozen=True)
class Recipe(Regression):
    """How networks were trained, and not their weights: the share of a ranking that is recipes."""

    def features(self, networks: PyTree, recipes: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the recipes.

        Raises
        ------
        InputError
            If all networks have the same.
        """
        if not recipes:
            raise InputError("all networks have the same recipe; give ones whose recipes were drawn")
        return np.stack([np.asarray(values, float) for values in recipes.values()], axis=1)


@dataclass(frozen=True)
class Norms(Regression):
    """The log root mean square of every tensor."""

    def features(self, networks: PyTree, recipes: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the logs."""
        return np.asarray(log_norms(networks))


@dataclass(frozen=True)
class StatTrees(Regression):
    """The seven statistics of every tensor."""

    with_recipe: bool = False
    """Know the recipes, too."""

    def features(self, networks: PyTree, recipes: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the statistics."""
        own = np.asarray(statistics(networks))
        return np.concatenate([own, Recipe().features(networks, recipes)], axis=1) if self.with_recipe else own


@dataclass(frozen=True)
class Ridge(Regression):
    """All weights, and a linear map of them."""

    reads: Literal["position", "params", "aligned"] = "position"
    """Trainable entries, effective weights, or these with units permuted to match those of one network."""

    def features(self, networks: PyTree, recipes: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the weights."""
        return np.asarray(flattened(networks))

    def regressor(self, seed: int) -> Any:
        """Return ridge regression on standardised weights."""
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), RidgeCV(ALPHAS))

    def classifier(self, seed: int) -> Any:
        """Return logistic regression on standardised weights, with the penalty that scikit-learn gives it."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_STEPS))
