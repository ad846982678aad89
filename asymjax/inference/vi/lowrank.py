"""Low rank: a Gaussian for every layer, of a diagonal and a few directions.

    q(weights of a layer) = N(mean, diag(scale^2) + (1 / R) sum over r of v_r v_r^T)

(Tomczak et al. 2020, "Efficient low rank Gaussian variational inference for neural networks", as Lim et al. 2024 use
it.) Theirs keeps the diagonal at a constant; here it is learned unless it is given. By default every row of a step sees
weights of its own, so that gradients are the quieter the more rows there are; draws are always whole networks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax import rng, trees
from asymjax.inference.algorithm import Target
from asymjax.inference.lazy import blackjax
from asymjax.inference.samplers.gradients import unwhiten
from asymjax.inference.vi.family import Family, Moments
from asymjax.inference.vi.meanfield import LOG_TWO_PI_E
from asymjax.inference.vi.variational import Parts, Variational
from asymjax.models.local_noise import forward_with_noise, local_layers
from asymjax.settings import Count, Positive
from asymjax.types import Array, Graph, Key, Position, PyTree


class LowRankParams(NamedTuple):
    """Means, logs of the diagonal's standard deviations, and factors v_r [rank, ...]; trees like z."""

    mean: PyTree
    log_scale: PyTree
    factors: PyTree


def layer_of(path: str) -> str:
    """Return the layer that a leaf belongs to: all but the last of its keys."""
    return path.rpartition("/")[0]


def by_layer(tree: PyTree) -> dict[str, dict[str, Array]]:
    """Return leaves by layer and name."""
    layers: dict[str, dict[str, Array]] = {}
    for path, leaf in trees.named_leaves(tree).items():
        layers.setdefault(layer_of(path), {})[path] = leaf
    return layers


def draw(params: LowRankParams, key: Key) -> PyTree:
    """Draw z; the noise of a factor is one number a layer."""
    noise = blackjax.util.generate_gaussian_noise(rng.named_key(key, "diagonal"), params.mean)
    factors = trees.named_leaves(params.factors)
    layers, rank = list(dict.fromkeys(map(layer_of, factors))), len(next(iter(factors.values())))
    eps = jax.random.normal(rng.named_key(key, "factors"), (len(layers), rank)) / math.sqrt(rank)
    shifts = {path: jnp.tensordot(eps[layers.index(layer_of(path))], leaf, 1) for path, leaf in factors.items()}
    return jax.tree.map(
        lambda mean, scale, noise, shift: mean + jnp.exp(scale) * noise + shift,
        params.mean,
        params.log_scale,
        noise,
        trees.with_leaves(params.mean, shifts),
    )


class Block(NamedTuple):
    """The covariance of one layer.

    Attributes
    ----------
    log_scale : [entries] logs of the standard deviations of the diagonal.
    scaled : [rank, entries] factors / sqrt(rank), over these standard deviations.
    root : [rank, rank] Cholesky factor of I + scaled scaled^T.
    """

    log_scale: Array
    scaled: Array
    root: Array

    @property
    def log_determinant(self) -> Array:
        """Log determinant of the covariance."""
        return 2 * jnp.sum(self.log_scale) + 2 * jnp.sum(jnp.log(jnp.diagonal(self.root)))


def blocks_of(params: LowRankParams) -> dict[str, Block]:
    """Return the covariance of every layer."""
    scales, factors = by_layer(params.log_scale), by_layer(params.factors)
    found = {}
    for layer, leaves in scales.items():
        log_scale, _ = ravel_pytree(leaves)
        factor = jax.vmap(lambda leaves: ravel_pytree(leaves)[0])(factors[layer])
        scaled = factor / math.sqrt(len(factor)) * jnp.exp(-log_scale)[None]
        root = jnp.linalg.cholesky(jnp.eye(len(factor)) + jnp.matmul(scaled, scaled.T, precision="highest"))
        found[layer] = Block(log_scale, scaled, root)
    return found


def logdensity(params: LowRankParams, z: PyTree) -> Array:
    """Return the log density, by Woodbury's identity."""
    centred = by_layer(jax.tree.map(jnp.subtract, z, params.mean))
    total = jnp.zeros(())
    for layer, block in blocks_of(params).items():
        noise = ravel_pytree(centred[layer])[0] * jnp.exp(-block.log_scale)
        inside = jax.scipy.linalg.solve_triangular(block.root, block.scaled @ noise, lower=True)
        square = jnp.sum(jnp.square(noise)) - jnp.sum(jnp.square(inside))
        total -= 0.5 * (square + block.log_determinant + noise.size * math.log(2 * math.pi))
    return total


