"""Elastic weight consolidation: a network is held where outputs on old inputs depend on it, weight by weight.

Kirkpatrick et al. (2017), "Overcoming catastrophic forgetting in neural networks", equation 3. It is the
penalty of an invariant path with the metric cut down to its diagonal, and kept as it was at the start.
"""

import jax
import jax.numpy as jnp
from jax import lax

from asymjax.paths.metric import OutputsOf, refuse_graphs
from asymjax.types import Array, Key, Position


def fisher_diagonal(outputs_of: OutputsOf, position: Position, inputs: Array) -> Position:
    """Return the diagonal of the Fisher information of a classifier, a mean over inputs, a tree like the position.

    The expectation over classes is taken in full, ``sum_c p_c (d log p_c / d w)^2``: no labels are drawn or needed.

    Parameters
    ----------
    outputs_of : (position, inputs [rows, ...]) -> logits [rows, classes].
    position : where.
    inputs : [rows, ...], one after the other.

    Raises
    ------
    InputError
        If the inputs are a graph.
    """
    refuse_graphs(inputs)

    def of_row(total: Position, row: Array) -> tuple[Position, None]:
        def log_probabilities(position: Position) -> Array:
            return jax.nn.log_softmax(outputs_of(position, row[None])[0])

        found, back = jax.vjp(log_probabilities, position)
        (slopes,) = jax.vmap(back)(jnp.eye(len(found), dtype=found.dtype))
        return jax.tree.map(
            lambda sum_, slope: sum_ + jnp.tensordot(jnp.exp(found), jnp.square(slope), 1), total, slopes
        ), None

    total, _ = lax.scan(of_row, jax.tree.map(jnp.zeros_like, position), inputs)
    return jax.tree.map(lambda leaf: leaf / len(inputs), total)


def elastic(key: Key, position: Position, data: tuple[Position, Position]) -> Array:
    """Return ``1/2 sum_i F_i (w_i - w0_i)^2`` [], an objective.

    Parameters
    ----------
    key : unused.
    position : w.
    data : (w0, F), as of :func:`fisher_diagonal`.
    """
    squares = jax.tree.map(lambda w, start, f: jnp.sum(f * jnp.square(w - start)), position, *data)
    return sum(jax.tree.leaves(squares), jnp.zeros(())) / 2
