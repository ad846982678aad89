"""The null space of the metric in three parts: architectural, hidden, and of the data.

Directions in weight space along which outputs do not change to first order. *Architectural* ones are those of the
continuous symmetries, there at all weights. *Hidden* ones change the outputs of no input at these weights alone, as of
units that are off for every input (Grigsby et al. 2023, arXiv 2306.06179); random inputs of spread 3 stand for any,
which miss small linear regions, so that of narrow deep networks this part is an upper bound. Those of the *data* leave
the outputs at the given inputs alone, and change others. What is a part of an earlier kind is not counted again.
"""

import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.experimental.sparse.linalg import lobpcg_standard
from jax.flatten_util import ravel_pytree

from asymjax import trees
from asymjax.errors import InputError
from asymjax.paths.metric import Metric, OutputsOf, jacobian, make_products, refuse_graphs
from asymjax.symmetry.continuous import ContinuousGroup, directions, find_group, random_rows
from asymjax.types import Array, Frozen, Key, Model, Position

TOLERANCE = 1e-10
"""Share of the largest singular value below which one counts as zero, in double precision."""
OUTPUTS_PER_PARAMETER = 2
"""Of random inputs that stand for any; and so many times more of them than an input has entries."""
MOST_PARAMETERS = 6_000
"""Trainable parameters up to which the null space is counted: matrices of their square are decomposed."""


class NullSpace(NamedTuple):
    """Numbers of independent null directions of one network, and the spectrum of its metric.

    Attributes
    ----------
    num_parameters : trainable parameters, the sum of all parts and of the rank.
    architectural, hidden, data : numbers of directions of each kind.
    singular_values : float64 [parameters], descending, of the Jacobian at the given inputs, zeros where it has fewer
        rows; architectural directions are taken out. Their squares are the eigenvalues of the metric.
    residual : how much the architectural directions change outputs relative to others, about 1e-16 and, of a LayerNorm
        with its epsilon, 1e-6.
    """

    num_parameters: int
    architectural: int
    hidden: int
    data: int
    singular_values: np.ndarray
    residual: float

    @property
    def rank(self) -> int:
        """Number of directions that change outputs at the given inputs."""
        return self.num_parameters - self.architectural - self.hidden - self.data


def split_null_space(
    model: Model,
    frozen: Frozen,
    position: Position,
    inputs: Any,
    group: ContinuousGroup | None = None,
    metric: Metric = "output",
) -> NullSpace:
    """Count the null directions of the metric at a network, in double precision.

    Parameters
    ----------
    model, frozen, position : the network.
    inputs : [rows, ...] the data.
    group : of the model and its constants; for ``"fisher"`` the one that is up to a constant. Default: it is found.
    metric : as of :func:`~asymjax.paths.metric.jacobian`.

    Raises
    ------
    InputError
        If there are more than ``MOST_PARAMETERS`` parameters, or inputs are a graph.

    Examples
    --------
    >>> import jax, numpy as np, asymjax
    >>> from flax import linen as nn
    >>> from asymjax.paths.null_space import split_null_space
    >>> x = np.random.default_rng(0).normal(size=(40, 3))
    >>> model = asymjax.from_flax(nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(1)]), x.astype("float32"))
    >>> frozen = model.freeze(jax.random.key(0))
    >>> position = model.init(jax.random.key(1), frozen)
    >>> split_null_space(model, frozen, position, x).architectural
    4
    """
    refuse_graphs(inputs)
    count = trees.num_entries(position)
    if count > MOST_PARAMETERS:
        raise InputError(
            f"the network has {count:,} trainable parameters; null directions are counted up to {MOST_PARAMETERS:,}, "
            "and leading_eigenvalues takes larger ones"
        )
    group = find_group(model, frozen, up_to_constant=metric == "fisher") if group is None else group
    with jax.enable_x64(True):
        position, data = (jax.tree.map(_double, tree) for tree in (position, inputs))
        others = random_rows(model, _enough_rows(model, frozen, position, data), np.random.default_rng(1))
        known = _orthonormal(np.asarray(directions(group, model, position, frozen)))
        of_data, of_others = (
            _triangle(_blocks(model, frozen, position, rows, metric), known) for rows in (data, others)
        )
    values = _singular_values(of_data.triangle)
    rank_everywhere = _rank(_singular_values(np.concatenate([of_data.triangle, of_others.triangle])))
    return NullSpace(
        num_parameters=count,
        architectural=known.shape[1],
        hidden=count - known.shape[1] - rank_everywhere,
        data=rank_everywhere - _rank(values),
        singular_values=values,
        residual=of_others.residual,
    )


