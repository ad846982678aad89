"""Gradients from a few rows, in coordinates in units of the prior's standard deviation.

Priors that scale with the fan-in make the leaves of a position differ by orders of magnitude, while the samplers here
have one step size. They walk in ``z = position / prior_scale``, leaf by leaf: a constant preconditioner, which leaves
the target as it is.
"""

from collections.abc import Callable

import jax

from asymjax.inference.algorithm import Target
from asymjax.types import Array, Key, Position, PyTree

Gradient = Callable[[PyTree, Key], PyTree]


def whiten(position: Position, prior_scale: PyTree) -> PyTree:
    """Return a position in units of the prior's standard deviation, not shifted by the prior's mean."""
    return jax.tree.map(lambda leaf, scale: leaf / scale, position, prior_scale)


def unwhiten(z: PyTree, prior_scale: PyTree) -> Position:
    """Undo :func:`whiten`."""
    return jax.tree.map(lambda leaf, scale: leaf * scale, z, prior_scale)


def full_gradient(target: Target, position: Position) -> PyTree:
    """Return the gradient over all rows at a position, with respect to z."""
    return unwhiten(jax.grad(target.logdensity)(position), target.prior_scale)


def make_gradient(
    target: Target, batch_size: int, centre: Position | None = None, centre_gradient: PyTree | None = None
) -> Gradient:
    """Return (z, key) -> unbiased estimate of the gradient of the log density with respect to z.

    With a centre it is ``estimate(z) - estimate(centre) + centre_gradient``, both estimates from the same rows: control
    variates (Baker et al. 2019, "Control variates for stochastic gradient MCMC", equation 6). Exact at the centre; far
    from it, where the two estimates do not move together any more, noisier than the plain estimate.

    Parameters
    ----------
    target : the density.
    batch_size : rows of an estimate, at least 1.
    centre, centre_gradient : a position and what :func:`full_gradient` returns there, or None for the plain estimate.
    """

    def estimate(position: Position, key: Key) -> PyTree:
        gradient = jax.grad(lambda position: target.estimate(key, position, batch_size))(position)
        return unwhiten(gradient, target.prior_scale)

    def plain(z: PyTree, key: Key) -> PyTree:
        return estimate(unwhiten(z, target.prior_scale), key)

    if centre is None:
        return plain

    def controlled(z: PyTree, key: Key) -> PyTree:
        here, there = plain(z, key), estimate(centre, key)
        return jax.tree.map(lambda a, b, full: a - b + full, here, there, centre_gradient)

    return controlled


def gradient_cost(target: Target, batch_size: int, control_variates: bool) -> float:
    """Return what one estimate costs, in gradients over all rows."""
    return batch_size / target.num_rows * (2 if control_variates else 1)


def add_scaled(z: PyTree, step: PyTree, scale: Array) -> PyTree:
    """Return ``z + scale * step``."""
    return jax.tree.map(lambda leaf, change: leaf + scale * change, z, step)
