"""The metric that outputs on some inputs give to parameters: how far a small step moves the function there.

A step d changes outputs f by J d, so their squared change is ``d^T g d`` with ``g = J^T J`` summed over inputs: the
output metric. Of probabilities p = softmax(f) the Fisher metric ``J^T (diag p - p p^T) J`` tells what the step does:
the Kullback-Leibler divergence is half of ``d^T g d``, and the Bhattacharyya distance an eighth, up to third order
(Amari 2016, "Information geometry and its applications", section 3.5). Directions with ``J d = 0`` are its null space.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax.errors import InputError
from asymjax.types import Array, Graph, Position, PyTree

OutputsOf = Callable[[Position, Any], Array]
"""(position, inputs [rows, ...]) -> outputs [rows, outputs]; each row's outputs are of its input alone."""
Metric = Literal["output", "fisher"]


def bhattacharyya(outputs: Array, others: Array) -> Array:
    """Return the Bhattacharyya distances between probabilities of logits [rows, classes]: -log sum_c sqrt(p_c q_c).

    From log probabilities, so that it is zero between equals (Bhattacharyya 1943). [rows], zero or more: what rounding
    makes less is told as zero, with derivatives as they are.
    """
    both = (jax.nn.log_softmax(outputs) + jax.nn.log_softmax(others)) / 2
    found = -jax.nn.logsumexp(both, axis=-1)
    return jnp.where(found < 0, found - lax.stop_gradient(found), found)


def squared_distance(outputs: Array, others: Array) -> Array:
    """Return the squared Euclidean distances between outputs [rows, outputs], [rows]."""
    return jnp.sum(jnp.square(outputs - others), axis=-1)


def jacobian(outputs_of: OutputsOf, position: Position, inputs: Any, metric: Metric = "output") -> Array:
    """Return the matrix J whose ``J^T J`` is the metric, summed over rows.

    Parameters
    ----------
    outputs_of : the network.
    position : where.
    inputs : [rows, ...], no graph.
    metric : ``"output"``, the derivatives of outputs; or ``"fisher"``, those of logits times ``A^T`` of each row, with
        ``A = diag(sqrt p) - p sqrt(p)^T``, since ``A A^T = diag p - p p^T``.

    Returns
    -------
    [rows * outputs, parameters]; columns in the order of ``jax.flatten_util.ravel_pytree`` of the position.

    Raises
    ------
    InputError
        If inputs are a graph, whose nodes are not seen one by one.
    """
    refuse_graphs(inputs)
    flat, unravel = ravel_pytree(position)

    def of_row(row: Any) -> Array:
        def outputs(flat: Array) -> Array:
            return outputs_of(unravel(flat), jax.tree.map(lambda leaf: leaf[None], row))[0]

        found = jax.jacrev(outputs)(flat)
        return found if metric == "output" else _weigh(outputs(flat), found)

    return jax.vmap(of_row)(inputs).reshape(-1, flat.size)


def refuse_graphs(inputs: Any) -> None:
    """Refuse graphs.

    Raises
    ------
    InputError
        If inputs are one.
    """
    if isinstance(inputs, Graph):
        raise InputError("the inputs are a graph, whose outputs are not each of one input; give rows")


def _weigh(logits: Array, derivatives: Array) -> Array:
    """Multiply what stands beside classes [..., classes, any] by A^T of the logits [..., classes]."""
    p = jax.nn.softmax(logits)
    mean = jnp.sum(p[..., None] * derivatives, axis=-2, keepdims=True)
    return jnp.sqrt(p)[..., None] * (derivatives - mean)


class Products(NamedTuple):
    """Products with the matrix of :func:`jacobian`, which is not formed.

    Attributes
    ----------
    push : (tree like the position) -> J v [rows, outputs].
    pull : ([rows, outputs]) -> J^T u, a tree like the position.
    """

    push: Callable[[PyTree], Array]
    pull: Callable[[Array], PyTree]


def make_products(outputs_of: OutputsOf, position: Position, inputs: Any, metric: Metric = "output") -> Products:
    """Return products with the matrix of :func:`jacobian` by one forward and one reverse derivative."""

    def here(position: Position) -> Array:
        return outputs_of(position, inputs)

    def push(vector: PyTree) -> Array:
        outputs, change = jax.jvp(here, (position,), (vector,))
        return change if metric == "output" else _weigh(outputs, change[..., None])[..., 0]

    def pull(cotangent: Array) -> PyTree:
        outputs, back = jax.vjp(here, position)
        return back(cotangent if metric == "output" else _weigh_back(outputs, cotangent))[0]

    return Products(push, pull)


def _weigh_back(logits: Array, cotangent: Array) -> Array:
    """Multiply [rows, classes] by A of the logits."""
    p = jax.nn.softmax(logits)
    spread = jnp.sqrt(p) * cotangent
    return spread - p * jnp.sum(spread, axis=-1, keepdims=True)
