"""Likelihoods, one number an example, and the training losses made of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from asymjax.types import Array, Frozen, Position, Split

# (apply, position, frozen, batch) -> []; ``apply`` maps (position, frozen, inputs) to outputs.
Loss = Callable[[Callable[..., Array], Position, Frozen, Split], Array]


def categorical_loglikelihood(logits: Array, labels: Array) -> Array:
    """Return ``log softmax(logits)[label]`` [rows], of logits [rows, classes] and labels int [rows]."""
    # A one-hot sum instead of a gather: its gradient is a subtraction, not a scatter.
    chosen = jnp.sum(logits * jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), axis=-1)
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def gaussian_loglikelihood(mean: Array, log_scale: Array, targets: Array) -> Array:
    """Return log N(target; mean, exp(log_scale)^2) summed over targets [rows]; all arguments [rows, targets]."""
    residual = (targets - mean) * jnp.exp(-log_scale)
    return jnp.sum(-0.5 * jnp.square(residual) - log_scale - 0.5 * jnp.log(2 * jnp.pi), axis=-1)


def cross_entropy(apply: Callable[..., Array], position: Position, frozen: Frozen, batch: Split) -> Array:
    """Return the mean cross-entropy of a classifier over a batch []."""
    return -jnp.mean(categorical_loglikelihood(apply(position, frozen, batch.inputs), jnp.asarray(batch.targets)))


def smoothed_cross_entropy(label_smoothing: Array | float) -> Loss:
    """Return the cross-entropy against labels of which a share is spread evenly over all classes (Szegedy et al. 2016).

    Parameters
    ----------
    label_smoothing : [] from 0 (the labels as they are) to 1; may be traced.
    """

    def loss(apply: Callable[..., Array], position: Position, frozen: Frozen, batch: Split) -> Array:
        logits = apply(position, frozen, batch.inputs)
        of_labels = -jnp.mean(categorical_loglikelihood(logits, jnp.asarray(batch.targets)))
        return of_labels + label_smoothing * (uniform_cross_entropy(logits) - of_labels)

    return loss


def uniform_cross_entropy(logits: Array) -> Array:
    """Return the mean cross-entropy of logits [rows, classes] against a target that is even over the classes []."""
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - jnp.mean(logits, axis=-1))


def squared_error(apply: Callable[..., Array], position: Position, frozen: Frozen, batch: Split) -> Array:
    """Return the mean squared error of a regressor over rows and targets []."""
    return jnp.mean(jnp.square(apply(position, frozen, batch.inputs) - batch.targets))


TASK_LOSSES: dict[str, Loss] = {"classification": cross_entropy, "regression": squared_error}
