"""Kinds of targets: a number of each network, or one of some classes. What depends on that is decided here."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from scipy.special import softmax

from asymjax.metanets.regression import Regression
from asymjax.metanets.scores import ClassScores, Scores, score, score_classes
from asymjax.train.losses import Loss, categorical_loglikelihood, cross_entropy, squared_error
from asymjax.types import Array


class Kind(NamedTuple):
    """What depends on the kind of a target.

    Attributes
    ----------
    output_shape : of what a metanetwork says of one network: () for a number, (classes,) for a logit of each class.
    dtype : of targets as metanetworks are trained on them.
    loss : what they are trained on.
    quality : (outputs, targets) -> [] by which epoch and learning rate are chosen: 1 where all is right, 0 for the best
        that is said without a look at the networks.
    center_and_scale : (targets of the training) -> what is taken from targets, and what they are divided by then.
    predictions : outputs in units of the targets [..., *output_shape] -> what is predicted, of the same shape.
    fit : (regression, features and targets of the training) -> what scikit-learn fitted to them.
    regressed : (that, features [network, feature]) -> predictions [network, *output_shape].
    score : (targets [network], predictions [network, *output_shape]) -> scores; the first of them stands for all.
    """

    output_shape: tuple[int, ...]
    dtype: type
    loss: Loss
    quality: Callable[[Array, Array], Array]
    center_and_scale: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    predictions: Callable[[np.ndarray], np.ndarray]
    fit: Callable[[Regression, np.ndarray, np.ndarray], Any]
    regressed: Callable[[Any, np.ndarray], np.ndarray]
    score: Callable[[np.ndarray, np.ndarray], Scores | ClassScores]

    @property
    def is_class(self) -> bool:
        """Whether the target is a class."""
        return self.output_shape != ()


def kind_of(targets: np.ndarray) -> Kind:
    """Return the kind of targets [network]: whole numbers from 0 are classes, as ``Zoo.target`` gives them."""
    if np.issubdtype(np.asarray(targets).dtype, np.integer):
        return of_classes(int(np.max(targets)) + 1)
    return NUMBERS


# Numbers ---------------------------------------------------------------------------------------------------------


def r2(outputs: Array, targets: Array) -> Array:
    """Return 1 - squared error over the variance of the targets []."""
    error = jnp.mean(jnp.square(outputs - targets))
    return 1 - error / jnp.var(targets)


def _mean_and_scale(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = targets.astype(np.float32)
    return np.asarray(known.mean()), np.asarray(known.std() or 1.0, np.float32)


def _fit(settings: Regression, known: np.ndarray, targets: np.ndarray) -> Any:
    return settings.regressor(0).fit(known, targets)


def _regressed(fitted: Any, features: np.ndarray) -> np.ndarray:
    return np.asarray(fitted.predict(features), float)


NUMBERS = Kind((), np.float32, squared_error, r2, _mean_and_scale, lambda outputs: outputs, _fit, _regressed, score)
"""A number of each network."""


# Classes ---------------------------------------------------------------------------------------------------------


def of_classes(num_classes: int) -> Kind:
    """Return the kind of a target that is one of some classes; what is predicted is the probability of each."""

    def classified(classifier: Any, features: np.ndarray) -> np.ndarray:
        probabilities = np.zeros((len(features), num_classes))
        probabilities[:, classifier.classes_] = classifier.predict_proba(features)  # The training may lack a class.
        return probabilities

    return Kind(
        (num_classes,),
        np.int32,
        cross_entropy,
        explained_entropy,
        no_center,
        in_probabilities,
        lambda settings, known, targets: settings.classifier(0).fit(known, targets),
        classified,
        score_classes,
    )


def explained_entropy(logits: Array, targets: Array) -> Array:
    """Return 1 - cross-entropy over the entropy of the shares of the classes []; McFadden (1974), pseudo-R2.

    Parameters
    ----------
    logits : [network, class].
    targets : int [network], not all the same.
    """
    shares = jnp.mean(jax.nn.one_hot(targets, logits.shape[-1]), axis=0)
    return 1 - jnp.mean(categorical_loglikelihood(logits, targets)) / jnp.sum(xlogy(shares, shares))


def no_center(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what leaves classes as they are."""
    return np.zeros((), np.float32), np.ones((), np.float32)


def in_probabilities(logits: Any) -> np.ndarray:
    """Return the probabilities of classes [..., class] that logits stand for."""
    return np.asarray(softmax(np.asarray(logits, np.float64), axis=-1))
