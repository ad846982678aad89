"""Laplace's approximation: a Gaussian around an optimum, as wide as the curvature there (MacKay 1992).

Curvature is the generalised Gauss-Newton matrix in z = position / prior_scale, over the rows n of data,

    Lambda = (sum_n J_n^T F_n J_n + 1) / T,

with J_n the Jacobian of the predictive parameters of row n and F_n their Fisher information, which for logits and means
is the Hessian of the negative log likelihood (Martens 2020, arXiv 1412.1193; Daxberger et al. 2021, arXiv 2106.14806).
The 1 is the prior's precision. Several chains are a mixture of Laplace approximations, each around an optimum of its
own. Draws are of whole networks: nothing is linearised.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax import trees
from asymjax.errors import InputError
from asymjax.inference.algorithm import Stage, Target
from asymjax.inference.samplers.gradients import unwhiten
from asymjax.inference.vi.family import Family, Moments
from asymjax.inference.vi.fullrank import Dense, dense_family, require_few, unraveller
from asymjax.inference.vi.meanfield import DIAGONAL, Diagonal
from asymjax.inference.vi.variational import Descent, FitState, Parts
from asymjax.settings import Count
from asymjax.types import Array, Graph, Key, PyTree


class LastLayer(NamedTuple):
    """A point, with a Gaussian over the entries of its output layer.

    Attributes
    ----------
    mean : tree like z.
    log_diagonal, below : of the factor of the covariance of the output layer's entries, as of :class:`Dense`.
    """

    mean: PyTree
    log_diagonal: Array
    below: Array


def output_leaves(target: Target) -> list[str]:
    """Return the paths of the leaves of a position that belong to the output layer: its kernel, and the bias beside it.

    Raises
    ------
    InputError
        If no leaf of the position is one.
    """
    layers, position = target.posterior.model.layers, trees.flatten(target.posterior.shape)
    places = {path.rpartition("/")[0] for path, layer in layers.items() if layer.is_output}
    paths = [
        path
        for path in position
        if path in layers
        and path.rpartition("/")[0] in places
        and (layers[path].is_output or layers[path].role == "bias")
    ]
    if not paths:
        raise InputError("the network has no output kernel that is a leaf of its own; take curvature full or diagonal")
    return paths


def part_of(z: PyTree, paths: list[str] | None) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
    """Return the leaves of some paths, or all, and what puts others in their place."""
    if paths is None:
        return z, lambda part: part
    leaves = trees.flatten(z)
    return {path: leaves[path] for path in paths}, lambda part: trees.unflatten(leaves | part)


def last_layer_family(paths: list[str]) -> Family:
    """Return Gaussians over the leaves of some paths, with the others at a point: parameters :class:`LastLayer`."""

    def gaussian(params: LastLayer) -> tuple[Family, Dense, Callable[[PyTree], PyTree]]:
        part, put = part_of(params.mean, paths)
        mean, unravel = ravel_pytree(part)
        return dense_family(unravel), Dense(mean, params.log_diagonal, params.below), put

    def draw(params: LastLayer, key: Key) -> PyTree:
        family, dense, put = gaussian(params)
        return put(family.draw(dense, key))

    def moments(params: LastLayer) -> Moments:
        family, dense, _ = gaussian(params)
        _, put = part_of(jax.tree.map(jnp.zeros_like, params.mean), paths)
        _, variance = family.moments(dense)  # type: ignore[misc]
        return params.mean, put(variance)

    return Family(draw, None, moments=moments)


def gauss_newton(target: Target, z: PyTree, paths: list[str] | None, *, is_diagonal: bool) -> Array:
    """Return sum_n J_n^T F_n J_n over the leaves of some paths, or all, as one vector; rows one after the other.

    Parameters
    ----------
    target, z : where.
    paths : leaves that have curvature.
    is_diagonal : whether to return the diagonal alone [coordinates], else all [coordinates, coordinates].
    """
    posterior = target.posterior
    part, put = part_of(z, paths)
    flat, unravel = ravel_pytree(part)

    def of_row(flat: Array, inputs: Any) -> Array:
        position = unwhiten(put(unravel(flat)), target.prior_scale)
        return posterior.predict(position, posterior.frozen, jax.tree.map(lambda leaf: leaf[None], inputs))[0]

    def add(total: Array, inputs: Any) -> tuple[Array, None]:
        jacobian = jax.jacrev(of_row)(flat, inputs)
        weighted = posterior.likelihood.information(of_row(flat, inputs)) @ jacobian
        one = jnp.sum(jacobian * weighted, axis=0) if is_diagonal else jacobian.T @ weighted
        return total + one, None

    zero = jnp.zeros((flat.size,) if is_diagonal else (flat.size, flat.size), flat.dtype)
    total, _ = lax.scan(add, zero, posterior.data.inputs)
    return total


def num_outputs(target: Target) -> int:
    """Return how many numbers a predictive distribution has, each of which takes a gradient."""
    posterior = target.posterior
    return jax.eval_shape(posterior.predict, posterior.shape, posterior.frozen, posterior.data.inputs).shape[-1]


def factor_of_inverse(precision: Array) -> Array:
    """Return the lower triangular L with L L^T the inverse of a matrix; NaN where it is not positive definite."""
    upper = jnp.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1]
    return jax.scipy.linalg.solve_triangular(upper, jnp.eye(len(precision), dtype=precision.dtype), trans="T")


@dataclass(frozen=True)
class Laplace(Descent):
    """A Gaussian around an optimum, from the generalised Gauss-Newton matrix there; its draws are independent.

    The start is first refined to an optimum by steps of Adam on the log density over all rows.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.Laplace(curvature="full").curvature
    'full'
    """

    num_warmup: Count = 2_000
    """Steps from the start to an optimum."""
    curvature: Literal["full", "last_layer", "diagonal"] = "diagonal"
    """All of the matrix; its block of the output layer, with all other entries at the optimum, so that draws have no
    density and no ELBO; or its diagonal. The first two for 2,000 coordinates at most, those of the output layer."""

    def paths(self, target: Target) -> list[str] | None:
        """Return the leaves that have curvature; None for all."""
        return output_leaves(target) if self.curvature == "last_layer" else None

    def family(self, target: Target) -> Family:
        """Return the family over z for a target.

        Raises
        ------
        InputError
            If there is no network, its rows hang together, or there are too many coordinates.
        """
        posterior = target.posterior
        if posterior.model is None:
            raise InputError("laplace needs the outputs of a network; give a posterior, or take pathfinder")
        if isinstance(posterior.data.inputs, Graph):
            raise InputError("laplace takes rows one at a time; a graph has none, take pathfinder or meanfield")
        if self.curvature == "diagonal":
            return DIAGONAL
        paths = self.paths(target)
        part, _ = part_of(posterior.shape, paths)
        require_few(trees.num_entries(part), f"laplace with curvature {self.curvature}", "curvature diagonal")
        return dense_family(unraveller(posterior.shape)) if paths is None else last_layer_family(paths)

    def first(self, key: Key, z: PyTree, target: Target) -> Dense | LastLayer | Diagonal:
        """Return its parameters at a start, with no width yet."""
        if self.curvature == "diagonal":
            return Diagonal(z, jax.tree.map(jnp.zeros_like, z))
        flat, _ = ravel_pytree(part_of(z, self.paths(target))[0])
        width = jnp.zeros_like(flat), jnp.zeros((flat.size, flat.size), flat.dtype)
        return Dense(flat, *width) if self.curvature == "full" else LastLayer(z, *width)

    def init_optimizer(self, params: Any) -> Any:
        """Return what the optimizer has before the first step."""
        return self.optimizer.init(params.mean)

    def update(self, parts: Parts, params: Any, optimizer: Any, key: Key, target: Target) -> tuple[Any, Any, Array]:
        """Take one step of the mean up the log density, which it returns."""

        def loss(mean: Any) -> Array:
            return -target.logdensity(unwhiten(mean_of(parts.family, params._replace(mean=mean)), target.prior_scale))

        value, gradient = jax.value_and_grad(loss)(params.mean)
        change, optimizer = self.optimizer.update(gradient, optimizer)
        return params._replace(mean=optax.apply_updates(params.mean, change)), optimizer, -value

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Chunks of the way to the optimum, its curvature, and the estimate of the bound."""
        *fits, judge = super().stages
        return (*fits, Stage(self.curve, 1), judge)

    def curve(
        self, key: Key, state: FitState, first: Array, setting: Array, target: Target
    ) -> tuple[FitState, dict[str, Array]]:
        """Give the Gaussian its width, and estimate the evidence: log p(D, z) + (d / 2) log 2 pi - log |Lambda| / 2."""
        parts, params = self.whole(target), state.fitted.params
        z = mean_of(parts.family, params)
        matrix = gauss_newton(target, z, self.paths(target), is_diagonal=self.curvature == "diagonal")
        temperature = target.posterior.temperature
        if self.curvature == "diagonal":
            _, unravel = ravel_pytree(z)
            params = params._replace(log_scale=unravel(-0.5 * jnp.log((matrix + 1) / temperature)))
        else:
            factor = factor_of_inverse((matrix + jnp.eye(len(matrix), dtype=matrix.dtype)) / temperature)
            below = factor * math.sqrt(len(factor))
            params = params._replace(log_diagonal=jnp.log(jnp.diag(factor)), below=below)
        fitted = state.fitted._replace(params=params)
        if parts.family.entropy is not None:
            joint = parts.joint.loglikelihood(z, parts.joint.take(key)) + parts.joint.logprior(z)
            entropy = parts.family.entropy(params)
            fitted = fitted._replace(log_evidence=joint + entropy - 0.5 * trees.num_entries(z))
        metrics = {
            "logdensity": target.logdensity(unwhiten(z, target.prior_scale)),
            "num_grad_evals": jnp.asarray(num_outputs(target), jnp.float32),
        }
        return state._replace(fitted=fitted), metrics


def mean_of(family: Family, params: Any) -> PyTree:
    """Return the mean of a Gaussian as a tree z."""
    return family.moments(params)[0]  # type: ignore[misc]