def _enough_rows(model: Model, frozen: Frozen, position: Position, rows: Any) -> int:
    outputs = jax.eval_shape(model.apply, position, frozen, rows)
    num_entries = trees.num_entries(jax.tree.map(lambda leaf: leaf[0], rows))
    return OUTPUTS_PER_PARAMETER * max(trees.num_entries(position) // math.prod(outputs.shape[1:]) + 1, num_entries)


def _blocks(model: Model, frozen: Frozen, position: Position, rows: Any, metric: Metric) -> Iterator[np.ndarray]:
    """Yield the Jacobian at some rows after the other, [rows * outputs, parameters] each."""
    at_once = _enough_rows(model, frozen, position, rows)  # Few blocks, since each is factorised with all before.
    for start in range(0, len(jax.tree.leaves(rows)[0]), at_once):
        some = jax.tree.map(lambda leaf, i=start: leaf[i : i + at_once], rows)
        yield np.asarray(_jacobian_of(model.apply, metric, position, frozen, some))


@partial(jax.jit, static_argnums=(0, 1))
def _jacobian_of(apply: Any, metric: Metric, position: Position, frozen: Frozen, rows: Any) -> Array:
    """Return the Jacobian; compiled once for all networks of a model."""
    return jacobian(lambda position, inputs: apply(position, frozen, inputs), position, rows, metric)


class _Reduced(NamedTuple):
    """A matrix without some directions: its triangle, and how large it was along them relative to the whole."""

    triangle: np.ndarray
    residual: float


def _triangle(blocks: Iterable[np.ndarray], known: np.ndarray) -> _Reduced:
    """Take directions [parameters, dim] out of the rows of a matrix, and return what has the same singular values."""
    triangle: np.ndarray = np.zeros((0, len(known)))
    along, length = 0.0, np.finfo(float).tiny
    for block in blocks:
        share = block @ known
        along, length = along + np.sum(share**2), length + np.sum(block**2)
        triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, block - share @ known.T]), mode="r"))
    return _Reduced(triangle, float(np.sqrt(along / length)))


def _double(leaf: Any) -> Array:
    return jnp.asarray(leaf, np.float64) if np.issubdtype(leaf.dtype, np.floating) else jnp.asarray(leaf)


def _orthonormal(vectors: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of columns, fewer where some depend on others."""
    if not vectors.shape[1]:
        return vectors
    basis, triangle, _ = scipy.linalg.qr(vectors, mode="economic", pivoting=True)
    sizes = np.abs(np.diag(triangle))
    return basis[:, : int(np.sum(sizes > TOLERANCE * sizes[0]))]


def _singular_values(matrix: np.ndarray) -> np.ndarray:
    """Return the singular values, as many as there are columns."""
    values = np.linalg.svd(matrix, compute_uv=False)[: matrix.shape[1]]
    return np.pad(values, (0, matrix.shape[1] - len(values)))


def _rank(values: np.ndarray) -> int:
    return int(np.sum(values > TOLERANCE * values[0]))


def leading_eigenvalues(
    outputs_of: OutputsOf,
    position: Position,
    inputs: Any,
    key: Key,
    num_eigenvalues: int = 10,
    metric: Metric = "output",
    num_steps: int = 100,
) -> Array:
    """Return the largest eigenvalues of a metric that is not formed, descending [num_eigenvalues].

    By the locally optimal block preconditioned conjugate gradients of Knyazev (2001), as JAX has them, from products
    alone; for networks of any size.

    Parameters
    ----------
    outputs_of, position, inputs, metric : as of :func:`~asymjax.paths.metric.jacobian`.
    key : of the vectors that it starts from.
    num_eigenvalues : at most a fifth of the parameters.
    num_steps : steps at most, each of so many products.

    Raises
    ------
    InputError
        If so many eigenvalues are asked for of so few parameters.
    """
    flat, unravel = ravel_pytree(position)
    if not 0 < num_eigenvalues * 5 < flat.size:
        raise InputError(f"{num_eigenvalues} eigenvalues of {flat.size} parameters; give 1 to {(flat.size - 1) // 5}")
    products = make_products(outputs_of, position, inputs, metric)

    def product(columns: Array) -> Array:
        return jax.vmap(lambda one: ravel_pytree(products.pull(products.push(unravel(one))))[0], 1, 1)(columns)

    return lobpcg_standard(product, jax.random.normal(key, (flat.size, num_eigenvalues), flat.dtype), num_steps)[0]
