"""Curvature of a loss at a network: diagonal and trace of the Hessian, and its largest eigenvalue, from products alone.

No Hessian is formed: a product with it is one forward derivative of a gradient. Of a sparse network the Hessian is that
among its kept entries; the probes of one key are the same whatever the mask, so that networks which are compared meet
the same probes.

Probes and integrands are those of ``matfree``. Two things of it would not do. It draws all probes at once and maps over
them side by side, so that memory grows with their number; here they follow each other. And its steps of Lanczos keep
all vectors, of which a large network has no room for thirty, and make each orthogonal to all before, which takes longer
than the products; without that it multiplies twice a step, and where the steps exhaust the space, as of a network of
few entries, it goes on with noise. So the steps are written here, with three vectors and a cut.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from matfree import stochtrace

from asymjax import rng, trees
from asymjax.symmetry.connectivity import Rows, interpolate
from asymjax.train.losses import categorical_loglikelihood
from asymjax.types import Array, Frozen, Graph, Key, Model, Position, PyTree

LossOf = Callable[[Any], Array]
"""(position) -> []; of any tree of floating arrays."""
NUM_PROBES, NUM_STEPS = 100, 30


class Diagonal(NamedTuple):
    """Estimates over probes.

    Attributes
    ----------
    diagonal : of the Hessian, a tree like the position; zeros where the mask keeps nothing.
    trace : [] its sum.
    trace_error : [] standard error of the trace; NaN of one probe.
    """

    diagonal: PyTree
    trace: Array
    trace_error: Array


class Largest(NamedTuple):
    """The largest eigenvalue.

    Attributes
    ----------
    value : [] the largest, not the largest in magnitude; never above the true one, but for rounding.
    residual : [] some eigenvalue is within this of the value; large where more steps are needed.
    """

    value: Array
    residual: Array


class Curvature(NamedTuple):
    """Trace and largest eigenvalue, as of :class:`Diagonal` and :class:`Largest`; [] each, or [point] along a path."""

    trace: Array
    trace_error: Array
    largest: Array
    largest_residual: Array


def mean_loss(model: Model, task: str, frozen: Frozen, rows: Rows) -> LossOf:
    """Return the mean cross-entropy or squared error of rows as a function of the position.

    Derivatives keep the activations of one batch at a time.

    Parameters
    ----------
    model, frozen : the network, and its constants.
    task : ``"classification"`` or ``"regression"``.
    rows : as of :func:`~asymjax.symmetry.connectivity.in_batches`.
    """
    num_batches, num_rows = len(jax.tree.leaves(rows.inputs)[0]), len(rows.targets)
    size = num_rows if isinstance(rows.inputs, Graph) else rows.inputs.shape[1]
    missing = num_batches * size - num_rows
    targets = jnp.pad(rows.targets, [(0, missing)] + [(0, 0)] * (rows.targets.ndim - 1))
    is_row = jnp.arange(num_batches * size) < num_rows
    batches = (rows.inputs, targets.reshape(num_batches, size, *targets.shape[1:]), is_row.reshape(num_batches, size))

    def loss(position: Position) -> Array:
        def add(total: Array, batch: tuple[Any, Array, Array]) -> tuple[Array, None]:
            inputs, targets, is_row = batch
            losses = ROW_LOSSES[task](model.apply(position, frozen, inputs), targets)
            return total + jnp.sum(jnp.where(is_row, losses, 0)), None

        add = jax.checkpoint(add) if num_batches > 1 else add
        return lax.scan(add, jnp.zeros(()), batches)[0] / num_rows

    return loss


def _cross_entropies(logits: Array, labels: Array) -> Array:
    return -categorical_loglikelihood(logits, labels)


def _squared_errors(outputs: Array, targets: Array) -> Array:
    return jnp.mean(jnp.square(outputs - targets), axis=-1)


ROW_LOSSES = {"classification": _cross_entropies, "regression": _squared_errors}


def hessian_product(loss: LossOf, position: Any, kept: PyTree | None = None) -> Callable[[PyTree], PyTree]:
    """Return the product of a tree like the position with the Hessian among the entries that a mask keeps.

    Forward over reverse (Pearlmutter 1994, "Fast exact multiplication by the Hessian").

    Parameters
    ----------
    loss : (position) -> [].
    position : the network.
    kept : tree of booleans like the position, True where an entry is kept; None for all.
    """

    def product(vector: PyTree) -> PyTree:
        return _only(jax.jvp(jax.grad(loss), (position,), (_only(vector, kept),))[1], kept)

    return product


def _only(tree: PyTree, kept: PyTree | None) -> PyTree:
    if kept is None:
        return tree
    return jax.tree.map(lambda leaf, keep: jnp.where(keep, leaf, jnp.zeros_like(leaf)), tree, kept)


def hessian_diagonal(
    loss: LossOf, position: Any, key: Key, kept: PyTree | None = None, num_probes: int = NUM_PROBES
) -> Diagonal:
    """Estimate diagonal and trace of a Hessian by signs drawn at random, z * H z (Hutchinson 1990; Bekas et al. 2007).

    Unbiased; an entry of one probe has the variance ``sum over j != i of H_ij^2``, so a diagonal Hessian is met by
    one. Map it over networks with one key for all.

    Parameters
    ----------
    loss, position, kept : as of :func:`hessian_product`.
    key : of the probes.
    num_probes : products with the Hessian, one after the other.
    """
    product = hessian_product(loss, position, kept)
    sampler = stochtrace.sampler_signs(position, num=1)
    estimate = stochtrace.estimator_monte_carlo(stochtrace.monte_carlo_trace_and_diagonal(), sampler)

    def add(total: PyTree, key: Key) -> tuple[PyTree, Array]:
        found = estimate(product, key)
        return jax.tree.map(jnp.add, total, found["diagonal"]), found["trace"]

    keys = rng.member_keys(key, num_probes)
    total, traces = lax.scan(add, jax.tree.map(jnp.zeros_like, position), keys)
    error = jnp.std(traces, ddof=1) / jnp.sqrt(num_probes) if num_probes > 1 else jnp.full((), jnp.nan)
    return Diagonal(jax.tree.map(lambda leaf: leaf / num_probes, total), jnp.mean(traces), error)


def largest_eigenvalue(
    loss: LossOf, position: Any, key: Key, kept: PyTree | None = None, num_steps: int = NUM_STEPS
) -> Largest:
    """Find the largest eigenvalue of a Hessian by the steps of Lanczos (1950), from a start drawn at random.

    The largest, with its sign: what bounds the step size, not the largest in magnitude that power iteration finds.
    Vectors are not made orthogonal again, which repeats eigenvalues and moves none (Paige 1980).

    Parameters
    ----------
    loss, position, kept : as of :func:`hessian_product`.
    key : of the start.
    num_steps : products with the Hessian.
    """
    start = jax.tree.map(lambda leaf: leaf[0], stochtrace.sampler_signs(position, num=1)(key))
    product, start = hessian_product(loss, position, kept), _only(start, kept)

    def step(carry: tuple[PyTree, PyTree, Array], _: None) -> tuple[tuple[PyTree, PyTree, Array], tuple[Array, Array]]:
        before, here, length = carry
        ahead = product(here)
        along = optax.tree.vdot(here, ahead)
        rest = jax.tree.map(lambda far, near, past: far - along * near - length * past, ahead, here, before)
        added = trees.norm(rest)
        return (here, _divided(rest, added), added), (along, added)

    none = jax.tree.map(jnp.zeros_like, start)
    begun = (none, _divided(start, trees.norm(start)), trees.norm(none))
    return _largest_of(*lax.scan(step, begun, None, length=num_steps)[1])


def _divided(vector: PyTree, length: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf / jnp.where(length > 0, length, 1), vector)


def _largest_of(diagonal: Array, lengths: Array) -> Largest:
    """Return the largest eigenvalue of a tridiagonal matrix, up to where its steps have left the space.

    Parameters
    ----------
    diagonal, lengths : [step]; how long what each step adds to the space is, the last one's outside of the matrix.
    """
    scale = lax.cummax(jnp.abs(diagonal) + jnp.append(0.0, lengths[:-1]))
    goes_on = lax.cummin((lengths > EXHAUSTED * scale).astype(jnp.int32))
    last = jnp.minimum(jnp.sum(goes_on), len(diagonal) - 1)
    is_there = jnp.arange(len(diagonal)) <= last
    # An entry beyond is the first again, a mean of eigenvalues, so it is never above the largest.
    diagonal = jnp.where(is_there, diagonal, diagonal[0])
    beside = jnp.where(goes_on[:-1] > 0, lengths[:-1], 0)
    values, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(beside, 1) + jnp.diag(beside, -1))
    return Largest(values[-1], lengths[last] * jnp.abs(vectors[last, -1]))


EXHAUSTED = 1e-5
"""Share of the matrix below which what a step adds is rounding."""


def curvature(
    loss: LossOf,
    position: Any,
    key: Key,
    kept: PyTree | None = None,
    num_probes: int = NUM_PROBES,
    num_steps: int = NUM_STEPS,
) -> Curvature:
    """Measure trace and largest eigenvalue of a Hessian.

    Parameters
    ----------
    loss, position, key, kept : as of :func:`hessian_diagonal`.
    num_probes, num_steps : products for the trace, and for the eigenvalue.
    """
    of_diagonal = hessian_diagonal(loss, position, rng.named_key(key, "probes"), kept, num_probes)
    largest = largest_eigenvalue(loss, position, rng.named_key(key, "start"), kept, num_steps)
    return Curvature(of_diagonal.trace, of_diagonal.trace_error, *largest)


def curvature_along(
    loss: LossOf,
    start: Any,
    end: Any,
    points: Sequence[float] | np.ndarray,
    key: Key,
    kept: PyTree | None = None,
    num_probes: int = NUM_PROBES,
    num_steps: int = NUM_STEPS,
) -> Curvature:
    """Measure the curvature on the straight path between two networks, point after point, leaves [point].

    Parameters
    ----------
    loss, key, kept, num_probes, num_steps : as of :func:`curvature`; all points have the same probes.
    start, end : positions.
    points : [point] from 0 (``start``) to 1 (``end``).
    """

    def at(t: Array) -> Curvature:
        return curvature(loss, interpolate(start, end, t), key, kept, num_probes, num_steps)

    return lax.map(at, jnp.asarray(points, "float32"))


def summarise_diagonal(diagonal: PyTree, kept: PyTree | None = None) -> dict[str, Array]:
    """Return what is told of the diagonal of a Hessian, over the entries that a mask keeps.

    Returns
    -------
    ``mean``, ``mean_magnitude`` and ``percentile_99``, each [].
    """
    kept = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), diagonal) if kept is None else kept
    entries = jax.tree.map(lambda leaf, keep: jnp.where(keep, leaf, jnp.nan).ravel(), diagonal, kept)
    every = jnp.concatenate(jax.tree.leaves(entries))
    return {
        "mean": jnp.nanmean(every),
        "mean_magnitude": jnp.nanmean(jnp.abs(every)),
        "percentile_99": jnp.nanpercentile(every, 99),
    }


def stability_ratio(learning_rate: float | Array, momentum: float | Array, largest: Array) -> Array:
    """Return ``eta lambda / (2 + 2 beta)``, above 1 where gradient descent with momentum leaves a quadratic.

    Parameters
    ----------
    learning_rate, momentum : eta, and beta of heavy-ball momentum (Polyak 1964), 0 for none.
    largest : lambda, the largest eigenvalue of the Hessian.
    """
    return learning_rate * largest / (2 + 2 * momentum)