def entropy(params: LowRankParams) -> Array:
    """Return the entropy."""
    blocks = blocks_of(params).values()
    return 0.5 * jnp.sum(jnp.stack([block.log_determinant + LOG_TWO_PI_E * block.log_scale.size for block in blocks]))


def moments(params: LowRankParams) -> Moments:
    """Return mean and variance of every entry."""
    variance = jax.tree.map(
        lambda scale, factor: jnp.exp(2 * scale) + jnp.mean(jnp.square(factor), axis=0),
        params.log_scale,
        params.factors,
    )
    return params.mean, variance


@dataclass(frozen=True)
class LowRank(Variational):
    """A Gaussian for every layer: a diagonal, and a few directions in which all its weights move together.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.LowRank(rank=4, fixed_variance=4.5e-5, likelihood_weight=8).rank
    4
    """

    rank: Count = 4
    """Directions of a layer."""
    fixed_variance: Positive | None = None
    """Variance of the diagonal, in the units of the weights, if it is not learned: exp(-10) in Lim et al. (2024)."""
    local: bool = True
    """Let every row of a step see weights of its own, in dense layers and convolutions of Linen; all
    rows share a draw in others, and without."""

    def family(self, target: Target) -> Family:
        """Return the family over z for a target."""
        outputs = self._make_outputs(target) if self.local else None
        return Family(draw, logdensity, entropy, moments, outputs=outputs)

    def objective(self, parts: Parts, params: LowRankParams, key: Key) -> tuple[Array, Array]:
        """Return an estimate of the bound; without a gradient for a diagonal that is given."""
        if self.fixed_variance is not None:
            params = params._replace(log_scale=lax.stop_gradient(params.log_scale))
        return super().objective(parts, params, key)

    def first(self, key: Key, z: PyTree, target: Target) -> LowRankParams:
        """Return its parameters around a start."""
        zeros = jax.tree.map(lambda leaf: jnp.zeros((self.rank, *leaf.shape), leaf.dtype), z)
        factors = blackjax.util.generate_gaussian_noise(key, zeros, sigma=self.init_scale)

        def log_scale(leaf: Array, scale: float) -> Array:
            of_prior = self.init_scale if self.fixed_variance is None else math.sqrt(self.fixed_variance) / scale
            return jnp.full_like(leaf, jnp.log(of_prior))

        return LowRankParams(z, jax.tree.map(log_scale, z, target.prior_scale), factors)

    def _make_outputs(self, target: Target) -> Callable[[LowRankParams, Key, Array], Array] | None:
        """Return outputs with noise of its own in every row; None where no layer can have it."""
        posterior = target.posterior
        if posterior.model is None or isinstance(posterior.data.inputs, Graph):
            return None
        model, frozen = posterior.model, posterior.frozen
        local = local_layers(model, frozen)
        if not local:
            return None

        def spread(tree: Position) -> dict[str, dict[str, Array]]:
            """Return what a change of a position is to the effective parameters of local layers."""
            zero = model.merge(jax.tree.map(jnp.zeros_like, tree), frozen)
            effective = trees.flatten(jax.tree.map(jnp.subtract, model.merge(tree, frozen), zero))
            found: dict[str, dict[str, Array]] = {layer: {} for layer in local}
            for path, leaf in effective.items():
                if layer_of(path) in local:
                    found[layer_of(path)][path.rpartition("/")[2]] = leaf
            return found

        def outputs(params: LowRankParams, key: Key, inputs: Array) -> Array:
            shared, mean = trees.flatten(draw(params, key)), trees.flatten(params.mean)
            z = trees.unflatten({path: mean[path] if layer_of(path) in local else shared[path] for path in mean})
            position = unwhiten(z, target.prior_scale)
            variances = jax.tree.map(
                lambda scale, prior: jnp.square(jnp.exp(scale) * prior), params.log_scale, target.prior_scale
            )
            factors = jax.vmap(spread)(
                jax.tree.map(
                    lambda leaf, prior: leaf * prior / math.sqrt(self.rank), params.factors, target.prior_scale
                )
            )
            params_of_all = model.merge(position, frozen)
            own = rng.named_key(key, "local")
            raw = forward_with_noise(model, params_of_all, frozen, inputs, own, spread(variances), factors)
            return posterior.likelihood.predictive(position, raw)

        return outputs
