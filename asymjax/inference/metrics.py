"""Diagonal metrics of the samplers, and how warmup estimates them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax.inference.algorithm import Target
from asymjax.inference.lazy import blackjax
from asymjax.types import Array, PyTree

# Weight of the previous metric in a new one, in draws; keeps the metric sane after a short window.
PRIOR_DRAWS = 10


class Metric(NamedTuple):
    """A diagonal inverse mass matrix [coordinates], and how the draws of warmup change it.

    ``state`` is that of a sampler, with a ``position`` and its ``logdensity_grad``.

    Attributes
    ----------
    begin : (state, target) -> inverse mass matrix.
    init : (state) -> moments.
    update : (moments, state, target) -> moments.
    final : (moments, state, target, inverse mass matrix in use) -> inverse mass matrix.
    """

    begin: Callable[[Any, Target], Array]
    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Target], Any]
    final: Callable[[Any, Any, Target, Array], Array]


def prior_metric(position: PyTree, prior_scale: PyTree) -> Array:
    """Return the variance of the prior as an inverse mass matrix [coordinates]."""
    variances = jax.tree.map(lambda leaf, scale: jnp.full(leaf.shape, scale**2, jnp.float32), position, prior_scale)
    return ravel_pytree(variances)[0]


def _prior(state: Any, target: Target) -> Array:
    return prior_metric(state.position, target.prior_scale)


def of_prior() -> Metric:
    """Return the variance of the prior, which nothing changes."""
    return Metric(
        begin=_prior,
        init=lambda state: (),
        update=lambda moments, state, target: (),
        final=lambda moments, state, target, metric: metric,
    )


def of_variances() -> Metric:
    """Return the variance of every coordinate (Welford's)."""
    init, update, final = blackjax.adaptation.mass_matrix.welford_algorithm(is_diagonal_matrix=True)

    def mixed(moments: Any, state: Any, target: Target, metric: Array) -> Array:
        variance, count, _ = final(moments)
        weight = count / (count + PRIOR_DRAWS)
        return weight * variance + (1 - weight) * metric

    return Metric(
        begin=_prior,
        init=lambda state: init(ravel_pytree(state.position)[0].size),
        update=lambda moments, state, target: update(moments, ravel_pytree(state.position)[0]),
        final=mixed,
    )


class Squares(NamedTuple):
    """Of each leaf the mean squared gradient in units of the prior, summed over draws; and how many draws."""

    total: PyTree
    num_draws: Array


def of_leaves() -> Metric:
    """Return one scale a leaf, d = (mean squared gradient)^(-1/4), first of the start alone and then of draws.

    Gradients are in units of the prior's standard deviation, and averaged over the entries of a leaf and over draws:
    for a Gaussian their mean square is the precision. Its fourth root goes half of the way from the prior's metric to
    the one in which all leaves are equally stiff. d is at most 1, as where the prior alone decides; then all are
    divided by their root mean square over coordinates, so that a trajectory is as long as in the prior's metric.
    """

    def squares(state: Any, target: Target) -> PyTree:
        def of_leaf(gradient: Array, scale: Any) -> Array:
            return jnp.mean(jnp.square(gradient * scale))

        return jax.tree.map(of_leaf, state.logdensity_grad, target.prior_scale)

    def metric(squares: PyTree, state: Any, target: Target) -> Array:
        def spread(square: Array, leaf: Array) -> Array:
            return jnp.full(leaf.shape, lax.rsqrt(jnp.maximum(square, 1.0)))

        shares, _ = ravel_pytree(jax.tree.map(spread, squares, state.position))
        return _prior(state, target) * shares / jnp.mean(shares)

    def update(moments: Squares, state: Any, target: Target) -> Squares:
        return Squares(jax.tree.map(jnp.add, moments.total, squares(state, target)), moments.num_draws + 1)

    def final(moments: Squares, state: Any, target: Target, old: Array) -> Array:
        return metric(jax.tree.map(lambda total: total / moments.num_draws, moments.total), state, target)

    return Metric(
        begin=lambda state, target: metric(squares(state, target), state, target),
        init=lambda state: Squares(jax.tree.map(lambda leaf: jnp.zeros(()), state.position), jnp.zeros(())),
        update=update,
        final=final,
    )


METRICS: dict[str, Callable[[], Metric]] = {"leaf": of_leaves, "prior": of_prior, "adapted": of_variances}
